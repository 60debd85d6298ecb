// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * A hard interrupt and trace probes for the tests: see hooks.h.
 */

#include <linux/completion.h>
#include <linux/dma-fence.h>
#include <linux/hardirq.h>
#include <linux/hrtimer.h>
#include <linux/module.h>
#include <linux/notifier.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/tracepoint.h>

#include "../ringfence_trace.h"
#include "hooks.h"

/*
 * Hard interrupt context.
 */

struct hooks_call {
	struct hrtimer timer;
	struct completion done;
	void (*func)(void *arg);
	void *arg;
	bool hard;
};

static enum hrtimer_restart hooks_call_fn(struct hrtimer *timer)
{
	struct hooks_call *call =
		container_of(timer, struct hooks_call, timer);

	call->hard = in_hardirq();
	call->func(call->arg);
	complete(&call->done);
	return HRTIMER_NORESTART;
}

bool hooks_in_hard_irq(void (*func)(void *arg), void *arg)
{
	struct hooks_call call = { .func = func, .arg = arg };

	init_completion(&call.done);
	hrtimer_setup_on_stack(&call.timer, hooks_call_fn, CLOCK_MONOTONIC,
			       HRTIMER_MODE_REL_PINNED_HARD);
	hrtimer_start(&call.timer, ns_to_ktime(NSEC_PER_USEC),
		      HRTIMER_MODE_REL_PINNED_HARD);
	wait_for_completion(&call.done);
	/* The handler completes before it returns. */
	hrtimer_cancel(&call.timer);
	destroy_hrtimer_on_stack(&call.timer);
	return call.hard;
}

bool hooks_in_task(void)
{
	return in_task() && !irqs_disabled();
}

/*
 * A fence that says when it is waited for.
 */

struct hooks_fence {
	/* First: the core frees it. */
	struct dma_fence base;
	/* Of another class than those that fences have within. */
	spinlock_t lock;
	void (*func)(void *arg);
	void *arg;
};

static const char *hooks_fence_name(struct dma_fence *fence)
{
	return "ringfence_hooks";
}

static bool hooks_fence_enable(struct dma_fence *base)
{
	struct hooks_fence *fence =
		container_of(base, struct hooks_fence, base);

	fence->func(fence->arg);
	return true;
}

static const struct dma_fence_ops hooks_fence_ops = {
	.get_driver_name = hooks_fence_name,
	.get_timeline_name = hooks_fence_name,
	.enable_signaling = hooks_fence_enable,
};

struct dma_fence *hooks_fence(void (*func)(void *arg), void *arg)
{
	struct hooks_fence *fence = kzalloc_obj(*fence);

	if (!fence)
		return NULL;
	spin_lock_init(&fence->lock);
	fence->func = func;
	fence->arg = arg;
	dma_fence_init(&fence->base, &hooks_fence_ops, &fence->lock,
		       dma_fence_context_alloc(1), 1);
	return &fence->base;
}

/*
 * Trace events.
 */

#define HOOKS_ROOM 64U

/* Not a queue's lock, under which some events are emitted. */
static DEFINE_RAW_SPINLOCK(hooks_lock);
static struct hooks_event hooks_events[HOOKS_ROOM];
static u32 hooks_seen;

static void hooks_note(struct hooks_event event)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&hooks_lock, flags);
	if (hooks_seen < HOOKS_ROOM)
		hooks_events[hooks_seen] = event;
	hooks_seen++;
	raw_spin_unlock_irqrestore(&hooks_lock, flags);
}

static void hooks_job(u32 kind, u64 context, u64 seqno, u32 job_count,
		      u32 hw_job_count, u64 client)
{
	hooks_note((struct hooks_event) {
		.kind = kind,
		.context = context,
		.seqno = seqno,
		.client = client,
		.job_count = job_count,
		.hw_job_count = hw_job_count,
	});
}

static void hooks_wait(u32 kind, u64 context, u64 seqno, u64 on_context,
		       u64 on_seqno)
{
	hooks_note((struct hooks_event) {
		.kind = kind,
		.context = context,
		.seqno = seqno,
		.on_context = on_context,
		.on_seqno = on_seqno,
	});
}

static void hooks_queue(void *data, const char *dev, const char *name,
			u64 context, u64 seqno, u32 job_count,
			u32 hw_job_count, u64 client)
{
	hooks_job(HOOKS_QUEUE, context, seqno, job_count, hw_job_count,
		  client);
}

