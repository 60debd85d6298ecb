/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * What the kernel gives to C only: inline functions, macros, trace events.
 *
 * Nothing is decided here. The Rust side is linux/ringfence/sys.rs.
 */
#ifndef RINGFENCE_SHIM_H
#define RINGFENCE_SHIM_H

#include <linux/dma-fence.h>
#include <linux/kthread.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/timer.h>
#include <linux/types.h>
#include <linux/workqueue.h>

/* Where work is done: a workqueue, or one real-time thread. */
struct ringfence_executor;

/* One queue's place at an executor. */
struct ringfence_work {
	union {
		struct work_struct work;
		struct kthread_work kthread_work;
	};
	void (*func)(struct ringfence_work *work);
};

struct ringfence_timer {
	struct timer_list timer;
	void (*func)(struct ringfence_timer *timer);
};

/* Something that ends in a thread that may sleep, whoever begins it. */
struct ringfence_end {
	struct work_struct work;
	void (*func)(struct ringfence_end *end);
};

void ringfence_lock_init(spinlock_t *lock);
unsigned long ringfence_lock(spinlock_t *lock);
void ringfence_unlock(spinlock_t *lock, unsigned long flags);
unsigned long ringfence_irqs_off(void);
void ringfence_irqs_restore(unsigned long flags);
void ringfence_lock_plain(spinlock_t *lock);
void ringfence_unlock_plain(spinlock_t *lock);

/* A queue's lock against other guards. Several are taken in one order, each deeper. */
void ringfence_gate_init(struct mutex *gate);
void ringfence_gate_lock(struct mutex *gate, unsigned int depth);
void ringfence_gate_unlock(struct mutex *gate);

void ringfence_fence_get(struct dma_fence *fence);
void ringfence_fence_put(struct dma_fence *fence);
bool ringfence_fence_is_signaled(struct dma_fence *fence);
int ringfence_fence_status(struct dma_fence *fence);
void ringfence_fence_signal(struct dma_fence *fence, int error, u64 ns);
bool ringfence_fence_is_later(struct dma_fence *a, struct dma_fence *b);
bool ringfence_fence_remove_callback(struct dma_fence *fence,
				     struct dma_fence_cb *cb, bool *done);
u64 ringfence_fence_timestamp(struct dma_fence *fence);
bool ringfence_begin_signalling(void);
void ringfence_end_signalling(bool cookie);

struct ringfence_executor *ringfence_executor_new(const char *name, bool rt,
						  int *error);
void ringfence_executor_destroy(struct ringfence_executor *executor);
void ringfence_work_init(struct ringfence_executor *executor,
			 struct ringfence_work *work,
			 void (*func)(struct ringfence_work *work));
bool ringfence_work_queue(struct ringfence_executor *executor,
			  struct ringfence_work *work);
void ringfence_work_cancel_sync(struct ringfence_executor *executor,
				struct ringfence_work *work);

void ringfence_linger(void);

void ringfence_timer_init(struct ringfence_timer *timer,
			  void (*func)(struct ringfence_timer *timer));
void ringfence_timer_set(struct ringfence_timer *timer, u64 at_ns);
void ringfence_timer_shutdown_sync(struct ringfence_timer *timer);

void ringfence_end_init(struct ringfence_end *end,
			void (*func)(struct ringfence_end *end));
void ringfence_end_queue(struct ringfence_end *end);
void ringfence_end_flush(void);

void ringfence_wait_var(u32 *var, u32 seen);
bool ringfence_wait_var_timeout(u32 *var, u32 seen, u64 ns);
void ringfence_wake_var(u32 *var);

void *ringfence_current(void);
bool ringfence_may_sleep(void);
void ringfence_might_sleep(void);
u64 ringfence_now(void);
u64 ringfence_now_coarse(void);

void ringfence_module_get(void);
void ringfence_module_put(void);

void ringfence_trace_queue(const char *dev, const char *name, u64 context,
			   u64 seqno, u32 job_count, u32 hw_job_count,
			   u64 client);
void ringfence_trace_run(const char *dev, const char *name, u64 context,
			 u64 seqno, u32 job_count, u32 hw_job_count,
			 u64 client);
void ringfence_trace_done(u64 context, u64 seqno, int error);
void ringfence_trace_add_dep(u64 context, u64 seqno, u64 on_context,
			     u64 on_seqno);
void ringfence_trace_unschedulable(u64 context, u64 seqno, u64 on_context,
				   u64 on_seqno);

/*
 * What every submit asks and what is seldom not 0: how many of the events are
 * listened to, and how many queues have callbacks that run with interrupts on,
 * and so mark their task. In one cache line.
 */
struct ringfence_rare {
	atomic_t traced;
	atomic_t marking;
};

extern struct ringfence_rare ringfence_rare;

int ringfence_trace_reg(void);
void ringfence_trace_unreg(void);

#endif /* RINGFENCE_SHIM_H */
