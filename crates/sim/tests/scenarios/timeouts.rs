// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Time: who may be punished for taking too long, when, and by whom.

use std::time::Duration;

use ringfence_core::{
    Attempt, Completed, Config, Context, Effect, Errno, JobId, Outcome, RunOutcome, State, Time,
    TimeoutOutcome, Visit,
};

use crate::host::{completed, config, reap, signal, signals, Host};

/// A worker that has been told that the head of the line timed out.
fn asked(host: &mut Host, job: JobId) -> Visit {
    let mut worker = host.queue.worker_enters();
    let told = host.take(&mut worker);
    let asks =
        |effect: &Effect| matches!(effect, Effect::TimedOut { job: other, .. } if *other == job);
    assert!(told.iter().any(asks), "{told:?}");
    worker
}

fn verdict(host: &mut Host, worker: &mut Visit, job: JobId, verdict: TimeoutOutcome) {
    let now = host.now;
    let done = host.queue.timed_out_returned(worker, job, verdict, now);
    done.expect("this worker was asked");
}

crate::scenarios! {
    /// drm_sched: recovery restarted the queue inside the callback, and the job was freed there.
    fn a_job_outlives_its_timeout_callback() {
        let mut host = Host::new(config());
        let [job] = host.pending();
        host.pass_and_fire(100);
        let mut worker = asked(&mut host, job);
        assert_eq!(host.queue.complete(job, Attempt::FIRST, Ok(())), Completed::Finished);
        assert_eq!(host.serve_in(Context::Irq), [completed(job)]);
        assert_eq!(host.serve_in(Context::Task), [], "its payload is still lent");
        verdict(&mut host, &mut worker, job, TimeoutOutcome::Handled(Errno::ENODATA));
        assert_eq!(host.serve(worker), [reap(job)]);
        assert_eq!(host.queue.stats().timed_out, 0, "a finished job is not punished");
    }

    /// drm_sched: a job without a hang was off the pending list for good, and leaked.
    fn a_job_without_a_hang_goes_on_and_is_reaped() {
        let mut host = Host::new(config());
        let [job] = host.pending();
        host.pass_and_fire(100);
        let mut worker = asked(&mut host, job);
        verdict(&mut host, &mut worker, job, TimeoutOutcome::NoHang);
        let whole = Effect::ArmTimer { at: Time::from_ns(200) };
        assert_eq!(host.serve(worker), [whole], "its whole time is before it again");
        host.queue.complete(job, Attempt::FIRST, Ok(()));
        assert_eq!(host.serve_worker(), [completed(job), reap(job)]);
    }

    /// drm_sched: the timer could fire between completion and the free worker.
    fn a_finished_job_never_times_out() {
        let mut host = Host::new(config());
        let [job] = host.pending();
        host.queue.complete(job, Attempt::FIRST, Ok(()));
        host.pass_and_fire(1000);
        assert_eq!(host.serve_worker(), [completed(job), reap(job)]);
        let [expired] = host.pending();
        host.pass_and_fire(100);
        host.queue.complete(expired, Attempt::FIRST, Ok(()));
        assert_eq!(host.serve_worker(), [completed(expired), reap(expired)], "even late");
        assert_eq!(host.queue.stats().timeouts, 0);
    }

    /// drm_sched 2018: finish workers out of order armed the timer for a finished job.
    fn a_finished_job_does_not_set_the_timer() {
        let mut host = Host::new(config());
        let [timed] = host.pending();
        let untimed = host.arm_without_timeout();
        host.submit(untimed, 0);
        host.queue.suspend(host.now);
        host.pass_and_fire(50);
        host.queue.complete(timed, Attempt::FIRST, Ok(()));
        host.queue.resume(host.now);
        let told = host.serve_worker();
        assert!(told.iter().all(|effect| !matches!(effect, Effect::ArmTimer { .. })), "{told:?}");
        assert_eq!(host.queue.state(untimed), State::Pending);
    }

    fn only_the_head_of_the_line_times_out() {
        let mut host = Host::new(config());
        let [first, second] = host.pending();
        host.pass(60);
        host.queue.complete(first, Attempt::FIRST, Ok(()));
        host.serve_worker();
        host.pass_and_fire(60);
        let told = host.serve_worker();
        let at = Time::from_ns(160);
        assert_eq!(told, [Effect::ArmTimer { at }], "the second's time began when the first ended");
        host.pass_and_fire(40);
        let mut worker = asked(&mut host, second);
        verdict(&mut host, &mut worker, second, TimeoutOutcome::Handled(Errno::ENODATA));
        let told = host.serve(worker);
        assert_eq!(signals(&told), [signal(second, Outcome::TimedOut(Errno::ENODATA))]);
    }

    fn a_job_that_completes_out_of_order_waits_and_does_not_time_out() {
        let mut host = Host::new(config());
        let [first, second] = host.pending();
        host.queue.complete(second, Attempt::FIRST, Ok(()));
        assert_eq!(host.serve_worker(), [], "fences signal in order");
        host.pass_and_fire(100);
        let mut worker = asked(&mut host, first);
        verdict(&mut host, &mut worker, first, TimeoutOutcome::Handled(Errno::ETIME));
        let told = host.serve(worker);
        let hung = signal(first, Outcome::TimedOut(Errno::ETIME));
        assert_eq!(signals(&told), [hung, completed(second)]);
    }

    fn extensions_are_bounded() {
        let mut host = Host::new(config());
        let [job] = host.pending();
        for left in [2, 1, 0] {
            host.pass_and_fire(1000);
            let mut worker = host.queue.worker_enters();
            let told = host.take(&mut worker);
            assert_eq!(told, [Effect::TimedOut { job, extensions_left: left }]);
            let more = TimeoutOutcome::Extend(Duration::from_nanos(10));
            verdict(&mut host, &mut worker, job, more);
            let told = host.serve(worker);
            let hung = signal(job, Outcome::TimedOut(Errno::ETIME));
            assert_eq!(told.contains(&hung), left == 0);
        }
        assert!(host.queue.is_empty());
    }

    fn the_clock_stands_still_while_suspended() {
        let mut host = Host::new(config());
        let [job] = host.pending();
        host.pass(70);
        host.queue.suspend(host.now);
        host.queue.suspend(host.now);
        host.pass_and_fire(1000);
        assert_eq!(host.serve_worker(), []);
        assert!(host.queue.resume(host.now));
        host.pass(1000);
        assert!(host.queue.resume(host.now));
        assert!(!host.queue.resume(host.now), "it was suspended twice");
        let at = Time::from_ns(70 + 1000 + 1000 + 30);
        assert_eq!(host.serve_worker(), [Effect::ArmTimer { at }]);
        host.pass_and_fire(30);
        let worker = asked(&mut host, job);
        assert!(host.queue.worker_leaves(worker).is_err(), "it owes an answer");
    }

    fn a_timer_may_fire_early_late_and_twice() {
        let mut host = Host::new(config());
        let [job] = host.pending();
        host.pass_and_fire(99);
        let at = Time::from_ns(100);
        assert_eq!(host.serve_in(Context::Irq), [Effect::ArmTimer { at }]);
        host.pass_and_fire(500);
        host.queue.timer_fired(host.now);
        assert_eq!(host.serve_in(Context::Irq), [Effect::Kick], "the driver is asked elsewhere");
        let mut worker = asked(&mut host, job);
        host.queue.timer_fired(host.now);
        assert_eq!(host.take(&mut worker), [], "it is being asked already");
    }

    fn a_triggered_timeout_is_not_lost_behind_another() {
        let mut host = Host::new(Config { timeout: None, ..config() });
        let [first, second] = host.pending();
        assert!(host.queue.trigger_timeout());
        let mut worker = asked(&mut host, first);
        assert!(!host.queue.trigger_timeout(), "the driver is asked already");
        host.queue.complete(first, Attempt::FIRST, Ok(()));
        assert_eq!(host.serve_in(Context::Irq), [completed(first)]);
        assert!(host.queue.trigger_timeout(), "the second is the head now");
        verdict(&mut host, &mut worker, first, TimeoutOutcome::NoHang);
        let left = 2;
        let told = host.take(&mut worker);
        assert!(told.contains(&Effect::TimedOut { job: second, extensions_left: left }));
    }

    fn the_driver_is_not_asked_about_a_hang_while_it_runs_a_job_nor_the_other_way() {
        let mut host = Host::new(Config { bypass: true, ..config() });
        let [hangs] = host.pending();
        let next = host.push(0);
        let mut submitter = Visit::new(Context::Submit);
        assert_eq!(crate::host::runs(&host.take(&mut submitter)), [next]);
        host.pass_and_fire(100);
        assert_eq!(host.serve_worker(), [], "the submitter is inside");
        let done = host.queue.run_returned(&mut submitter, next, RunOutcome::Pending);
        done.expect("its run");
        assert_eq!(host.serve(submitter), [Effect::Kick]);
        let mut worker = asked(&mut host, hangs);
        let third = host.push(0);
        assert_eq!(host.serve_in(Context::Submit), [], "the worker is inside");
        assert_eq!(host.take(&mut worker), []);
        verdict(&mut host, &mut worker, hangs, TimeoutOutcome::NoHang);
        assert_eq!(crate::host::runs(&host.serve(worker)), [third]);
    }

    fn a_timeout_of_nothing_is_a_timeout() {
        let mut host = Host::new(Config { timeout: Some(Duration::ZERO), ..config() });
        let [job] = host.pending();
        host.pass_and_fire(1);
        asked(&mut host, job).owes_answers().then_some(()).expect("an answer is owed");
    }

    fn a_device_that_is_gone_fails_everything_in_order() {
        let mut host = Host::new(config());
        let [first, second] = host.pending();
        let waits = host.push(1);
        host.pass_and_fire(100);
        let mut worker = asked(&mut host, first);
        verdict(&mut host, &mut worker, first, TimeoutOutcome::DeviceGone);
        let told = host.serve(worker);
        assert_eq!(signals(&told), [
            signal(first, Outcome::TimedOut(Errno::ENODEV)),
            signal(second, Outcome::Failed(Errno::ENODEV)),
            signal(waits, Outcome::Cancelled(Errno::ENODEV)),
        ]);
        assert_eq!(told.last(), Some(&Effect::Closed));
    }

    /// drm_sched: reset handlers resubmitted jobs by calling run_job again.
    fn a_job_that_reached_the_hardware_never_runs_again() {
        let mut host = Host::new(config());
        let [job, other] = host.pending();
        for answer in [
            TimeoutOutcome::NoHang,
            TimeoutOutcome::Extend(Duration::from_nanos(1)),
            TimeoutOutcome::Handled(Errno::ENODATA),
        ] {
            host.pass_and_fire(1000);
            let mut worker = asked(&mut host, job);
            verdict(&mut host, &mut worker, job, answer);
            let told = host.serve(worker);
            assert!(crate::host::runs(&told).is_empty(), "{told:?}");
        }
        assert_eq!(host.queue.state(other), State::Pending);
        assert_eq!(host.queue.stats().runs, 2);
    }
}
