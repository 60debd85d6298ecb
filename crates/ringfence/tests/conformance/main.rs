// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What every host of core must do, as scenarios with names.
//!
//! The names are the same for every host: a host that passes a scenario passes it under this name.
//! Three sources: the tests of Linux' own scheduler (`drivers/gpu/drm/scheduler/tests/`), the
//! bugs for which that scheduler is to be replaced (`drm_*`), and those of the job queue that was
//! proposed in its place (`jobqueue_*`).
#![cfg(not(any(feature = "loom", feature = "shuttle")))]

#[path = "../common/mod.rs"]
mod common;

mod basic;
mod bounds;
mod drm_callbacks;
mod drm_teardown;
mod drm_timeout;
mod jobqueue;
mod limits;
mod load;
mod recovery;
mod resets;

/// One scenario.
struct Scenario {
    name: &'static str,
    run: fn(),
}

/// Makes the list of scenarios, and a test of each.
macro_rules! scenarios {
    ($($module:ident { $($name:ident,)* })*) => {
        const SCENARIOS: &[Scenario] = &[
            $($(Scenario { name: stringify!($name), run: $module::$name },)*)*
        ];

        $($(
            #[test]
            fn $name() {
                run(stringify!($name));
            }
        )*)*
    };
}

scenarios! {
    basic {
        submit,
        queue_of_jobs,
        chain_of_dependent_jobs,
        independent_queues,
        interdependent_queues,
        ping_pong,
        failed_run,
        failed_dependency_fails_the_job,
        failed_dependency_may_be_ignored,
        follows_a_fence_of_the_hardware,
        no_room_until_a_fence_signals,
        gang_over_two_queues,
        armed_and_let_go,
        suspend_and_resume,
        suspended_between_two_callbacks,
        watched,
        snapshot_of_every_state,
    }
    load {
        parallel_submission,
        parallel_submission_through_guards,
        interleaved_durations,
        completion_from_many_threads,
        overhead,
        two_clients,
        many_clients,
        ten_thousand_queues,
    }
    limits {
        credits,
        credits_of_different_costs,
        cost_zero,
        cost_above_the_limit,
        queue_full,
        cancel,
        cancel_with_open_dependency,
        cancel_armed,
        close_cancels_in_order,
        close_drains_in_order,
        cleanup_with_half_the_jobs_pending,
        closed_signals_when_nothing_is_left,
        long_running_queue,
        sequence_numbers_wrap,
        prepared_outlives_its_queue,
        drop_of_a_suspended_queue_that_drains,
    }
    drm_timeout {
        timeout,
        timeout_of_the_next_job,
        skip_reset,
        extended_a_bounded_number_of_times,
        device_gone,
        timeout_of_one_job,
        triggered_timeout,
        drm_4_5_job_used_after_free_in_timeout,
        drm_4_6_finished_job_times_out,
        drm_4_6_job_without_hang_leaks,
        drm_4_12_run_called_twice,
        drm_4_17_timeouts_on_a_forgotten_workqueue,
        drm_4_20_timer_armed_for_a_finished_job,
        timeout_while_a_worker_is_busy,
        timeout_while_its_watch_is_busy,
    }
    drm_teardown {
        drm_4_1_pending_jobs_leak_at_teardown,
        drm_4_2_teardown_blocks_until_empty,
        drm_4_3_cancelled_out_of_order,
        drm_4_9_kill_while_the_worker_runs,
        drm_4_11_name_of_a_fence_after_teardown,
        drm_4_14_driver_outlives_its_jobs,
        drm_4_15_wait_for_teardown,
        drm_4_16_queue_outlives_its_device,
    }
    drm_callbacks {
        drm_4_4_kill_in_a_fence_callback,
        drm_4_7_job_used_after_free_at_push,
        drm_4_8_idle_without_a_lock,
        drm_4_19_resources_of_the_wrong_queue,
        drm_4_21_signalled_before_its_callbacks,
        callbacks_do_not_nest,
        panic_in_run,
        panic_in_timed_out,
        panic_in_a_fence_callback,
        panic_in_a_payload_drop,
    }
    recovery {
        stop_waits_for_the_callback_that_runs,
        nothing_begins_while_stopped_and_restart_visits,
        walk_shows_jobs_in_order,
        walk_ends_jobs_in_order,
        late_completion_of_an_attempt_before_the_reset,
        replay_answers_done_failed_or_panics,
        job_completes_while_it_is_walked,
        forgotten_pending_job_is_kept,
        everything_else_goes_on_while_stopped,
        driver_is_not_dropped_under_the_guard,
        guilty_job_fails_and_the_rest_is_as_chosen,
    }
    resets {
        recovery_of_one_queue,
        many_ask_and_one_reset_serves_all,
        recovery_requested_by_an_interrupt,
        reset_without_a_recovery_is_refused,
        recovery_that_does_nothing,
        panic_in_recovery,
        drm_4_17_resets_of_one_device_overlap,
        drm_4_5_stop_in_a_callback,
        drm_4_3_device_gone_ends_fences_in_order,
        migration,
        queue_made_while_all_are_stopped,
    }
    bounds {
        ban_after_strikes,
        ban_by_who_stopped_the_queue,
        timeouts_from_narrow_to_wide,
        drm_4_2_hung_device_does_not_hold_teardown,
        replay_after_the_time_for_closing,
        replayed_too_often,
        unbind_waits_for_the_guard,
        unbind_during_recovery,
        recovery_ends_with_its_device,
        inspected_in_a_callback_and_while_stopped,
    }
    jobqueue {
        jobqueue_1_worker_kicked_from_a_fence_callback,
        jobqueue_2_hardware_fence_signalled_already,
        jobqueue_3_failed_preparation_leaves_callbacks,
        jobqueue_4_drop_with_waiting_jobs,
        jobqueue_5_lock_order_of_queue_and_fence,
        jobqueue_6_credits_taken_after_run,
        dependency_signals_during_submit,
    }
}

/// Runs one scenario, where a deadlock is a failure.
fn run(name: &'static str) {
    let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name);
    let scenario = scenario.expect("in the list");
    common::without_deadlock(name, scenario.run);
}

#[test]
fn names_are_unique() {
    let mut names: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
}
