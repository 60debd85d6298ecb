// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * What the kernel gives to C only, as functions that Rust can call.
 */
#include <linux/hardirq.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/sched/stat.h>
#include <linux/slab.h>
#include <linux/wait_bit.h>

#include "shim.h"

#define CREATE_TRACE_POINTS
#include "ringfence_trace.h"

/* --- Locks -------------------------------------------------------------- */

/*
 * One lock class for all queues: none is ever taken under another, which
 * lockdep then checks.
 */
void ringfence_lock_init(spinlock_t *lock)
{
	spin_lock_init(lock);
}

unsigned long ringfence_lock(spinlock_t *lock)
{
	unsigned long flags;

	spin_lock_irqsave(lock, flags);
	return flags;
}

void ringfence_unlock(spinlock_t *lock, unsigned long flags)
{
	spin_unlock_irqrestore(lock, flags);
}

unsigned long ringfence_irqs_off(void)
{
	unsigned long flags;

	local_irq_save(flags);
	return flags;
}

void ringfence_irqs_restore(unsigned long flags)
{
	local_irq_restore(flags);
}

/* With interrupts off already. */
void ringfence_lock_plain(spinlock_t *lock)
{
	spin_lock(lock);
}

void ringfence_unlock_plain(spinlock_t *lock)
{
	spin_unlock(lock);
}

void ringfence_gate_init(struct mutex *gate)
{
	mutex_init(gate);
}

void ringfence_gate_lock(struct mutex *gate, unsigned int depth)
{
	mutex_lock_nested(gate, depth);
}

void ringfence_gate_unlock(struct mutex *gate)
{
	mutex_unlock(gate);
}

/* --- Fences ------------------------------------------------------------- */

void ringfence_fence_get(struct dma_fence *fence)
{
	dma_fence_get(fence);
}

void ringfence_fence_put(struct dma_fence *fence)
{
	dma_fence_put(fence);
}

bool ringfence_fence_is_signaled(struct dma_fence *fence)
{
	return dma_fence_is_signaled(fence);
}

/*
 * As dma_fence_get_status(), also for a fence that has signalled and whose lock
 * was its issuer's: that may be gone (see below). A lock of the fence's own is
 * taken, so that its callbacks have returned.
 */
int ringfence_fence_status(struct dma_fence *fence)
{
	int status;

	rcu_read_lock();
	if (test_bit(DMA_FENCE_FLAG_INLINE_LOCK_BIT, &fence->flags) ||
	    !dma_fence_test_signaled_flag(fence)) {
		status = dma_fence_get_status(fence);
	} else {
		/* The error was set before the flag. */
		smp_rmb();
		status = READ_ONCE(fence->error) ?: 1;
	}
	rcu_read_unlock();
	return status;
}

bool ringfence_fence_is_later(struct dma_fence *a, struct dma_fence *b)
{
	return dma_fence_is_later(a, b);
}

/* In a signalling section of its own. */
void ringfence_fence_signal(struct dma_fence *fence, int error, u64 ns)
{
	bool cookie = dma_fence_begin_signalling();

	if (unlikely(error))
		dma_fence_set_error(fence, error);
	dma_fence_signal_timestamp(fence, ns_to_ktime(ns));
	dma_fence_end_signalling(cookie);
}

u64 ringfence_fence_timestamp(struct dma_fence *fence)
{
	return ktime_to_ns(dma_fence_timestamp(fence));
}

/*
 * Removes a callback that was added, or waits until it has been called: done
 * is set by the callback itself, when it touches nothing any more.
 *
 * The lock may be the issuer's own, who may free it a grace period after the
 * fence has signalled ("Safe external access", include/linux/dma-fence.h). So
 * it is only taken where the fence is seen open in the same read side section.
 * Otherwise whoever signals is at it, with interrupts off, and soon done.
 */
bool ringfence_fence_remove_callback(struct dma_fence *fence,
				     struct dma_fence_cb *cb, bool *done)
{
	bool removed = false;

	rcu_read_lock();
	if (!dma_fence_test_signaled_flag(fence))
		removed = dma_fence_remove_callback(fence, cb);
	rcu_read_unlock();
	/* Pairs with the release at the end of the callback (callback.rs). */
	while (!removed && !smp_load_acquire(done))
		cpu_relax();
	return removed;
}

