// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * drm_sched with a trivial backend: see peer.h for what is measured and how.
 *
 * The backend does what a small driver for a firmware scheduler does, no more: one
 * allocation per job, freed in free_job(), and a hardware fence allocated at submit,
 * because run_job() may not allocate.
 */

#include <linux/atomic.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/device.h>
#include <linux/dma-fence.h>
#include <linux/hardirq.h>
#include <linux/hrtimer.h>
#include <linux/kernel.h>
#include <linux/ktime.h>
#include <linux/llist.h>
#include <linux/math64.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/vmstat.h>
#include <linux/wait.h>

#include <drm/gpu_scheduler.h>

#include "peer.h"

#define PEER_IRQ_DELAY_NS	(50 * NSEC_PER_USEC)

/* A scheduler as its user allocates it, without what only the bench needs. */
struct peer_pair {
	struct drm_gpu_scheduler sched;
	struct drm_sched_entity entity;
};

struct peer {
	struct peer_pair pair;
	u32 backend;
	/* Of the hardware fences; touched by the submitter only. */
	u64 hw_context;
	u64 hw_seqno;
	/* Jobs whose hardware fence the interrupt is to signal, last first. */
	struct llist_head pending;
	struct hrtimer timer;
	/* Whether run_job() starts that timer, or the bench signals. */
	bool timed;
	/* When run_job() was last entered, for the one job in flight. */
	u64 run_at;
	struct peer_window *window;
	/* Jobs made, by the submitter; jobs freed, by the ordered workqueue. */
	u32 made;
	u32 freed;
};

struct peer_job {
	struct drm_sched_job base;
	/* Owned until run_job() hands it to the scheduler. */
	struct dma_fence *hw;
	struct llist_node pending;
};

/*
 * The clock.
 */

/*
 * Out of line for both sides, so that both pay the same. ktime is no use for this:
 * in user-mode Linux it steps by 256 ns.
 */
noinline u64 peer_cycles(void)
{
#ifdef __x86_64__
	u32 low, high;

	/* The fence keeps the read from moving up into what is measured. */
	asm volatile("lfence; rdtsc" : "=a" (low), "=d" (high) : : "memory");
	return (u64)high << 32 | low;
#else
	return ktime_get_ns();
#endif
}

/* The two clocks at one moment: the tightest of some tries, for we may be preempted. */
static void peer_clock_pair(u64 *cycles, u64 *ns)
{
	u64 best = U64_MAX;
	int i;

	for (i = 0; i < 64; i++) {
		u64 before = peer_cycles();
		u64 now = ktime_get_ns();
		u64 after = peer_cycles();

		if (after - before < best) {
			best = after - before;
			*cycles = before + best / 2;
			*ns = now;
		}
	}
}

u64 peer_cycles_per_ms(void)
{
	u64 cycles, ns, end_cycles, end_ns;

	peer_clock_pair(&cycles, &ns);
	fsleep(20 * USEC_PER_MSEC);
	peer_clock_pair(&end_cycles, &end_ns);
	return mul_u64_u64_div_u64(end_cycles - cycles, NSEC_PER_MSEC,
				   end_ns - ns);
}

/*
 * Waiting.
 */

void peer_settle(void)
{
	usleep_range(30, 40);
}

struct peer_irq_call {
	struct hrtimer timer;
	struct completion done;
	void (*fn)(void *arg);
	void *arg;
	bool hard;
};

static enum hrtimer_restart peer_irq_call_fn(struct hrtimer *timer)
{
	struct peer_irq_call *call =
		container_of(timer, struct peer_irq_call, timer);

	call->hard = in_hardirq();
	call->fn(call->arg);
	complete(&call->done);
	return HRTIMER_NORESTART;
}

