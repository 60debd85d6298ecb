// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * User space against the mock GPU's device: a software timeline's sync_file as a job's
 * dependency, the job's own sync_file polled, with the dependency signalled after and
 * before the submit.
 *
 * Prints TAP. Exit status 0: all held; 1: something did not; 4: a device is missing.
 * Needs debugfs at /sys/kernel/debug, and the mock GPU's module loaded.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/sync_file.h>

#include "../samples/mock_gpu_uapi.h"

#define TIMELINE	"/sys/kernel/debug/sync/sw_sync"
#define MOCK		"/dev/ringfence_mock"

/* The software timeline has no header for user space. */
struct timeline_fence {
	__u32 value;
	char name[32];
	__s32 fence;
};

#define TIMELINE_FENCE	_IOWR('W', 0, struct timeline_fence)
#define TIMELINE_ADVANCE	_IOW('W', 1, __u32)

/* Enough for a job that hangs to time out and be recovered. */
#define LONG_MS		20000
/* How long nothing must happen before we believe that nothing does. */
#define SHORT_MS	50
#define WORK_NS		(1000 * 1000)

static int tests, failures;

static void check(bool held, const char *what)
{
	printf("%sok %d - %s\n", held ? "" : "not ", ++tests, what);
	failures += !held;
}

static int timeline_fence(int timeline, __u32 value)
{
	struct timeline_fence fence = { .value = value, .name = "sw_sync" };

	return ioctl(timeline, TIMELINE_FENCE, &fence) ? -1 : fence.fence;
}

static bool timeline_advance(int timeline)
{
	__u32 by = 1;

	return !ioctl(timeline, TIMELINE_ADVANCE, &by);
}

static int submit(int mock, int in_fence, __u32 flags)
{
	struct ringfence_mock_submit job = {
		.duration_ns = WORK_NS,
		.in_fence_fd = in_fence,
		.out_fence_fd = -1,
		.flags = flags,
	};

	return ioctl(mock, RINGFENCE_MOCK_SUBMIT, &job) ? -1 : job.out_fence_fd;
}

static bool signalled(int fence, int timeout_ms)
{
	struct pollfd poll_fd = { .fd = fence, .events = POLLIN };

	return poll(&poll_fd, 1, timeout_ms) == 1 &&
	       (poll_fd.revents & POLLIN);
}

/* 1: signalled without error; 0: open; or the error it signalled with. */
static int status(int fence)
{
	struct sync_file_info info = { 0 };

	return ioctl(fence, SYNC_IOC_FILE_INFO, &info) ? -errno : info.status;
}

static void dependency_after_submit(int timeline, int mock, __u32 value)
{
	int in = timeline_fence(timeline, value);
	int out = submit(mock, in, 0);

	check(in >= 0 && out >= 0, "submit with an open dependency");
	/* The job keeps the fence, not the descriptor. */
	close(in);
	check(!signalled(out, SHORT_MS) && status(out) == 0,
	      "the job waits for it");
	check(timeline_advance(timeline) && signalled(out, LONG_MS),
	      "the job finishes after it");
	check(status(out) == 1, "without error");
	close(out);
}

static void dependency_before_submit(int timeline, int mock, __u32 value)
{
	int in = timeline_fence(timeline, value);
	int out;

	check(timeline_advance(timeline) && signalled(in, 0),
	      "the dependency signals first");
	out = submit(mock, in, 0);
	close(in);
	check(signalled(out, LONG_MS) && status(out) == 1,
	      "the job finishes");
	close(out);
}

/* The fence that comes out of one job goes into the next, of another queue. */
static void chained(int timeline, int mock, int other, __u32 value)
{
	int in = timeline_fence(timeline, value);
	int middle = submit(mock, in, 0);
	int out = submit(other, middle, 0);

	check(!signalled(out, SHORT_MS), "a chain of two queues waits");
	check(timeline_advance(timeline) && signalled(out, LONG_MS) &&
	      status(middle) == 1 && status(out) == 1,
	      "and finishes in order");
	close(in);
	close(middle);
	close(out);
}

static void errors(int timeline, int mock)
{
	int out = submit(mock, -1, RINGFENCE_MOCK_FAIL);

	check(signalled(out, LONG_MS) && status(out) == -EIO,
	      "a job that fails says so");
	close(out);

	out = submit(mock, -1, RINGFENCE_MOCK_HANG);
	check(signalled(out, LONG_MS) && status(out) < 0,
	      "a job that hangs is signalled with an error");
	printf("# the error: %s\n", strerror(-status(out)));
	close(out);

	out = submit(mock, -1, 0);
	check(signalled(out, LONG_MS) && status(out) == 1,
	      "the queue works on after both");
	close(out);

	check(submit(mock, timeline, 0) == -1 && errno == EINVAL,
	      "a descriptor that is no sync_file is refused");
	check(submit(mock, -1, ~0U) == -1 && errno == EINVAL,
	      "an unknown flag is refused");
}

/* A timeline that goes away signals what is open with an error. */
static void lost_dependency(int mock)
{
	int timeline = open(TIMELINE, O_RDWR | O_CLOEXEC);
	int in = timeline_fence(timeline, 1);
	int out = submit(mock, in, 0);

	close(timeline);
	check(signalled(out, LONG_MS) && status(out) != 0,
	      "a job whose dependency fails is signalled");
	printf("# dependency %d, job %d\n", status(in), status(out));
	close(in);
	close(out);
}

/* Nobody is left to wait: the kernel must clean up, whatever state the job is in. */
static void closed_while_open(int timeline, __u32 value)
{
	int mock = open(MOCK, O_RDWR | O_CLOEXEC);
	int in = timeline_fence(timeline, value);
	int out = submit(mock, in, 0);

	check(out >= 0, "submit, and close the device with the job queued");
	close(mock);
	timeline_advance(timeline);
	check(signalled(out, LONG_MS), "its fence signals all the same");
	printf("# status %d\n", status(out));
	close(in);
	close(out);
}

int main(void)
{
	int timeline = open(TIMELINE, O_RDWR | O_CLOEXEC);
	int mock = open(MOCK, O_RDWR | O_CLOEXEC);
	int other = open(MOCK, O_RDWR | O_CLOEXEC);

	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("TAP version 13\n");
	if (timeline < 0 || mock < 0 || other < 0) {
		printf("1..0 # SKIP no %s\n", timeline < 0 ? TIMELINE : MOCK);
		return 4;
	}

	dependency_after_submit(timeline, mock, 1);
	dependency_before_submit(timeline, mock, 2);
	chained(timeline, mock, other, 3);
	errors(timeline, mock);
	lost_dependency(mock);
	closed_while_open(timeline, 4);

	printf("1..%d\n", tests);
	return failures ? 1 : 0;
}