bool ringfence_begin_signalling(void)
{
	return dma_fence_begin_signalling();
}

void ringfence_end_signalling(bool cookie)
{
	dma_fence_end_signalling(cookie);
}

/* --- Executors ---------------------------------------------------------- */

struct ringfence_executor {
	struct workqueue_struct *wq;
	struct kthread_worker *rt;
};

struct ringfence_executor *ringfence_executor_new(const char *name, bool rt,
						  int *error)
{
	struct ringfence_executor *executor;

	*error = -ENOMEM;
	executor = kzalloc_obj(*executor);
	if (!executor)
		return NULL;

	if (rt) {
		executor->rt = kthread_run_worker(0, "%s", name);
		if (IS_ERR(executor->rt)) {
			*error = PTR_ERR(executor->rt);
			kfree(executor);
			return NULL;
		}
		sched_set_fifo(executor->rt->task);
	} else {
		/* Fences wait for it, and memory waits for fences. */
		executor->wq = alloc_workqueue("%s", WQ_MEM_RECLAIM | WQ_UNBOUND,
					       0, name);
		if (!executor->wq) {
			kfree(executor);
			return NULL;
		}
	}
	*error = 0;
	return executor;
}

void ringfence_executor_destroy(struct ringfence_executor *executor)
{
	if (executor->rt)
		kthread_destroy_worker(executor->rt);
	else
		destroy_workqueue(executor->wq);
	kfree(executor);
}

static void ringfence_work_func(struct work_struct *work)
{
	struct ringfence_work *this =
		container_of(work, struct ringfence_work, work);

	this->func(this);
}

static void ringfence_kthread_work_func(struct kthread_work *work)
{
	struct ringfence_work *this =
		container_of(work, struct ringfence_work, kthread_work);

	this->func(this);
}

void ringfence_work_init(struct ringfence_executor *executor,
			 struct ringfence_work *work,
			 void (*func)(struct ringfence_work *work))
{
	work->func = func;
	if (executor->rt)
		kthread_init_work(&work->kthread_work,
				  ringfence_kthread_work_func);
	else
		INIT_WORK(&work->work, ringfence_work_func);
}

bool ringfence_work_queue(struct ringfence_executor *executor,
			  struct ringfence_work *work)
{
	if (executor->rt)
		return kthread_queue_work(executor->rt, &work->kthread_work);
	return queue_work(executor->wq, &work->work);
}

void ringfence_work_cancel_sync(struct ringfence_executor *executor,
				struct ringfence_work *work)
{
	if (executor->rt)
		kthread_cancel_work_sync(&work->kthread_work);
	else
		cancel_work_sync(&work->work);
}

/*
 * Lets whoever else wants this CPU have a turn. A worker that has run out of
 * work does it once before it sleeps: a submitter that it has preempted then
 * comes with more than one job. Not for waiting: nothing is waited for.
 */
void ringfence_linger(void)
{
	if (!single_task_running())
		yield();
}

/* --- Timers: what delayed work is made of, without a work of its own ----- */

static void ringfence_timer_func(struct timer_list *timer)
{
	struct ringfence_timer *this =
		container_of(timer, struct ringfence_timer, timer);

	this->func(this);
}

void ringfence_timer_init(struct ringfence_timer *timer,
			  void (*func)(struct ringfence_timer *timer))
{
	timer->func = func;
	timer_setup(&timer->timer, ringfence_timer_func, 0);
}

/* Never early by more than the queue notices: it looks at the clock again. */
void ringfence_timer_set(struct ringfence_timer *timer, u64 at_ns)
{
	u64 now = ktime_get_ns();
	u64 span = at_ns > now ? at_ns - now : 0;
	u64 ticks = min_t(u64, nsecs_to_jiffies64(span) + 1,
			  MAX_JIFFY_OFFSET);

	mod_timer(&timer->timer, jiffies + (unsigned long)ticks);
}

void ringfence_timer_shutdown_sync(struct ringfence_timer *timer)
{
	timer_shutdown_sync(&timer->timer);
}

/* --- Ends: the last count may go in an interrupt, what follows sleeps ----- */

static struct workqueue_struct *ringfence_end_wq;