bool peer_call_in_irq(void (*fn)(void *arg), void *arg)
{
	struct peer_irq_call call = { .fn = fn, .arg = arg };

	/*
	 * A timer, not irq_work: an architecture without an interrupt of its own
	 * for that (such as user-mode Linux) runs it from the next tick.
	 */
	init_completion(&call.done);
	hrtimer_setup_on_stack(&call.timer, peer_irq_call_fn, CLOCK_MONOTONIC,
			       HRTIMER_MODE_REL_HARD);
	hrtimer_start(&call.timer, ns_to_ktime(PEER_IRQ_DELAY_NS),
		      HRTIMER_MODE_REL_HARD);
	wait_for_completion(&call.done);
	/* The handler completes before it returns. */
	hrtimer_cancel(&call.timer);
	destroy_hrtimer_on_stack(&call.timer);
	return call.hard;
}

struct peer_window {
	u32 limit;
	/* Written by the submitter only. */
	u32 entered;
	atomic_t left;
	/* The value of @left at which the submitter wants to be woken. */
	u32 wake_at;
	wait_queue_head_t wait;
	struct rcu_head rcu;
};

struct peer_window *peer_window_create(u32 limit)
{
	struct peer_window *window = kzalloc_obj(*window);

	if (!window)
		return NULL;
	window->limit = limit;
	init_waitqueue_head(&window->wait);
	return window;
}

void peer_window_destroy(struct peer_window *window)
{
	/* The last to leave may have counted itself out and not be out yet. */
	kfree_rcu(window, rcu);
}

static void peer_window_wait(struct peer_window *window, u32 left)
{
	/*
	 * Either the job that makes the count @left sees this, or the wait sees its
	 * count: both sides have a full barrier between the write and the read.
	 */
	WRITE_ONCE(window->wake_at, left);
	wait_event(window->wait,
		   (s32)((u32)atomic_read(&window->left) - left) >= 0);
}

void peer_window_enter(struct peer_window *window)
{
	u32 inside = window->entered - (u32)atomic_read(&window->left);

	if (inside >= window->limit)
		peer_window_wait(window, window->entered - window->limit / 2);
	window->entered++;
}

void peer_window_leave(struct peer_window *window)
{
	rcu_read_lock();
	if ((u32)atomic_inc_return(&window->left) == READ_ONCE(window->wake_at))
		wake_up(&window->wait);
	rcu_read_unlock();
}

void peer_window_drain(struct peer_window *window)
{
	peer_window_wait(window, window->entered);
}

/*
 * Memory.
 */

/*
 * Frees all that waits for a grace period, kfree_rcu() batches included, and gives
 * back what the general caches hold empty, as far as a module can reach.
 */
static void peer_drain(void)
{
	struct kmem_cache *cache;
	int type, i;

	/*
	 * The barrier for kfree_rcu() is not exported, and its batches wait for up
	 * to 5 s; but destroying any cache passes it.
	 */
	cache = kmem_cache_create("ringfence_drain", 64, 0, SLAB_NO_MERGE, NULL);
	kmem_cache_destroy(cache);
	rcu_barrier();

	for (type = 0; type < NR_KMALLOC_TYPES; type++) {
		for (i = 0; i <= KMALLOC_SHIFT_HIGH; i++) {
			cache = kmalloc_caches[type][i];
			if (cache)
				kmem_cache_shrink(cache);
		}
	}
}

/* Free pages the global counter does not show: per-CPU lists, unreported changes. */
static long peer_hidden_pages(struct zone *zone)
{
	long pages = 0;
	int cpu;

	for_each_online_cpu(cpu) {
		pages += per_cpu_ptr(zone->per_cpu_pageset, cpu)->count;
#ifdef CONFIG_SMP
		pages += per_cpu_ptr(zone->per_cpu_zonestats, cpu)
				 ->vm_stat_diff[NR_FREE_PAGES];
#endif
	}
	return pages;
}

