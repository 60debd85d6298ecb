// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The line: order, dependencies, credits, bypass, and who does what where.

use ringfence_core::{
    Attempt, Completed, Config, Context, Effect, Errno, Outcome, PrepareError, Refused, Request,
    RunOutcome, State, Visit, WorkerRest,
};

use crate::host::{completed, config, reap, run, runs, signal, signals, Host};

fn bypass() -> Config {
    Config {
        bypass: true,
        ..config()
    }
}

crate::scenarios! {
    /// drm_sched: push looked at a job that the worker had run, finished and freed meanwhile.
    fn a_job_may_be_gone_before_its_submitter_looks_again() {
        let mut host = Host::new(config());
        let job = host.push(0);
        let mut worker = host.queue.worker_enters();
        host.take(&mut worker);
        host.ran(&mut worker, job, RunOutcome::Done);
        assert_eq!(host.serve(worker), [completed(job), reap(job)]);
        assert_eq!(host.serve_in(Context::Submit), []);
        assert_eq!(host.queue.state(job), State::Free);
        assert_eq!(host.queue.cancel(job, Errno::EIO), Err(Refused::Unknown));
        assert_eq!(host.queue.complete(job, Attempt::FIRST, Ok(())), Completed::Late);
    }

    /// drm_sched: entity kill took sleeping locks in a fence callback, in an interrupt.
    fn an_interrupt_signals_and_leaves_the_rest_to_the_worker() {
        let mut host = Host::new(bypass());
        let [job] = host.pending();
        let waits = host.push(1);
        host.queue.complete(job, Attempt::FIRST, Ok(()));
        host.queue.dependency_signalled(waits, Ok(())).expect("it waits");
        assert_eq!(host.serve_in(Context::Irq), [completed(job), Effect::Kick]);
        assert_eq!(host.serve_in(Context::Nested), [], "the worker is coming");
        assert_eq!(runs(&host.serve_worker()), [waits]);
    }

    fn jobs_run_and_signal_in_the_order_they_were_armed() {
        let mut host = Host::new(config());
        let (first, second) = (host.arm(1), host.arm(1));
        host.submit(second, 0);
        assert_eq!(host.serve_worker(), [], "the first is not there yet");
        host.submit(first, 0);
        assert_eq!(runs(&host.serve_worker()), [first, second]);
        host.queue.complete(second, Attempt::FIRST, Err(Errno::EIO));
        assert_eq!(host.serve_worker(), []);
        host.queue.complete(first, Attempt::FIRST, Ok(()));
        let failed = signal(second, Outcome::Failed(Errno::EIO));
        assert_eq!(signals(&host.serve_worker()), [completed(first), failed]);
    }

    /// Without a baton two contexts that signal after unlocking overtake each other.
    fn fences_are_signalled_by_one_visit_at_a_time() {
        let mut host = Host::new(config());
        let [first, second] = host.pending();
        host.queue.complete(first, Attempt::FIRST, Ok(()));
        let mut irq = Visit::new(Context::Irq);
        assert_eq!(host.take(&mut irq), [completed(first)]);
        host.queue.complete(second, Attempt::FIRST, Ok(()));
        assert_eq!(host.serve_in(Context::Task), [], "the interrupt has the baton");
        assert_eq!(host.queue.signalled(&mut irq, second), Err(Refused::NotHeld));
        host.queue.signalled(&mut irq, first).expect("the oldest");
        assert_eq!(signals(&host.serve(irq)), [completed(second)]);
    }

    fn callbacks_of_one_queue_never_overlap() {
        let mut host = Host::new(bypass());
        let first = host.push(0);
        let mut submitter = Visit::new(Context::Submit);
        assert_eq!(host.take(&mut submitter), [run(first)]);
        let second = host.push(0);
        assert_eq!(host.serve_worker(), [], "the submitter has the baton");
        assert_eq!(host.serve_in(Context::Submit), []);
        host.ran(&mut submitter, first, RunOutcome::Pending);
        assert_eq!(runs(&host.serve(submitter)), [second], "and carries on");
    }

    fn a_completion_before_run_returns_ends_the_job_and_keeps_its_payload() {
        let mut host = Host::new(config());
        let job = host.push(0);
        let mut worker = host.queue.worker_enters();
        assert_eq!(host.take(&mut worker), [run(job)]);
        assert_eq!(host.queue.complete(job, Attempt::FIRST, Ok(())), Completed::Finished);
        assert_eq!(host.queue.credits_used(), 0);
        assert_eq!(host.serve_in(Context::Irq), [completed(job)]);
        assert_eq!(host.serve_in(Context::Task), [], "run still has the payload");
        host.ran(&mut worker, job, RunOutcome::Pending);
        assert_eq!(host.serve(worker), [reap(job)]);
    }

    fn late_double_and_unknown_completions_are_counted() {
        let mut host = Host::new(config());
        let [job] = host.pending();
        let waits = host.push(1);
        assert_eq!(host.queue.complete(waits, Attempt::FIRST, Ok(())), Completed::Late, "it never ran");
        assert_eq!(host.queue.complete(job, Attempt::FIRST, Ok(())), Completed::Finished);
        assert_eq!(host.queue.complete(job, Attempt::FIRST, Err(Errno::EIO)), Completed::Late);
        assert_eq!(signals(&host.serve_worker()), [completed(job)]);
        let never = ringfence_core::JobId::from_seqno(1000);
        assert_eq!(host.queue.complete(never, Attempt::FIRST, Ok(())), Completed::Late);
        assert_eq!(host.queue.stats().late_completions, 3);
    }

    fn a_failed_dependency_fails_its_job_unless_it_runs_all_the_same() {
        let mut host = Host::new(config());
        let fails = host.push(2);
        let request = Request {
            on_dependency_error: Some(ringfence_core::OnDependencyError::Run),
            ..Request::default()
        };
        let room = host.queue.prepare(request).expect("room");
        let runs_anyway = host.queue.arm(room).expect("room");
        host.submit(runs_anyway, 1);
        for job in [fails, runs_anyway] {
            host.queue.dependency_signalled(job, Err(Errno::EBADMSG)).expect("it waits");
        }
        assert_eq!(host.serve_worker(), [], "the first waits for all its dependencies");
        host.queue.dependency_signalled(fails, Ok(())).expect("it waits");
        let told = host.serve_worker();
        assert_eq!(signals(&told), [signal(fails, Outcome::Failed(Errno::EBADMSG))]);
        assert_eq!(runs(&told), [runs_anyway]);
    }

    fn credits_are_taken_at_run_and_returned_at_completion() {
        let mut host = Host::new(config());
        let big = host.arm(8);
        let (next, free) = (host.arm(3), host.arm(0));
        for job in [big, next, free] {
            host.submit(job, 0);
        }
        assert_eq!(runs(&host.serve_worker()), [big], "nobody overtakes for want of credits");
        assert_eq!(host.queue.credits_used(), 8);
        host.queue.complete(big, Attempt::FIRST, Ok(()));
        assert_eq!(runs(&host.serve_worker()), [next, free]);
        assert_eq!(host.queue.credits_used(), 3);
    }

    fn a_cost_of_nothing_runs_when_no_credit_is_left_and_one_too_high_is_refused() {
        let mut host = Host::new(config());
        let (all, free) = (host.arm(10), host.arm(0));
        host.submit(all, 0);
        host.submit(free, 0);
        assert_eq!(runs(&host.serve_worker()), [all, free]);
        let request = Request { cost: 11, ..Request::default() };
        let refused = host.queue.prepare(request).expect_err("it could never run");
        assert_eq!(refused, PrepareError::CostAboveLimit { cost: 11, limit: 10 });
    }

    fn a_full_queue_refuses_at_prepare_and_nowhere_else() {
        let mut host = Host::new(config());
        let mut rooms: Vec<_> = (0..16).map(|_| host.prepare(1)).collect();
        let refused = host.queue.prepare(Request::default()).expect_err("it is full");
        assert_eq!(refused, PrepareError::Full);
        host.queue.release(rooms.pop().expect("sixteen"));
        rooms.push(host.prepare(1));
        for room in rooms {
            let job = host.queue.arm(room).expect("room is room");
            host.submit(job, 1);
        }
        assert_eq!(host.queue.len(), 16);
    }

    fn a_submitter_runs_its_job_itself_only_where_nothing_keeps_it() {
        let mut host = Host::new(bypass());
        let first = host.push(0);
        assert_eq!(runs(&host.serve_in(Context::Submit)), [first]);
        let waits = host.push(1);
        assert_eq!(host.serve_in(Context::Submit), [], "it has an open dependency");
        let behind = host.push(0);
        assert_eq!(host.serve_in(Context::Submit), [], "one is queued before it");
        host.queue.dependency_signalled(waits, Ok(())).expect("it waits");
        assert_eq!(runs(&host.serve_in(Context::Submit)), [waits, behind]);
        let costly = host.arm(8);
        host.submit(costly, 0);
        assert_eq!(host.serve_in(Context::Submit), [], "credits are short");
        assert_eq!(host.queue.stats().bypassed, 3);
    }

    fn without_bypass_a_submitter_only_kicks() {
        let mut host = Host::new(config());
        host.push(0);
        assert_eq!(host.serve_in(Context::Submit), [Effect::Kick]);
        host.push(0);
        assert_eq!(host.serve_in(Context::Submit), [], "the worker is coming");
    }

    fn a_submitter_stops_running_other_peoples_jobs() {
        let mut host = Host::new(bypass());
        let jobs: Vec<_> = (0..5).map(|_| host.push(0)).collect();
        let told = host.serve_in(Context::Submit);
        assert_eq!(runs(&told), jobs[..3]);
        assert_eq!(told.last(), Some(&Effect::Kick));
        assert_eq!(runs(&host.serve_worker()), jobs[3..]);
        host.push(0);
        assert_eq!(runs(&host.serve_in(Context::Submit)).len(), 1, "the budget is whole again");
    }

    fn a_job_without_resources_goes_back_with_those_behind_it() {
        let mut host = Host::new(config());
        let (first, second, third) = (host.push(0), host.push(0), host.push(0));
        let mut worker = host.queue.worker_enters();
        assert_eq!(runs(&host.take(&mut worker)), [first, second, third]);
        host.ran(&mut worker, first, RunOutcome::Pending);
        host.ran(&mut worker, second, RunOutcome::NoResources);
        assert!(!host.queue.driver_is_inside(), "the third went back too");
        assert_eq!(host.queue.credits_used(), 1);
        assert_eq!(host.queue.state(third), State::Queued);
        assert!(runs(&host.serve(worker)).is_empty());
        host.queue.complete(first, Attempt::FIRST, Ok(()));
        assert!(runs(&host.serve_worker()).is_empty(), "only its own fence lets it try again");
        host.queue.resource_signalled(second).expect("it waits");
        assert_eq!(host.serve_in(Context::Irq), [Effect::Kick]);
        assert_eq!(runs(&host.serve_worker()), [second, third]);
    }

    fn runs_that_were_not_begun_can_be_handed_back() {
        let mut host = Host::new(config());
        let (first, second) = (host.push(0), host.push(0));
        let mut worker = host.queue.worker_enters();
        host.take(&mut worker);
        host.queue.hand_back_runs(&mut worker).expect("they are its own");
        assert!(matches!(host.queue.worker_leaves(worker), Ok(WorkerRest::More)));
        assert_eq!(runs(&host.serve_worker()), [first, second]);
    }

    fn no_kick_is_lost_between_the_last_look_and_the_sleep() {
        let mut host = Host::new(config());
        let mut worker = host.queue.worker_enters();
        assert_eq!(host.take(&mut worker), []);
        let job = host.push(0);
        assert_eq!(host.serve_in(Context::Submit), [], "the worker is awake");
        assert!(matches!(host.queue.worker_leaves(worker), Ok(WorkerRest::More)));
        assert_eq!(runs(&host.serve_worker()), [job]);
        host.push(0);
        assert_eq!(host.serve_in(Context::Submit), [Effect::Kick], "now it sleeps");
    }

    fn a_worker_that_leaves_early_drops_neither_the_timer_nor_the_end() {
        let mut host = Host::new(config());
        let job = host.push(0);
        let mut worker = host.queue.worker_enters();
        host.take(&mut worker);
        host.ran(&mut worker, job, RunOutcome::Pending);
        assert!(matches!(host.queue.worker_leaves(worker), Ok(WorkerRest::More)));
        assert!(matches!(host.serve_worker()[..], [Effect::ArmTimer { .. }]));
        host.queue.kill(Errno::EIO);
        host.serve_in(Context::Irq);
        let mut worker = host.queue.worker_enters();
        assert_eq!(host.queue.next(&mut worker, host.now), Some(reap(job)));
        assert!(matches!(host.queue.worker_leaves(worker), Ok(WorkerRest::More)));
        assert_eq!(host.serve_worker(), [Effect::Closed]);
    }

    fn an_interrupt_reaps_only_what_may_be_dropped_there() {
        let mut host = Host::new(config());
        let [job] = host.pending();
        host.queue.allow_reap_in_irq();
        host.queue.complete(job, Attempt::FIRST, Ok(()));
        assert_eq!(host.serve_in(Context::Irq), [completed(job), reap(job)]);
    }

    fn a_suspended_queue_completes_and_does_not_run() {
        let mut host = Host::new(bypass());
        let [job] = host.pending();
        host.queue.suspend(host.now);
        let next = host.push(0);
        assert_eq!(host.serve_in(Context::Submit), []);
        host.queue.complete(job, Attempt::FIRST, Ok(()));
        assert_eq!(host.serve_worker(), [completed(job), reap(job)]);
        assert!(host.queue.resume(host.now));
        assert_eq!(runs(&host.serve_in(Context::Submit)), [next]);
    }

    fn payloads_that_an_interrupt_may_not_drop_bring_the_worker() {
        let mut host = Host::new(config());
        let [job] = host.pending();
        host.queue.complete(job, Attempt::FIRST, Ok(()));
        assert_eq!(host.serve_in(Context::Irq), [completed(job), Effect::Kick]);
        assert_eq!(host.serve_worker(), [reap(job)]);
    }

    fn a_job_that_ended_in_line_does_not_stop_those_behind_it_from_answering() {
        let mut host = Host::new(config());
        let (first, gone, third) = (host.push(0), host.push(0), host.push(0));
        host.queue.cancel(gone, Errno::EAGAIN).expect("it is queued");
        let mut worker = host.queue.worker_enters();
        assert_eq!(runs(&host.take(&mut worker)), [first, third]);
        host.ran(&mut worker, first, RunOutcome::Pending);
        host.ran(&mut worker, third, RunOutcome::Pending);
        host.serve(worker);
        host.queue.complete(first, Attempt::FIRST, Ok(()));
        let told = host.serve_worker();
        let cancelled = signal(gone, Outcome::Cancelled(Errno::EAGAIN));
        assert_eq!(signals(&told), [completed(first), cancelled]);
    }

    fn sequence_numbers_wrap() {
        let mut host = Host::new(Config { first_seqno: u64::MAX - 1, ..config() });
        let jobs: [_; 4] = host.pending();
        assert_eq!(jobs.map(|job| job.seqno()), [u64::MAX - 1, u64::MAX, 0, 1]);
        for job in jobs.iter().rev() {
            host.queue.complete(*job, Attempt::FIRST, Ok(()));
        }
        assert_eq!(signals(&host.serve_worker()), jobs.map(completed));
    }
}
