// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Glue for the interoperability tests: see interop.h.
 */

#include <linux/atomic.h>
#include <linux/completion.h>
#include <linux/dma-fence.h>
#include <linux/dma-fence-array.h>
#include <linux/dma-fence-chain.h>
#include <linux/dma-resv.h>
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/hardirq.h>
#include <linux/hrtimer.h>
#include <linux/jiffies.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/sync_file.h>

#include "interop.h"

int interop_sync_file_roundtrip(struct dma_fence *fence)
{
	struct sync_file *sync;
	struct dma_fence *back;
	int fd, same;

	/* Kernel threads share the descriptors of init_task: fine for a moment. */
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;
	sync = sync_file_create(fence);
	if (!sync) {
		put_unused_fd(fd);
		return -ENOMEM;
	}
	fd_install(fd, sync->file);

	back = sync_file_get_fence(fd);
	same = back == fence;
	dma_fence_put(back);
	close_fd(fd);
	return same;
}

struct dma_fence *interop_array(struct dma_fence *const *fences, u32 count)
{
	struct dma_fence_array *array;
	struct dma_fence **held;
	u32 i;

	/* The array owns the list and a reference to each. */
	held = kmalloc_objs(*held, count);
	if (!held)
		return NULL;
	for (i = 0; i < count; i++)
		held[i] = dma_fence_get(fences[i]);
	array = dma_fence_array_create(count, held, dma_fence_context_alloc(1),
				       1);
	if (array)
		return &array->base;
	while (i--)
		dma_fence_put(held[i]);
	kfree(held);
	return NULL;
}

struct dma_fence *interop_chain(struct dma_fence *previous,
				struct dma_fence *fence, u64 seqno)
{
	struct dma_fence_chain *chain = dma_fence_chain_alloc();

	if (!chain)
		return NULL;
	dma_fence_chain_init(chain, dma_fence_get(previous),
			     dma_fence_get(fence), seqno);
	return &chain->base;
}

int interop_resv_add_and_wait(struct dma_fence *fence, u32 usage,
			      u32 timeout_ms)
{
	struct dma_resv resv;
	long left;
	int err;

	dma_resv_init(&resv);
	err = dma_resv_lock(&resv, NULL);
	if (err)
		goto out;
	err = dma_resv_reserve_fences(&resv, 1);
	if (!err)
		dma_resv_add_fence(&resv, fence, usage);
	dma_resv_unlock(&resv);
	if (err)
		goto out;

	/* Bookkeeping includes every other usage. */
	left = dma_resv_wait_timeout(&resv, DMA_RESV_USAGE_BOOKKEEP, false,
				     msecs_to_jiffies(timeout_ms));
	if (left < 0)
		err = left;
	else if (left > 0)
		err = dma_resv_test_signaled(&resv, DMA_RESV_USAGE_BOOKKEEP) ?
			      1 : -EIO;
out:
	dma_resv_fini(&resv);
	return err;
}

/*
 * The timeline.
 */

static atomic_t interop_open = ATOMIC_INIT(0);

struct interop_timeline {
	struct kref kref;
	struct rcu_head rcu;
	/* The lock of all its fences, and of what follows. */
	spinlock_t lock;
	u64 context;
	u64 last_seqno;
	/* Fences not signalled by us yet, in order; one reference to each. */
	struct list_head open;
};

struct interop_fence {
	struct dma_fence base;
	struct interop_timeline *timeline;
	struct list_head link;
};

static void interop_timeline_free(struct kref *kref)
{
	struct interop_timeline *timeline =
		container_of(kref, struct interop_timeline, kref);

	/* Whoever looks at a fence under RCU may look at its lock. */
	kfree_rcu(timeline, rcu);
}

static const char *interop_fence_name(struct dma_fence *fence)
{
	return "ringfence_interop";
}

static void interop_fence_release(struct dma_fence *base)
{
	struct interop_fence *fence =
		container_of(base, struct interop_fence, base);

	kref_put(&fence->timeline->kref, interop_timeline_free);
	atomic_dec(&interop_open);
	kfree_rcu(fence, base.rcu);
}

static const struct dma_fence_ops interop_fence_ops = {
	.get_driver_name = interop_fence_name,
	.get_timeline_name = interop_fence_name,
	.release = interop_fence_release,
};

struct interop_timeline *interop_timeline_create(void)
{
	struct interop_timeline *timeline = kzalloc_obj(*timeline);

