// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The C side, as declared in `linux/shim.h`. Layouts and prototypes agree with it.

use kernel::bindings;
use kernel::ffi::{c_char, c_int, c_uint, c_ulong, c_void};

/// `struct ringfence_executor`: opaque here.
#[repr(C)]
pub(crate) struct Executor {
    _opaque: [u8; 0],
}

/// `struct ringfence_work`.
#[repr(C)]
pub(crate) struct Work {
    either: EitherWork,
    func: Option<unsafe extern "C" fn(*mut Work)>,
}

#[repr(C)]
union EitherWork {
    _work: core::mem::ManuallyDrop<bindings::work_struct>,
    _kthread_work: core::mem::ManuallyDrop<bindings::kthread_work>,
}

/// `struct ringfence_timer`.
#[repr(C)]
pub(crate) struct Timer {
    timer: bindings::timer_list,
    func: Option<unsafe extern "C" fn(*mut Timer)>,
}

/// `struct ringfence_end`.
#[repr(C)]
pub(crate) struct End {
    work: bindings::work_struct,
    func: Option<unsafe extern "C" fn(*mut End)>,
}

// The kernel's structures have members without size, which nobody passes by value.
#[allow(improper_ctypes)]
extern "C" {
    pub(crate) fn ringfence_lock_init(lock: *mut bindings::spinlock_t);
    pub(crate) fn ringfence_lock(lock: *mut bindings::spinlock_t) -> c_ulong;
    pub(crate) fn ringfence_unlock(lock: *mut bindings::spinlock_t, flags: c_ulong);
    pub(crate) fn ringfence_irqs_off() -> c_ulong;
    pub(crate) fn ringfence_irqs_restore(flags: c_ulong);
    pub(crate) fn ringfence_lock_plain(lock: *mut bindings::spinlock_t);
    pub(crate) fn ringfence_unlock_plain(lock: *mut bindings::spinlock_t);

    pub(crate) fn ringfence_gate_init(gate: *mut bindings::mutex);
    pub(crate) fn ringfence_gate_lock(gate: *mut bindings::mutex, depth: c_uint);
    pub(crate) fn ringfence_gate_unlock(gate: *mut bindings::mutex);

    pub(crate) fn ringfence_fence_get(fence: *mut bindings::dma_fence);
    pub(crate) fn ringfence_fence_put(fence: *mut bindings::dma_fence);
    pub(crate) fn ringfence_fence_is_signaled(fence: *mut bindings::dma_fence) -> bool;
    pub(crate) fn ringfence_fence_status(fence: *mut bindings::dma_fence) -> c_int;
    pub(crate) fn ringfence_fence_signal(fence: *mut bindings::dma_fence, error: c_int, ns: u64);
    pub(crate) fn ringfence_fence_is_later(
        a: *mut bindings::dma_fence,
        b: *mut bindings::dma_fence,
    ) -> bool;
    pub(crate) fn ringfence_fence_remove_callback(
        fence: *mut bindings::dma_fence,
        cb: *mut bindings::dma_fence_cb,
        done: *mut bool,
    ) -> bool;
    pub(crate) fn ringfence_fence_timestamp(fence: *mut bindings::dma_fence) -> u64;
    pub(crate) fn ringfence_begin_signalling() -> bool;
    pub(crate) fn ringfence_end_signalling(cookie: bool);

    pub(crate) fn ringfence_executor_new(
        name: *const c_char,
        rt: bool,
        error: *mut c_int,
    ) -> *mut Executor;
    pub(crate) fn ringfence_executor_destroy(executor: *mut Executor);
    pub(crate) fn ringfence_work_init(
        executor: *mut Executor,
        work: *mut Work,
        func: unsafe extern "C" fn(*mut Work),
    );
    pub(crate) fn ringfence_work_queue(executor: *mut Executor, work: *mut Work) -> bool;
    pub(crate) fn ringfence_work_cancel_sync(executor: *mut Executor, work: *mut Work);

    pub(crate) fn ringfence_linger();

    pub(crate) fn ringfence_timer_init(timer: *mut Timer, func: unsafe extern "C" fn(*mut Timer));
    pub(crate) fn ringfence_timer_set(timer: *mut Timer, at_ns: u64);
    pub(crate) fn ringfence_timer_shutdown_sync(timer: *mut Timer);

    pub(crate) fn ringfence_end_init(end: *mut End, func: unsafe extern "C" fn(*mut End));
    pub(crate) fn ringfence_end_queue(end: *mut End);
    pub(crate) fn ringfence_end_flush();

    pub(crate) fn ringfence_wait_var(var: *mut u32, seen: u32);
    pub(crate) fn ringfence_wait_var_timeout(var: *mut u32, seen: u32, ns: u64) -> bool;
    pub(crate) fn ringfence_wake_var(var: *mut u32);

    pub(crate) fn ringfence_current() -> *mut c_void;
    pub(crate) fn ringfence_may_sleep() -> bool;
    pub(crate) fn ringfence_might_sleep();
    pub(crate) fn ringfence_now() -> u64;
    pub(crate) fn ringfence_now_coarse() -> u64;

    pub(crate) fn ringfence_module_get();
    pub(crate) fn ringfence_module_put();

    pub(crate) fn ringfence_trace_queue(
        dev: *const c_char,
        name: *const c_char,
        context: u64,
        seqno: u64,
        job_count: u32,
        hw_job_count: u32,
        client: u64,
    );
    pub(crate) fn ringfence_trace_run(
        dev: *const c_char,
        name: *const c_char,
        context: u64,
        seqno: u64,
        job_count: u32,
        hw_job_count: u32,
        client: u64,
    );
    pub(crate) fn ringfence_trace_done(context: u64, seqno: u64, error: c_int);
    pub(crate) fn ringfence_trace_add_dep(context: u64, seqno: u64, on_context: u64, on_seqno: u64);
    pub(crate) fn ringfence_trace_unschedulable(
        context: u64,
        seqno: u64,
        on_context: u64,
        on_seqno: u64,
    );
}

/// `struct ringfence_rare`.
#[repr(C)]
pub(crate) struct Rare {
    /// How many of the trace events are listened to.
    pub(crate) traced: kernel::sync::atomic::Atomic<i32>,
    /// How many queues have callbacks that mark their task.
    pub(crate) marking: kernel::sync::atomic::Atomic<i32>,
}

extern "C" {
    pub(crate) static ringfence_rare: Rare;
}
