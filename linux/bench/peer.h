/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * drm_sched with a trivial backend, measured from inside the same boot in which
 * our own queues are measured, and the helpers both sides share so that they are
 * measured alike: one clock, one way to wait, one way to count memory.
 *
 * Everything is called from a task that may sleep, by one task at a time, unless
 * a function says otherwise. Nothing is passed or returned by value but scalars
 * and pointers, so that Rust can call it without a shim.
 */

#ifndef RINGFENCE_BENCH_PEER_H
#define RINGFENCE_BENCH_PEER_H

#include <linux/types.h>

struct peer;
struct peer_window;

/* What the hardware under the scheduler is. */

/* run_job() returns NULL: the job is done when it returns. */
#define PEER_BACKEND_NONE	0
/* run_job() returns a fence that a timer signals in hard interrupt context. */
#define PEER_BACKEND_IRQ	1

/* How the submitter waits between two jobs. */

/* Until the finished fence has signalled; the worker may still be cleaning up. */
#define PEER_WAIT_FINISHED	0
/* Until the job is freed, and then for peer_settle(): the queue is really idle. */
#define PEER_WAIT_IDLE		1

/**
 * struct peer_stamps - what happened to one job, and when
 * @alloc: just before the job's memory was allocated
 * @init: just before drm_sched_job_init()
 * @push: just before drm_sched_entity_push_job()
 * @pushed: just after it
 * @signal: just before the fence that the step waits for was signalled: the
 *          dependency, or the hardware fence; 0 where there is none
 * @run: at entry of run_job()
 * @finished: at entry of a callback on the finished fence; 0 where there is none
 *
 * All in cycles of peer_cycles().
 */
struct peer_stamps {
	u64 alloc;
	u64 init;
	u64 push;
	u64 pushed;
	u64 signal;
	u64 run;
	u64 finished;
};

/*
 * The clock.
 */

/* Now, in cycles. Any context. Ordered after all loads before it. */
u64 peer_cycles(void);

/*
 * How many of those make a millisecond, measured against ktime for 20 ms: to
 * about 20 ppm where ktime steps by 256 ns. ns = cycles * 1000000 / this.
 */
u64 peer_cycles_per_ms(void);

/*
 * Waiting.
 */

/*
 * Sleeps for some 50 us: lets every worker that has anything to do on this CPU
 * do it and go to sleep.
 */
void peer_settle(void);

/*
 * Calls @fn(@arg) once in hard interrupt context, from a timer, and returns when
 * it has run. Returns false if the context was not a hard interrupt after all.
 */
bool peer_call_in_irq(void (*fn)(void *arg), void *arg);

/*
 * At most @limit jobs between peer_window_enter() and peer_window_leave().
 * A submitter that meets the limit sleeps until half of it is free again: waking
 * it for every job would measure the wake-ups. NULL if out of memory.
 */
struct peer_window *peer_window_create(u32 limit);
/* Nobody may be in, or come. */
void peer_window_destroy(struct peer_window *window);
/* Before each submit; may sleep. One task at a time. */
void peer_window_enter(struct peer_window *window);
/* Once per job, where its memory is freed. Any context. */
void peer_window_leave(struct peer_window *window);
/* Sleeps until every job that entered has left. */
void peer_window_drain(struct peer_window *window);

/*
 * Memory.
 */

/*
 * Free memory and memory in slabs, both in bytes, after everything waiting for RCU
 * has been freed and the kmalloc caches gave back their empty slabs. Free memory
 * counts what the per-CPU page lists hold and what the per-CPU counters have not
 * reported yet. What is left to blur a difference are holes in slabs that earlier
 * objects left, which new objects fill at no cost: compare over many objects, early.
 * These take milliseconds.
 */
u64 peer_free_bytes(void);
u64 peer_slab_bytes(void);

/*
 * drm_sched.
 */

/*
 * One scheduler with its own ordered submit workqueue, one run queue, no timeout,
 * and one entity. @credit_limit: each job costs 1. NULL if out of memory.
 */
struct peer *peer_create(u32 credit_limit, u32 backend);
/* No job may be left; every function below leaves none. */
void peer_destroy(struct peer *peer);

/*
 * @jobs jobs, one at a time, no dependency. @samples has room for @jobs.
 * @wait: a PEER_WAIT_. These three return 0, or -ENOMEM.
 */
int peer_push_to_run(struct peer *peer, u32 jobs, u32 wait,
		     struct peer_stamps *samples);

/*
 * The same with two dependencies, one signalled before, one signalled by the
 * submitting task after the push: at once, or, with @settle, when the queue has
 * seen the job and sleeps on the fence.
 */
int peer_dependency_to_run(struct peer *peer, u32 jobs, bool settle,
			   struct peer_stamps *samples);

/*
 * One job at a time, whose hardware fence is signalled in hard interrupt context
 * while the queue sleeps. Takes a peer with PEER_BACKEND_IRQ, else -EINVAL;
 * -EIO if the context was not a hard interrupt.
 */
int peer_completion_to_finished(struct peer *peer, u32 jobs,
				struct peer_stamps *samples);

/*
 * @jobs jobs, dealt out in turn to @queues peers, at most @outstanding of them not
 * yet freed. Returns the cycles from before the first submit until the last job
 * was freed, or 0 if out of memory. With PEER_BACKEND_IRQ a timer completes what
 * is pending 50 us after the first of it came.
 */
u64 peer_throughput(struct peer *const *peers, u32 queues, u32 jobs,
		    u32 outstanding);

/*
 * What @queues idle queues cost, each a scheduler with its own workqueue and one
 * entity: bytes each, of all memory. *@slab_bytes: the part of it in slabs. 0 if
 * out of memory.
 */
u64 peer_bytes_per_queue(u32 queues, u64 *slab_bytes);

/*
 * What each of @jobs jobs costs which are queued and wait for a fence, hardware
 * fence included: bytes each, of all memory. *@slab_bytes: the part in slabs.
 * *@object_bytes: the sum of a job's allocations as the allocator rounds them.
 * 0 if out of memory.
 */
u64 peer_bytes_per_job(u32 jobs, u64 *slab_bytes, u64 *object_bytes);

#endif /* RINGFENCE_BENCH_PEER_H */