u64 peer_free_bytes(void)
{
	long pages;
	int node, i;

	peer_drain();
	pages = global_zone_page_state(NR_FREE_PAGES);
	for_each_online_node(node) {
		for (i = 0; i < MAX_NR_ZONES; i++) {
			struct zone *zone = &NODE_DATA(node)->node_zones[i];

			if (populated_zone(zone))
				pages += peer_hidden_pages(zone);
		}
	}
	return (u64)pages << PAGE_SHIFT;
}

u64 peer_slab_bytes(void)
{
	peer_drain();
	return (u64)(global_node_page_state_pages(NR_SLAB_RECLAIMABLE_B) +
		     global_node_page_state_pages(NR_SLAB_UNRECLAIMABLE_B))
	       << PAGE_SHIFT;
}

/*
 * Fences of the bench: hardware and dependencies. Without a release operation and
 * with the inline lock, so they outlive what made them.
 */

static const char *peer_fence_name(struct dma_fence *fence)
{
	return "ringfence_peer";
}

static const struct dma_fence_ops peer_fence_ops = {
	.get_driver_name = peer_fence_name,
	.get_timeline_name = peer_fence_name,
};

static struct dma_fence *peer_fence_alloc(u64 context, u64 seqno)
{
	struct dma_fence *fence = kzalloc_obj(*fence);

	if (fence)
		dma_fence_init(fence, &peer_fence_ops, NULL, context, seqno);
	return fence;
}

/*
 * The backend.
 */

static struct peer *to_peer(struct drm_gpu_scheduler *sched)
{
	return container_of(sched, struct peer, pair.sched);
}

static struct peer_job *to_peer_job(struct drm_sched_job *base)
{
	return container_of(base, struct peer_job, base);
}

static struct dma_fence *peer_run_job(struct drm_sched_job *base)
{
	u64 now = peer_cycles();
	struct peer *peer = to_peer(base->sched);
	struct peer_job *job = to_peer_job(base);
	struct dma_fence *hw = job->hw;

	WRITE_ONCE(peer->run_at, now);
	if (peer->backend == PEER_BACKEND_NONE)
		return NULL;

	/* One reference is the scheduler's, one the interrupt's. */
	dma_fence_get(hw);
	if (llist_add(&job->pending, &peer->pending) && peer->timed)
		hrtimer_start(&peer->timer, ns_to_ktime(PEER_IRQ_DELAY_NS),
			      HRTIMER_MODE_REL_HARD);
	return hw;
}

static enum drm_gpu_sched_stat peer_timedout_job(struct drm_sched_job *base)
{
	/* There is no timeout. */
	WARN_ON_ONCE(1);
	return DRM_GPU_SCHED_STAT_NO_HANG;
}

static void peer_free_job(struct drm_sched_job *base)
{
	struct peer *peer = to_peer(base->sched);
	struct peer_window *window = peer->window;

	drm_sched_job_cleanup(base);
	kfree(to_peer_job(base));
	/* Pairs with peer_wait_freed(): what was freed is freed for the waiter. */
	smp_store_release(&peer->freed, peer->freed + 1);
	if (window)
		peer_window_leave(window);
}

static const struct drm_sched_backend_ops peer_ops = {
	.run_job = peer_run_job,
	.timedout_job = peer_timedout_job,
	.free_job = peer_free_job,
};

/* Completes all that runs, oldest first. Hard interrupt context. */
static void peer_signal_pending(void *arg)
{
	struct peer *peer = arg;
	struct llist_node *list;
	struct peer_job *job, *next;

	list = llist_reverse_order(llist_del_all(&peer->pending));
	llist_for_each_entry_safe(job, next, list, pending) {
		/* The signal may free the job on another CPU. */
		struct dma_fence *hw = job->hw;

		dma_fence_signal(hw);
		dma_fence_put(hw);
	}
}

static enum hrtimer_restart peer_timer(struct hrtimer *timer)
{
	peer_signal_pending(container_of(timer, struct peer, timer));
	return HRTIMER_NORESTART;
}

