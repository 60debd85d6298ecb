// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The end of a queue: nobody is forgotten, nothing comes out of order, nothing comes after.

use ringfence_core::{
    Attempt, Cancelled, ClosePolicy, Completed, Context, Effect, Errno, Outcome, PrepareError,
    Request, RunOutcome, State,
};

use crate::host::{completed, config, reap, run, signal, signals, Host};

const CANCELLED: Outcome = Outcome::Cancelled(Errno::ECANCELED);

crate::scenarios! {
    /// drm_sched: jobs pending at teardown were never freed.
    fn jobs_pending_at_teardown_are_all_reaped() {
        let mut host = Host::new(config());
        let [first, second] = host.pending();
        let queued = host.push(0);
        host.queue.unbind(Errno::ENODEV);
        let told = host.serve_worker();
        let order = |job, outcome| [signal(job, outcome)];
        assert_eq!(signals(&told), [
            order(first, Outcome::Failed(Errno::ENODEV)),
            order(second, Outcome::Failed(Errno::ENODEV)),
            order(queued, Outcome::Cancelled(Errno::ENODEV)),
        ].concat());
        assert!([first, second, queued].iter().all(|job| told.contains(&reap(*job))));
        assert!(host.queue.is_empty());
    }

    /// drm_sched: teardown that blocked ignored SIGKILL.
    fn teardown_does_not_wait_and_tells_when_it_is_over() {
        let mut host = Host::new(config());
        let [job] = host.pending();
        host.queue.close(ClosePolicy::Cancel, host.now);
        assert_eq!(host.serve_in(Context::Task), [], "the hardware still has a job");
        assert!(!host.queue.is_closed());
        host.queue.complete(job, Attempt::FIRST, Ok(()));
        let told = host.serve_in(Context::Task);
        assert_eq!(told, [completed(job), reap(job), Effect::Closed]);
        assert_eq!(host.serve_worker(), [], "it is told once");
    }

    /// drm_sched: the list was walked backwards, so fences signalled out of order.
    fn cancelled_jobs_signal_in_order() {
        let mut host = Host::new(config());
        let [first, second] = host.pending();
        let (third, fourth) = (host.push(0), host.push(3));
        host.queue.complete(second, Attempt::FIRST, Ok(()));
        host.queue.kill(Errno::EIO);
        assert_eq!(signals(&host.serve_worker()), [
            signal(first, Outcome::Failed(Errno::EIO)),
            completed(second),
            signal(third, Outcome::Cancelled(Errno::EIO)),
            signal(fourth, Outcome::Cancelled(Errno::EIO)),
        ]);
    }

    fn what_comes_after_a_kill_is_ignored() {
        let mut host = Host::new(config());
        let [job] = host.pending();
        let waits = host.push(1);
        host.queue.kill(Errno::EIO);
        host.queue.kill(Errno::ENODEV);
        assert_eq!(host.queue.complete(job, Attempt::FIRST, Ok(())), Completed::Late);
        assert!(host.queue.dependency_signalled(waits, Ok(())).is_err());
        host.serve_worker();
        assert_eq!(host.queue.complete(job, Attempt::FIRST, Ok(())), Completed::Late);
        assert_eq!(host.queue.stats().late_completions, 2);
        let refused = host.queue.prepare(Request::default()).expect_err("it is dead");
        assert_eq!(refused, PrepareError::Killed(Errno::EIO), "the first reason stands");
    }

    fn closing_by_cancelling_lets_the_hardware_finish() {
        let mut host = Host::new(config());
        let [running] = host.pending();
        let (ready, waits) = (host.push(0), host.push(1));
        host.queue.close(ClosePolicy::Cancel, host.now);
        host.queue.complete(running, Attempt::FIRST, Ok(()));
        let told = host.serve_worker();
        assert_eq!(signals(&told), [completed(running), signal(ready, CANCELLED)]);
        host.queue.dependency_signalled(waits, Ok(())).expect("it still waits");
        assert_eq!(host.serve_worker(), [signal(waits, CANCELLED), reap(waits), Effect::Closed]);
    }

    fn closing_by_draining_runs_what_is_in_line() {
        let mut host = Host::new(config());
        let prepared = host.prepare(1);
        let waits = host.push(1);
        let armed = host.arm(1);
        host.queue.close(ClosePolicy::Drain, host.now);
        let refused = host.queue.prepare(Request::default()).expect_err("it takes no more");
        assert_eq!(refused, PrepareError::Closed);
        host.queue.dependency_signalled(waits, Ok(())).expect("it waits");
        host.submit(armed, 0);
        let late = host.queue.arm(prepared).expect("this cannot fail");
        host.submit(late, 0);
        let told = host.serve_worker();
        assert_eq!(crate::host::runs(&told), [waits, armed], "what was armed after does not run");
        host.queue.complete(waits, Attempt::FIRST, Ok(()));
        host.queue.complete(armed, Attempt::FIRST, Ok(()));
        let told = host.serve_worker();
        assert_eq!(signals(&told), [completed(waits), completed(armed), signal(late, CANCELLED)]);
    }

    fn draining_can_still_become_cancelling_and_not_the_other_way() {
        let mut host = Host::new(config());
        let job = host.push(0);
        host.queue.close(ClosePolicy::Drain, host.now);
        host.queue.close(ClosePolicy::Cancel, host.now);
        host.queue.close(ClosePolicy::Drain, host.now);
        let told = host.serve_worker();
        assert_eq!(told, [signal(job, CANCELLED), reap(job), Effect::Closed]);
    }

    fn a_job_that_finds_no_resources_after_close_is_cancelled() {
        let mut host = Host::new(config());
        let job = host.push(0);
        let mut worker = host.queue.worker_enters();
        assert_eq!(host.take(&mut worker), [run(job)]);
        host.queue.close(ClosePolicy::Cancel, host.now);
        host.ran(&mut worker, job, RunOutcome::NoResources);
        assert_eq!(host.serve(worker), [signal(job, CANCELLED), reap(job), Effect::Closed]);
        assert_eq!(host.queue.credits_used(), 0);
    }

    fn after_unbind_no_callback_begins_and_the_last_one_is_known() {
        let mut host = Host::new(config());
        let (job, next) = (host.push(0), host.push(1));
        let mut worker = host.queue.worker_enters();
        assert_eq!(host.take(&mut worker), [run(job)]);
        host.queue.unbind(Errno::ENODEV);
        assert!(host.queue.driver_is_inside());
        assert!(host.queue.dependency_signalled(next, Ok(())).is_err(), "it was killed");
        assert_eq!(signals(&host.serve_in(Context::Irq)).len(), 2, "fences live on");
        host.ran(&mut worker, job, RunOutcome::Pending);
        assert!(!host.queue.driver_is_inside());
        assert_eq!(host.serve(worker), [reap(job), reap(next), Effect::Closed]);
    }

    fn a_job_armed_before_the_kill_fails_when_it_is_submitted() {
        let mut host = Host::new(config());
        let armed = host.arm(1);
        host.queue.kill(Errno::EIO);
        assert_eq!(host.serve_worker(), [], "its submitter still holds it");
        host.submit(armed, 2);
        let dead = signal(armed, Outcome::Cancelled(Errno::EIO));
        assert_eq!(host.serve_worker(), [dead, reap(armed), Effect::Closed]);
    }

    fn a_job_dropped_between_arm_and_submit_signals_in_its_turn() {
        let mut host = Host::new(config());
        let [first] = host.pending();
        let dropped = host.arm(1);
        let now = host.now;
        host.queue.submit(dropped, 0, true, now).expect("armed");
        assert_eq!(host.serve_worker(), []);
        host.queue.complete(first, Attempt::FIRST, Ok(()));
        let told = host.serve_worker();
        assert_eq!(signals(&told), [completed(first), signal(dropped, CANCELLED)]);
    }

    /// A fence stands for all its job waited for, also when the job does not run.
    fn the_fence_of_a_cancelled_job_waits_for_its_dependencies() {
        let mut host = Host::new(config());
        let job = host.push(2);
        assert_eq!(host.queue.cancel(job, Errno::EAGAIN), Ok(Cancelled::Yes));
        assert_eq!(host.serve_worker(), []);
        host.queue.dependency_signalled(job, Err(Errno::EIO)).expect("one of two");
        assert_eq!(host.serve_worker(), []);
        host.queue.dependency_signalled(job, Ok(())).expect("two of two");
        let told = host.serve_worker();
        assert_eq!(told, [signal(job, Outcome::Cancelled(Errno::EAGAIN)), reap(job)]);
    }

    fn a_job_can_be_cancelled_until_the_driver_has_it() {
        let mut host = Host::new(config());
        let [running] = host.pending();
        assert_eq!(host.queue.cancel(running, Errno::EAGAIN), Ok(Cancelled::TooLate));
        let armed = host.arm(1);
        assert_eq!(host.queue.cancel(armed, Errno::EAGAIN), Ok(Cancelled::Yes));
        host.submit(armed, 0);
        assert_eq!(host.queue.state(armed), State::Done);
        host.queue.complete(running, Attempt::FIRST, Ok(()));
        let told = host.serve_worker();
        let gone = signal(armed, Outcome::Cancelled(Errno::EAGAIN));
        assert_eq!(signals(&told), [completed(running), gone]);
        assert!(host.queue.cancel(armed, Errno::EAGAIN).is_err(), "it is gone");
    }
}