	if (!timeline)
		return NULL;
	kref_init(&timeline->kref);
	spin_lock_init(&timeline->lock);
	timeline->context = dma_fence_context_alloc(1);
	INIT_LIST_HEAD(&timeline->open);
	return timeline;
}

struct dma_fence *interop_timeline_fence(struct interop_timeline *timeline)
{
	struct interop_fence *fence = kzalloc_obj(*fence);
	unsigned long flags;

	if (!fence)
		return NULL;
	kref_get(&timeline->kref);
	fence->timeline = timeline;
	atomic_inc(&interop_open);

	spin_lock_irqsave(&timeline->lock, flags);
	dma_fence_init(&fence->base, &interop_fence_ops, &timeline->lock,
		       timeline->context, ++timeline->last_seqno);
	dma_fence_get(&fence->base);
	list_add_tail(&fence->link, &timeline->open);
	spin_unlock_irqrestore(&timeline->lock, flags);
	return &fence->base;
}

void interop_timeline_advance(struct interop_timeline *timeline, u64 seqno,
			      int error)
{
	struct interop_fence *fence, *next;
	unsigned long flags;
	LIST_HEAD(done);

	spin_lock_irqsave(&timeline->lock, flags);
	list_for_each_entry_safe(fence, next, &timeline->open, link) {
		if (fence->base.seqno > seqno)
			break;
		list_move_tail(&fence->link, &done);
		if (dma_fence_test_signaled_flag(&fence->base))
			continue;
		if (error)
			dma_fence_set_error(&fence->base, error);
		dma_fence_signal_locked(&fence->base);
	}
	spin_unlock_irqrestore(&timeline->lock, flags);

	/* Not before: the last reference may take the timeline, and its lock. */
	list_for_each_entry_safe(fence, next, &done, link)
		dma_fence_put(&fence->base);
}

void interop_timeline_destroy(struct interop_timeline *timeline)
{
	interop_timeline_advance(timeline, U64_MAX, -ECANCELED);
	kref_put(&timeline->kref, interop_timeline_free);
}

u32 interop_open_count(void)
{
	/* A file closed by a kernel thread lets its fence go from a work item. */
	flush_delayed_fput();
	return atomic_read(&interop_open);
}

/*
 * Hard interrupt context.
 */

struct interop_irq {
	struct hrtimer timer;
	struct completion done;
	struct interop_timeline *timeline;
	struct dma_fence *fence;
	u64 seqno;
	int error;
	bool ok;
};

static bool interop_signal(struct dma_fence *fence, int error)
{
	unsigned long flags;
	bool first;

	dma_fence_lock_irqsave(fence, flags);
	first = !dma_fence_test_signaled_flag(fence);
	if (first) {
		if (error)
			dma_fence_set_error(fence, error);
		dma_fence_signal_locked(fence);
	}
	dma_fence_unlock_irqrestore(fence, flags);
	return first;
}

static enum hrtimer_restart interop_irq_fn(struct hrtimer *timer)
{
	struct interop_irq *irq =
		container_of(timer, struct interop_irq, timer);

	irq->ok = in_hardirq();
	if (irq->timeline)
		interop_timeline_advance(irq->timeline, irq->seqno, irq->error);
	else
		irq->ok &= interop_signal(irq->fence, irq->error);
	complete(&irq->done);
	return HRTIMER_NORESTART;
}

static bool interop_irq_run(struct interop_irq *irq)
{
	init_completion(&irq->done);
	hrtimer_setup_on_stack(&irq->timer, interop_irq_fn, CLOCK_MONOTONIC,
			       HRTIMER_MODE_REL_HARD);
	hrtimer_start(&irq->timer, ns_to_ktime(NSEC_PER_USEC),
		      HRTIMER_MODE_REL_HARD);
	wait_for_completion(&irq->done);
	/* The handler completes before it returns. */
	hrtimer_cancel(&irq->timer);
	destroy_hrtimer_on_stack(&irq->timer);
	return irq->ok;
}

bool interop_signal_in_irq(struct dma_fence *fence, int error)
{
	struct interop_irq irq = { .fence = fence, .error = error };

	return interop_irq_run(&irq);
}

bool interop_timeline_advance_in_irq(struct interop_timeline *timeline,
				     u64 seqno, int error)
{
	struct interop_irq irq = {
		.timeline = timeline,
		.seqno = seqno,
		.error = error,
	};

	return interop_irq_run(&irq);
}