/* Trace events and error messages name the device; nothing else looks at it. */
static struct device peer_device = { .init_name = "ringfence_peer" };

static int peer_pair_init(struct peer_pair *pair, u32 credit_limit)
{
	const struct drm_sched_init_args args = {
		.ops = &peer_ops,
		.num_rqs = 1,
		.credit_limit = credit_limit,
		.timeout = MAX_SCHEDULE_TIMEOUT,
		.name = "ringfence_peer",
		.dev = &peer_device,
	};
	struct drm_gpu_scheduler *sched = &pair->sched;
	int err;

	err = drm_sched_init(sched, &args);
	if (err)
		return err;
	err = drm_sched_entity_init(&pair->entity, DRM_SCHED_PRIORITY_KERNEL,
				    &sched, 1, NULL);
	if (err)
		drm_sched_fini(sched);
	return err;
}

static void peer_pair_fini(struct peer_pair *pair)
{
	drm_sched_entity_destroy(&pair->entity);
	drm_sched_fini(&pair->sched);
}

struct peer *peer_create(u32 credit_limit, u32 backend)
{
	struct peer *peer = kzalloc_obj(*peer);

	if (!peer)
		return NULL;
	peer->backend = backend;
	peer->hw_context = dma_fence_context_alloc(1);
	init_llist_head(&peer->pending);
	hrtimer_setup(&peer->timer, peer_timer, CLOCK_MONOTONIC,
		      HRTIMER_MODE_REL_HARD);
	if (peer_pair_init(&peer->pair, credit_limit)) {
		kfree(peer);
		return NULL;
	}
	return peer;
}

void peer_destroy(struct peer *peer)
{
	hrtimer_cancel(&peer->timer);
	peer_pair_fini(&peer->pair);
	kfree(peer);
}

/* Waits until every job made is freed. */
static void peer_wait_freed(struct peer *peer)
{
	/* Pairs with peer_free_job(). */
	while (smp_load_acquire(&peer->freed) != peer->made)
		peer_settle();
}

/*
 * A job up to its initialisation. @stamps: where the times go, or NULL. NULL if out
 * of memory.
 */
static struct peer_job *peer_job_create(struct peer *peer,
					struct peer_stamps *stamps)
{
	struct peer_job *job;

	if (stamps)
		stamps->alloc = peer_cycles();
	job = kzalloc_obj(*job);
	if (!job)
		return NULL;
	if (peer->backend == PEER_BACKEND_IRQ) {
		job->hw = peer_fence_alloc(peer->hw_context, ++peer->hw_seqno);
		if (!job->hw)
			goto err_free;
	}
	if (stamps)
		stamps->init = peer_cycles();
	if (drm_sched_job_init(&job->base, &peer->pair.entity, 1, NULL, 0))
		goto err_put;
	return job;

err_put:
	dma_fence_put(job->hw);
err_free:
	kfree(job);
	return NULL;
}

/* Takes back a job that was not armed. */
static void peer_job_abort(struct peer_job *job)
{
	drm_sched_job_cleanup(&job->base);
	dma_fence_put(job->hw);
	kfree(job);
}

static struct dma_fence *peer_job_arm(struct peer *peer, struct peer_job *job)
{
	drm_sched_job_arm(&job->base);
	peer->made++;
	return dma_fence_get(&job->base.s_fence->finished);
}

static void peer_job_push(struct peer_job *job, struct peer_stamps *stamps)
{
	stamps->push = peer_cycles();
	drm_sched_entity_push_job(&job->base);
	stamps->pushed = peer_cycles();
}

int peer_push_to_run(struct peer *peer, u32 jobs, u32 wait,
		     struct peer_stamps *samples)
{
	u32 i;

