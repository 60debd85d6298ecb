// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Fences of ours in C's hands, and C's in ours: files, arrays, chains, reservation objects, and an
//! older driver's fences, signalled before and after, well and badly, on threads and in hard
//! interrupts.

mod foreign;
mod glue;
mod ours;

use kernel::prelude::*;

use foreign::*;
use ours::*;

suite! { ringfence_interop of interop {
    interop_sync_file,
    interop_sync_file_of_a_failed_job,
    interop_array_of_jobs,
    interop_array_of_jobs_with_an_error,
    interop_array_of_jobs_completed_in_hard_irq,
    interop_chain_of_jobs,
    interop_resv_of_a_job,
    interop_resv_waits_for_a_job,
    interop_resv_of_a_job_completed_in_hard_irq,
    interop_timeline_fence_in_an_array,
    interop_foreign_dependency_after_submit,
    interop_foreign_dependency_before_submit,
    interop_foreign_dependency_fails_after_submit,
    interop_foreign_dependency_failed_before_submit,
    interop_foreign_dependency_fails_and_the_job_runs,
    interop_foreign_dependency_in_hard_irq,
    interop_foreign_dependency_fails_in_hard_irq,
    interop_foreign_dependency_signalled_in_hard_irq_before_submit,
    interop_foreign_timeline_counts_by_its_latest,
    interop_foreign_array_as_dependency,
    interop_foreign_array_of_jobs_as_dependency,
    interop_foreign_chain_as_dependency,
    interop_foreign_hardware_fence,
    interop_foreign_hardware_fence_signalled_before,
    interop_foreign_hardware_fence_in_hard_irq,
    interop_foreign_room,
    interop_foreign_timeline_is_destroyed,
    interop_foreign_fence_outlives_a_killed_job,
    interop_foreign_callback_taken_back,
} }
