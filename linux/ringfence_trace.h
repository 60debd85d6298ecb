/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * Trace events of job queues.
 *
 * Names are ours, fields are those of the gpu_scheduler events
 * (drivers/gpu/drm/scheduler/gpu_scheduler_trace.h), so that tools which read
 * those need another prefix and nothing else.
 */
#if !defined(RINGFENCE_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define RINGFENCE_TRACE_H

#include <linux/tracepoint.h>
#include <linux/types.h>

int ringfence_trace_reg(void);
void ringfence_trace_unreg(void);

#undef TRACE_SYSTEM
#define TRACE_SYSTEM ringfence
#define TRACE_INCLUDE_FILE ringfence_trace

DECLARE_EVENT_CLASS(ringfence_job,
	TP_PROTO(const char *dev, const char *name, u64 context, u64 seqno,
		 u32 job_count, u32 hw_job_count, u64 client_id),
	TP_ARGS(dev, name, context, seqno, job_count, hw_job_count, client_id),
	TP_STRUCT__entry(
		__string(name, name)
		__field(u32, job_count)
		__field(int, hw_job_count)
		__string(dev, dev)
		__field(u64, fence_context)
		__field(u64, fence_seqno)
		__field(u64, client_id)
	),
	TP_fast_assign(
		__assign_str(name);
		__entry->job_count = job_count;
		__entry->hw_job_count = hw_job_count;
		__assign_str(dev);
		__entry->fence_context = context;
		__entry->fence_seqno = seqno;
		__entry->client_id = client_id;
	),
	TP_printk("dev=%s, fence=%llu:%llu, ring=%s, job count:%u, hw job count:%d, client_id:%llu",
		  __get_str(dev), __entry->fence_context,
		  __entry->fence_seqno, __get_str(name), __entry->job_count,
		  __entry->hw_job_count, __entry->client_id)
);

DEFINE_EVENT_FN(ringfence_job, ringfence_job_queue,
	TP_PROTO(const char *dev, const char *name, u64 context, u64 seqno,
		 u32 job_count, u32 hw_job_count, u64 client_id),
	TP_ARGS(dev, name, context, seqno, job_count, hw_job_count, client_id),
	ringfence_trace_reg, ringfence_trace_unreg
);

DEFINE_EVENT_FN(ringfence_job, ringfence_job_run,
	TP_PROTO(const char *dev, const char *name, u64 context, u64 seqno,
		 u32 job_count, u32 hw_job_count, u64 client_id),
	TP_ARGS(dev, name, context, seqno, job_count, hw_job_count, client_id),
	ringfence_trace_reg, ringfence_trace_unreg
);

TRACE_EVENT_FN(ringfence_job_done,
	TP_PROTO(u64 context, u64 seqno, int error),
	TP_ARGS(context, seqno, error),
	TP_STRUCT__entry(
		__field(u64, fence_context)
		__field(u64, fence_seqno)
		__field(int, error)
	),
	TP_fast_assign(
		__entry->fence_context = context;
		__entry->fence_seqno = seqno;
		__entry->error = error;
	),
	TP_printk("fence=%llu:%llu signaled, error=%d", __entry->fence_context,
		  __entry->fence_seqno, __entry->error),
	ringfence_trace_reg, ringfence_trace_unreg
);

DECLARE_EVENT_CLASS(ringfence_wait,
	TP_PROTO(u64 context, u64 seqno, u64 on_context, u64 on_seqno),
	TP_ARGS(context, seqno, on_context, on_seqno),
	TP_STRUCT__entry(
		__field(u64, fence_context)
		__field(u64, fence_seqno)
		__field(u64, ctx)
		__field(u64, seqno)
	),
	TP_fast_assign(
		__entry->fence_context = context;
		__entry->fence_seqno = seqno;
		__entry->ctx = on_context;
		__entry->seqno = on_seqno;
	),
	TP_printk("fence=%llu:%llu depends on fence=%llu:%llu",
		  __entry->fence_context, __entry->fence_seqno,
		  __entry->ctx, __entry->seqno)
);

DEFINE_EVENT_FN(ringfence_wait, ringfence_job_add_dep,
	TP_PROTO(u64 context, u64 seqno, u64 on_context, u64 on_seqno),
	TP_ARGS(context, seqno, on_context, on_seqno),
	ringfence_trace_reg, ringfence_trace_unreg
);

TRACE_EVENT_FN(ringfence_job_unschedulable,
	TP_PROTO(u64 context, u64 seqno, u64 on_context, u64 on_seqno),
	TP_ARGS(context, seqno, on_context, on_seqno),
	TP_STRUCT__entry(
		__field(u64, fence_context)
		__field(u64, fence_seqno)
		__field(u64, ctx)
		__field(u64, seqno)
	),
	TP_fast_assign(
		__entry->fence_context = context;
		__entry->fence_seqno = seqno;
		__entry->ctx = on_context;
		__entry->seqno = on_seqno;
	),
	TP_printk("fence=%llu:%llu depends on unsignalled fence=%llu:%llu",
		  __entry->fence_context, __entry->fence_seqno,
		  __entry->ctx, __entry->seqno),
	ringfence_trace_reg, ringfence_trace_unreg
);

#endif /* RINGFENCE_TRACE_H */

/* This part must be outside protection. */
#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#include <trace/define_trace.h>