	peer->timed = true;
	for (i = 0; i < jobs; i++) {
		struct peer_stamps stamps = {};
		struct dma_fence *finished;
		struct peer_job *job;

		job = peer_job_create(peer, &stamps);
		if (!job)
			break;
		finished = peer_job_arm(peer, job);
		peer_job_push(job, &stamps);
		dma_fence_wait(finished, false);
		dma_fence_put(finished);
		stamps.run = READ_ONCE(peer->run_at);
		samples[i] = stamps;
		if (wait == PEER_WAIT_IDLE) {
			peer_wait_freed(peer);
			peer_settle();
		}
	}
	peer_wait_freed(peer);
	return i == jobs ? 0 : -ENOMEM;
}

int peer_dependency_to_run(struct peer *peer, u32 jobs, bool settle,
			   struct peer_stamps *samples)
{
	/* Of two contexts, or the second would replace the first. */
	u64 context = dma_fence_context_alloc(2);
	struct dma_fence *closed;
	u32 i;

	closed = peer_fence_alloc(context, 1);
	if (!closed)
		return -ENOMEM;
	dma_fence_signal(closed);

	peer->timed = true;
	for (i = 0; i < jobs; i++) {
		struct peer_stamps stamps = {};
		struct dma_fence *finished, *open;
		struct peer_job *job;

		open = peer_fence_alloc(context + 1, i + 1);
		if (!open)
			break;
		job = peer_job_create(peer, &stamps);
		if (!job) {
			dma_fence_put(open);
			break;
		}
		if (drm_sched_job_add_dependency(&job->base,
						 dma_fence_get(closed)) ||
		    drm_sched_job_add_dependency(&job->base,
						 dma_fence_get(open))) {
			peer_job_abort(job);
			dma_fence_put(open);
			break;
		}
		finished = peer_job_arm(peer, job);
		peer_job_push(job, &stamps);
		if (settle)
			peer_settle();
		stamps.signal = peer_cycles();
		dma_fence_signal(open);
		dma_fence_put(open);
		dma_fence_wait(finished, false);
		dma_fence_put(finished);
		stamps.run = READ_ONCE(peer->run_at);
		samples[i] = stamps;
		peer_wait_freed(peer);
		peer_settle();
	}
	dma_fence_put(closed);
	return i == jobs ? 0 : -ENOMEM;
}

struct peer_finish {
	struct dma_fence_cb cb;
	struct peer *peer;
	u64 signal;
	u64 finished;
};

static void peer_finished(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	u64 now = peer_cycles();

	container_of(cb, struct peer_finish, cb)->finished = now;
}

static void peer_finish_in_irq(void *arg)
{
	struct peer_finish *finish = arg;

	finish->signal = peer_cycles();
	peer_signal_pending(finish->peer);
}

int peer_completion_to_finished(struct peer *peer, u32 jobs,
				struct peer_stamps *samples)
{
	int err = 0;
	u32 i;

	if (peer->backend != PEER_BACKEND_IRQ)
		return -EINVAL;
	peer->timed = false;
	for (i = 0; i < jobs && !err; i++) {
		struct peer_finish finish = { .peer = peer };
		struct peer_stamps stamps = {};
		struct dma_fence *finished;
		struct peer_job *job;

		job = peer_job_create(peer, &stamps);
		if (!job)
			return -ENOMEM;
		finished = peer_job_arm(peer, job);
		dma_fence_add_callback(finished, &finish.cb, peer_finished);
		peer_job_push(job, &stamps);
		do {
			peer_settle();
		} while (llist_empty(&peer->pending));
		if (!peer_call_in_irq(peer_finish_in_irq, &finish))
			err = -EIO;
		dma_fence_wait(finished, false);
		dma_fence_put(finished);
		stamps.run = READ_ONCE(peer->run_at);
		stamps.signal = finish.signal;
		stamps.finished = finish.finished;
		samples[i] = stamps;
		peer_wait_freed(peer);
	}
	return err;
}

