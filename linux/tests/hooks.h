/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * What the tests' rig needs from C: a hard interrupt, a fence that says when it is
 * waited for, and who listens to the trace events. The Rust side is
 * linux/tests/rig/hooks.rs.
 */

#ifndef RINGFENCE_TESTS_HOOKS_H
#define RINGFENCE_TESTS_HOOKS_H

#include <linux/types.h>

struct dma_fence;

/*
 * Calls @func with @arg in hard interrupt context, on this processor, and returns
 * when that has returned. False if the context was another. Sleeps.
 */
bool hooks_in_hard_irq(void (*func)(void *arg), void *arg);

/* Whether this is a task with interrupts on: where callbacks of drivers are called. */
bool hooks_in_task(void);

/*
 * A fence that calls @func with @arg, with interrupts off and a lock of its own held,
 * when somebody first registers a callback with it. NULL if out of memory. Put it, and
 * signal it before with dma_fence_signal().
 */
struct dma_fence *hooks_fence(void (*func)(void *arg), void *arg);

/* Which trace event: without "ringfence_job_". */
enum hooks_kind {
	HOOKS_QUEUE,
	HOOKS_RUN,
	HOOKS_DONE,
	HOOKS_ADD_DEP,
	HOOKS_UNSCHEDULABLE,
};

/* One trace event; what its kind does not have is 0. */
struct hooks_event {
	u32 kind;
	int error;
	u64 context;
	u64 seqno;
	u64 on_context;
	u64 on_seqno;
	u64 client;
	u32 job_count;
	u32 hw_job_count;
};

/*
 * Notes the trace events ringfence:* from now on. -EOPNOTSUPP where the kernel has no
 * trace events, -EBUSY where somebody notes them already. Sleeps.
 */
int hooks_trace_begin(void);

/*
 * Ends that, and gives at most @room events of those noted, in their order. Returns
 * how many there were. Sleeps.
 */
u32 hooks_trace_end(struct hooks_event *events, u32 room);

#endif /* RINGFENCE_TESTS_HOOKS_H */
