/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * What /dev/ringfence_mock understands: one job per call, sync_file descriptors in
 * and out. Each open file is a queue of its own; jobs of one file run in order.
 */

#ifndef RINGFENCE_MOCK_GPU_UAPI_H
#define RINGFENCE_MOCK_GPU_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* The job never completes by itself: it times out. */
#define RINGFENCE_MOCK_HANG	0x1
/* The job completes with an error, -EIO. */
#define RINGFENCE_MOCK_FAIL	0x2

/**
 * struct ringfence_mock_submit - one job
 * @duration_ns: in: how long the mock GPU works on it
 * @in_fence_fd: in: a sync_file the job waits for; -1: none
 * @out_fence_fd: out: a new sync_file of the job's finished fence
 * @flags: in: of RINGFENCE_MOCK_; others are -EINVAL
 * @pad: in: 0
 *
 * On error no descriptor is made. EINVAL for a descriptor that is no sync_file or for
 * an unknown flag, and EMFILE: nothing was submitted. ENOMEM and EFAULT: the job may
 * have been, since its sync_file needs a fence that others may wait for already.
 */
struct ringfence_mock_submit {
	__u64 duration_ns;
	__s32 in_fence_fd;
	__s32 out_fence_fd;
	__u32 flags;
	__u32 pad;
};

#define RINGFENCE_MOCK_SUBMIT \
	_IOWR('R', 0x80, struct ringfence_mock_submit)

#endif /* RINGFENCE_MOCK_GPU_UAPI_H */