u64 peer_throughput(struct peer *const *peers, u32 queues, u32 jobs,
		    u32 outstanding)
{
	struct peer_window *window = peer_window_create(outstanding);
	u64 start, cycles;
	u32 i, queue = 0;

	if (!window)
		return 0;
	for (i = 0; i < queues; i++) {
		peers[i]->window = window;
		peers[i]->timed = true;
	}

	start = peer_cycles();
	for (i = 0; i < jobs; i++) {
		struct peer *peer = peers[queue];
		struct peer_job *job;

		if (++queue == queues)
			queue = 0;
		peer_window_enter(window);
		job = peer_job_create(peer, NULL);
		if (!job) {
			/* Nobody else will leave for it. */
			peer_window_leave(window);
			break;
		}
		/* The job is the scheduler's from the push on. */
		peer->made++;
		drm_sched_job_arm(&job->base);
		drm_sched_entity_push_job(&job->base);
	}
	peer_window_drain(window);
	cycles = peer_cycles() - start;

	for (queue = 0; queue < queues; queue++) {
		peer_wait_freed(peers[queue]);
		peers[queue]->window = NULL;
	}
	peer_window_destroy(window);
	return i == jobs ? cycles : 0;
}

/* How much is gone since the two counts were taken, per each of @count. */
static u64 peer_bytes_each(u64 free, u64 slab, u32 count, u64 *slab_bytes)
{
	s64 grown = peer_slab_bytes() - slab;
	s64 taken = free - peer_free_bytes();

	*slab_bytes = grown > 0 ? div_u64(grown, count) : 0;
	return taken > 0 ? div_u64(taken, count) : 0;
}

u64 peer_bytes_per_queue(u32 queues, u64 *slab_bytes)
{
	u64 free, slab, bytes = 0;
	struct peer_pair **pairs;
	u32 i;

	*slab_bytes = 0;
	pairs = kvcalloc(queues, sizeof(*pairs), GFP_KERNEL);
	if (!pairs)
		return 0;
	free = peer_free_bytes();
	slab = peer_slab_bytes();
	for (i = 0; i < queues; i++) {
		pairs[i] = kzalloc_obj(*pairs[i]);
		if (!pairs[i])
			break;
		if (peer_pair_init(pairs[i], 64)) {
			kfree(pairs[i]);
			break;
		}
	}
	if (i == queues)
		bytes = peer_bytes_each(free, slab, queues, slab_bytes);
	while (i--) {
		peer_pair_fini(pairs[i]);
		kfree(pairs[i]);
	}
	kvfree(pairs);
	return bytes;
}

u64 peer_bytes_per_job(u32 jobs, u64 *slab_bytes, u64 *object_bytes)
{
	u64 free, slab, bytes = 0;
	struct dma_fence *open;
	struct peer *peer;
	u32 i;

	*slab_bytes = 0;
	*object_bytes = 0;
	open = peer_fence_alloc(dma_fence_context_alloc(1), 1);
	peer = peer_create(jobs, PEER_BACKEND_IRQ);
	if (!open || !peer)
		goto out;
	peer->timed = true;
	free = peer_free_bytes();
	slab = peer_slab_bytes();
	for (i = 0; i < jobs; i++) {
		struct peer_job *job = peer_job_create(peer, NULL);

		if (!job)
			break;
		if (drm_sched_job_add_dependency(&job->base,
						 dma_fence_get(open))) {
			peer_job_abort(job);
			break;
		}
		*object_bytes = ksize(job) + ksize(job->hw) +
				ksize(job->base.s_fence);
		peer->made++;
		drm_sched_job_arm(&job->base);
		drm_sched_entity_push_job(&job->base);
	}
	if (i == jobs)
		bytes = peer_bytes_each(free, slab, jobs, slab_bytes);
out:
	if (open)
		dma_fence_signal(open);
	dma_fence_put(open);
	if (peer) {
		peer_wait_freed(peer);
		peer_destroy(peer);
	}
	return bytes;
}