static void hooks_run(void *data, const char *dev, const char *name,
		      u64 context, u64 seqno, u32 job_count, u32 hw_job_count,
		      u64 client)
{
	hooks_job(HOOKS_RUN, context, seqno, job_count, hw_job_count, client);
}

static void hooks_done(void *data, u64 context, u64 seqno, int error)
{
	hooks_note((struct hooks_event) {
		.kind = HOOKS_DONE,
		.error = error,
		.context = context,
		.seqno = seqno,
	});
}

static void hooks_add_dep(void *data, u64 context, u64 seqno, u64 on_context,
			  u64 on_seqno)
{
	hooks_wait(HOOKS_ADD_DEP, context, seqno, on_context, on_seqno);
}

static void hooks_unschedulable(void *data, u64 context, u64 seqno,
				u64 on_context, u64 on_seqno)
{
	hooks_wait(HOOKS_UNSCHEDULABLE, context, seqno, on_context, on_seqno);
}

static struct hooks_probe {
	const char *name;
	void *func;
	struct tracepoint *point;
} hooks_probes[] = {
	{ "ringfence_job_queue", hooks_queue },
	{ "ringfence_job_run", hooks_run },
	{ "ringfence_job_done", hooks_done },
	{ "ringfence_job_add_dep", hooks_add_dep },
	{ "ringfence_job_unschedulable", hooks_unschedulable },
};

static void hooks_know(struct tracepoint *point, void *unused)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(hooks_probes); i++)
		if (!strcmp(point->name, hooks_probes[i].name))
			hooks_probes[i].point = point;
}

#if defined(CONFIG_TRACEPOINTS) && defined(CONFIG_MODULES)
/* Told of every module that is there when it is registered. */
static int hooks_module(struct notifier_block *block, unsigned long action,
			void *data)
{
	struct tp_module *found = data;
	unsigned int i;

	if (action != MODULE_STATE_COMING)
		return NOTIFY_OK;
	for (i = 0; i < found->mod->num_tracepoints; i++)
		hooks_know(tracepoint_ptr_deref(&found->mod->tracepoints_ptrs[i]),
			   NULL);
	return NOTIFY_OK;
}

static struct notifier_block hooks_modules = { .notifier_call = hooks_module };

/* The events are not exported, and so are found by name. */
static void hooks_find(void)
{
	for_each_kernel_tracepoint(hooks_know, NULL);
	register_tracepoint_module_notifier(&hooks_modules);
	unregister_tracepoint_module_notifier(&hooks_modules);
}
#else
static void hooks_find(void)
{
	for_each_kernel_tracepoint(hooks_know, NULL);
}
#endif

/* By name nobody looks at the arguments: this does. */
static void hooks_check(void)
{
	check_trace_callback_type_ringfence_job_queue(hooks_queue);
	check_trace_callback_type_ringfence_job_run(hooks_run);
	check_trace_callback_type_ringfence_job_done(hooks_done);
	check_trace_callback_type_ringfence_job_add_dep(hooks_add_dep);
	check_trace_callback_type_ringfence_job_unschedulable(hooks_unschedulable);
}

static void hooks_unregister(size_t count)
{
	while (count--)
		tracepoint_probe_unregister(hooks_probes[count].point,
					    hooks_probes[count].func, NULL);
	tracepoint_synchronize_unregister();
}

int hooks_trace_begin(void)
{
	size_t i;
	int err;

	if (!IS_ENABLED(CONFIG_TRACEPOINTS))
		return -EOPNOTSUPP;
	if (hooks_probes[0].point)
		return -EBUSY;
	hooks_check();
	hooks_find();
	hooks_seen = 0;
	for (i = 0; i < ARRAY_SIZE(hooks_probes); i++) {
		err = -ENOENT;
		if (hooks_probes[i].point)
			err = tracepoint_probe_register(hooks_probes[i].point,
							hooks_probes[i].func,
							NULL);
		if (err) {
			hooks_unregister(i);
			hooks_probes[0].point = NULL;
			return err;
		}
	}
	return 0;
}

u32 hooks_trace_end(struct hooks_event *events, u32 room)
{
	hooks_unregister(ARRAY_SIZE(hooks_probes));
	hooks_probes[0].point = NULL;
	memcpy(events, hooks_events,
	       sizeof(*events) * min3(room, hooks_seen, HOOKS_ROOM));
	return hooks_seen;
}