static void ringfence_end_func(struct work_struct *work)
{
	struct ringfence_end *this =
		container_of(work, struct ringfence_end, work);

	this->func(this);
}

void ringfence_end_init(struct ringfence_end *end,
			void (*func)(struct ringfence_end *end))
{
	end->func = func;
	INIT_WORK(&end->work, ringfence_end_func);
}

void ringfence_end_queue(struct ringfence_end *end)
{
	queue_work(ringfence_end_wq, &end->work);
}

/* Returns when every function that was queued before has returned. */
void ringfence_end_flush(void)
{
	flush_workqueue(ringfence_end_wq);
	rcu_barrier();
}

/* --- Waiting -------------------------------------------------------------- */

/* The loads pair with whoever changes the variable, with full ordering. */
void ringfence_wait_var(u32 *var, u32 seen)
{
	/* As said above. */
	wait_var_event(var, smp_load_acquire(var) != seen);
}

bool ringfence_wait_var_timeout(u32 *var, u32 seen, u64 ns)
{
	/* As said above. */
	return wait_var_event_timeout(var, smp_load_acquire(var) != seen,
				      nsecs_to_jiffies(ns) + 1);
}

/* Whoever has changed the variable did so with full ordering. */
void ringfence_wake_var(u32 *var)
{
	wake_up_var(var);
}

/* --- Where and when -------------------------------------------------------- */

void *ringfence_current(void)
{
	return current;
}

bool ringfence_may_sleep(void)
{
	return !irqs_disabled() && !preempt_count() && !rcu_preempt_depth();
}

void ringfence_might_sleep(void)
{
	might_sleep();
}

u64 ringfence_now(void)
{
	return ktime_get_ns();
}

u64 ringfence_now_coarse(void)
{
	return ktime_get_coarse_ns();
}

/* --- Tracing ---------------------------------------------------------------- */

struct ringfence_rare ringfence_rare ____cacheline_aligned;

int ringfence_trace_reg(void)
{
	atomic_inc(&ringfence_rare.traced);
	return 0;
}

void ringfence_trace_unreg(void)
{
	atomic_dec(&ringfence_rare.traced);
}

void ringfence_trace_queue(const char *dev, const char *name, u64 context,
			   u64 seqno, u32 job_count, u32 hw_job_count,
			   u64 client)
{
	trace_ringfence_job_queue(dev, name, context, seqno, job_count,
				  hw_job_count, client);
}

void ringfence_trace_run(const char *dev, const char *name, u64 context,
			 u64 seqno, u32 job_count, u32 hw_job_count,
			 u64 client)
{
	trace_ringfence_job_run(dev, name, context, seqno, job_count,
				hw_job_count, client);
}

void ringfence_trace_done(u64 context, u64 seqno, int error)
{
	trace_ringfence_job_done(context, seqno, error);
}

void ringfence_trace_add_dep(u64 context, u64 seqno, u64 on_context,
			     u64 on_seqno)
{
	trace_ringfence_job_add_dep(context, seqno, on_context, on_seqno);
}

void ringfence_trace_unschedulable(u64 context, u64 seqno, u64 on_context,
				   u64 on_seqno)
{
	trace_ringfence_job_unschedulable(context, seqno, on_context,
					  on_seqno);
}

/* --- The module --------------------------------------------------------------- */

/* A timeline holds the module: open fences call its names. */
void ringfence_module_get(void)
{
	__module_get(THIS_MODULE);
}

void ringfence_module_put(void)
{
	module_put(THIS_MODULE);
}

static int __init ringfence_init(void)
{
	ringfence_end_wq = alloc_workqueue("ringfence-end", WQ_UNBOUND, 0);
	return ringfence_end_wq ? 0 : -ENOMEM;
}

static void __exit ringfence_exit(void)
{
	destroy_workqueue(ringfence_end_wq);
	/* Whoever reads the names of a fence does so in a read side section. */
	synchronize_rcu();
	rcu_barrier();
}

/* Before any driver that is built in. */
subsys_initcall(ringfence_init);
module_exit(ringfence_exit);

MODULE_DESCRIPTION("GPU job queues whose ownership the compiler checks");
MODULE_AUTHOR("The Ringfence authors");
MODULE_LICENSE("Dual MIT/GPL");
