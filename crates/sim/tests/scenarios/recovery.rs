// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Recovery: stop, walk, end, replay, start; strikes; closing within its bound.

use std::time::Duration;

use ringfence_core::{
    Attempt, Ban, ClosePolicy, Completed, Config, Context, Effect, Errno, JobId, Lifecycle,
    Outcome, PrepareError, Refused, ReplayOutcome, Request, Standing, State, Time, TimeoutOutcome,
    Visit, Walked,
};

use crate::host::{completed, config, reap, run, runs, signal, signals, Host};

const LOST: Outcome = Outcome::Failed(Errno::ECANCELED);

/// A worker that has been told that the head of the line timed out.
fn asked(host: &mut Host, job: JobId, extensions_left: u8) -> Visit {
    let mut worker = host.queue.worker_enters();
    let told = host.take(&mut worker);
    let ask = Effect::TimedOut {
        job,
        extensions_left,
    };
    assert!(told.contains(&ask), "{told:?}");
    worker
}

fn verdict(host: &mut Host, worker: &mut Visit, job: JobId, verdict: TimeoutOutcome) {
    let now = host.now;
    let done = host.queue.timed_out_returned(worker, job, verdict, now);
    done.expect("this worker was asked");
}

fn stop(host: &mut Host) {
    host.queue.stop(host.now).expect("nobody has stopped it");
}

fn start(host: &mut Host) {
    host.queue.start(host.now).expect("it is stopped");
}

fn walk(host: &mut Host, first: JobId) -> Option<JobId> {
    let job = host.queue.walk_from(first).expect("a quiet queue");
    host.queue.check_invariants().expect("invariants");
    job
}

fn walked(host: &mut Host, job: JobId, what: Walked) {
    host.queue.walked(job, what, host.now).expect("a loan");
    host.queue.check_invariants().expect("invariants");
}

/// Walks to `job` and replays it.
fn replay(host: &mut Host, job: JobId) -> Attempt {
    assert_eq!(walk(host, job), Some(job));
    let attempt = host.queue.replay(job).expect("a job on the hardware");
    let done = host.queue.replay_returned(job, ReplayOutcome::Pending);
    done.expect("being replayed");
    attempt
}

fn after(job: JobId) -> JobId {
    JobId::from_seqno(job.seqno() + 1)
}

crate::scenarios! {
    /// drm_sched: run_job was called again for jobs that a reset had put off the hardware.
    fn a_replayed_job_keeps_its_fence_and_is_not_run_again() {
        let mut host = Host::new(config());
        let [first, second] = host.pending();
        let runs_before = host.queue.stats().runs;
        stop(&mut host);
        assert_eq!(replay(&mut host, first).replays(), 1);
        let again = replay(&mut host, second);
        start(&mut host);
        let told = host.serve_worker();
        assert_eq!(runs(&told), [], "run is never called again: {told:?}");
        assert_eq!(host.queue.stats().runs, runs_before);
        host.queue.complete(first, again, Ok(()));
        host.queue.complete(second, again, Ok(()));
        let told = host.serve_worker();
        assert_eq!(signals(&told), [completed(first), completed(second)]);
    }

    fn a_completion_from_before_the_replay_is_late() {
        let mut host = Host::new(config());
        let [job] = host.pending();
        stop(&mut host);
        let again = replay(&mut host, job);
        start(&mut host);
        assert_eq!(host.queue.complete(job, Attempt::FIRST, Ok(())), Completed::Late);
        assert_eq!(host.queue.state(job), State::Pending, "it is being done again");
        assert_eq!(host.queue.complete(job, again, Ok(())), Completed::Finished);
        assert_eq!(host.queue.stats().late_completions, 1);
    }

    fn while_stopped_no_driver_callback_begins_and_all_else_goes_on() {
        let mut host = Host::new(config());
        let [job] = host.pending();
        let queued = host.push(0);
        stop(&mut host);
        let more = host.push(0);
        assert_eq!(runs(&host.serve_worker()), []);
        host.queue.complete(job, Attempt::FIRST, Ok(()));
        assert_eq!(host.serve_in(Context::Task), [completed(job), reap(job)]);
        start(&mut host);
        assert_eq!(host.serve_in(Context::Task), [Effect::Kick], "the worker is needed again");
        assert_eq!(runs(&host.serve_worker()), [queued, more]);
    }

    fn a_stop_is_quiet_only_when_no_callback_is_out() {
        let mut host = Host::new(config());
        let job = host.push(0);
        let mut worker = host.queue.worker_enters();
        assert_eq!(host.take(&mut worker), [run(job)]);
        stop(&mut host);
        assert!(!host.queue.is_quiet());
        assert_eq!(host.queue.walk_from(job), Err(Refused::NotQuiet));
        host.ran(&mut worker, job, ringfence_core::RunOutcome::Pending);
        assert!(host.queue.is_quiet());
        assert_eq!(walk(&mut host, job), Some(job));
    }

    fn only_one_can_stop_a_queue_and_nobody_starts_it_with_a_job_lent() {
        let mut host = Host::new(config());
        let [job] = host.pending();
        assert_eq!(host.queue.start(host.now), Err(Refused::NotHeld));
        stop(&mut host);
        assert_eq!(host.queue.stop(host.now), Err(Refused::Stopped));
        assert_eq!(walk(&mut host, job), Some(job));
        assert_eq!(host.queue.walk_from(job), Err(Refused::NotQuiet), "one at a time");
        assert_eq!(host.queue.start(host.now), Err(Refused::NotHeld));
        walked(&mut host, job, Walked::Keep);
        start(&mut host);
    }

    /// Drivers walked the pending list while completions took jobs off it.
    fn a_job_that_completes_while_it_is_looked_at_is_not_dropped_under_the_look() {
        let mut host = Host::new(config());
        let [job] = host.pending();
        stop(&mut host);
        assert_eq!(walk(&mut host, job), Some(job));
        host.queue.complete(job, Attempt::FIRST, Ok(()));
        assert_eq!(host.serve_in(Context::Task), [completed(job)], "its payload is lent");
        assert_eq!(host.queue.replay(job), Err(Refused::Illegal {
            state: State::Signalled,
            event: ringfence_core::state::JobEvent::Replay,
        }));
        walked(&mut host, job, Walked::End(Outcome::TimedOut(Errno::ETIME)));
        assert_eq!(host.serve_in(Context::Task), [reap(job)]);
        assert_eq!(host.queue.stats().timed_out, 0, "a finished job is not punished");
        assert_eq!(host.queue.stats().strikes, 0);
    }

    fn jobs_are_walked_in_order_and_only_those_on_the_hardware() {
        let mut host = Host::new(config());
        let [first, second, third] = host.pending();
        let _waits = host.push(1);
        host.queue.complete(second, Attempt::FIRST, Ok(()));
        stop(&mut host);
        let oldest = host.queue.oldest();
        assert_eq!(walk(&mut host, oldest), Some(first));
        walked(&mut host, first, Walked::Keep);
        assert_eq!(walk(&mut host, after(first)), Some(third));
        walked(&mut host, third, Walked::Keep);
        assert_eq!(walk(&mut host, after(third)), None);
        let gone = JobId::from_seqno(first.seqno().wrapping_sub(1));
        assert_eq!(walk(&mut host, gone), Some(first), "what is behind is where to begin");
        walked(&mut host, first, Walked::Keep);
    }

    fn after_a_reset_the_guilty_job_fails_and_the_innocent_finish_in_order() {
        let mut host = Host::new(config());
        let [guilty, innocent] = host.pending();
        host.pass_and_fire(100);
        let mut worker = asked(&mut host, guilty, 2);
        verdict(&mut host, &mut worker, guilty, TimeoutOutcome::Reset);
        let told = host.take(&mut worker);
        assert_eq!(told, [Effect::Recover { job: guilty }], "told once, the job stays");
        host.queue.worker_leaves(worker).expect("nothing owed");
        assert_eq!(host.queue.wants_recovery(), Some(guilty));
        let late = host.push(0);
        assert_eq!(runs(&host.serve_worker()), [], "the queue holds still until then");
        stop(&mut host);
        assert_eq!(walk(&mut host, guilty), Some(guilty));
        let hung = Outcome::TimedOut(Errno::ETIME);
        walked(&mut host, guilty, Walked::End(hung));
        let again = replay(&mut host, innocent);
        start(&mut host);
        assert_eq!(host.queue.wants_recovery(), None);
        host.queue.complete(innocent, again, Ok(()));
        let told = host.serve_worker();
        assert_eq!(signals(&told), [signal(guilty, hung), completed(innocent)]);
        assert_eq!(runs(&told), [late]);
        assert_eq!(host.queue.standing(), Standing::Good { strikes: 1 });
    }

    fn a_job_that_completes_while_the_driver_decides_to_reset_needs_no_reset() {
        let mut host = Host::new(config());
        let [job] = host.pending();
        host.pass_and_fire(100);
        let mut worker = asked(&mut host, job, 2);
        host.queue.complete(job, Attempt::FIRST, Ok(()));
        verdict(&mut host, &mut worker, job, TimeoutOutcome::Reset);
        assert_eq!(host.serve(worker), [completed(job), reap(job)]);
        assert_eq!(host.queue.wants_recovery(), None);
    }

    fn time_stands_still_while_stopped_and_a_replayed_job_has_its_whole_time() {
        let mut host = Host::new(config());
        let [kept, replayed] = host.pending();
        host.pass(60);
        stop(&mut host);
        host.pass_and_fire(1000);
        assert_eq!(host.serve_worker(), [], "nobody is asked");
        replay(&mut host, replayed);
        start(&mut host);
        let due = Effect::ArmTimer { at: Time::from_ns(1100) };
        assert_eq!(host.serve_worker(), [due], "40 of 100 are left to the head");
        host.queue.complete(kept, Attempt::FIRST, Ok(()));
        let _ = host.serve_worker();
        stop(&mut host);
        host.pass(500);
        replay(&mut host, replayed);
        start(&mut host);
        assert_eq!(host.serve_worker(), [], "the timer is set early enough");
        host.pass_and_fire(99);
        let due = Effect::ArmTimer { at: Time::from_ns(host.now.as_ns() + 1) };
        assert_eq!(host.serve_worker(), [due], "as if it had just been put there");
    }

    fn repeated_guilt_bans_a_queue() {
        let ban = Some(Ban { strikes: 2, within: None });
        let mut host = Host::new(Config { ban, ..config() });
        let [first, second, third] = host.pending();
        let waits = host.push(1);
        let ready = host.push(0);
        stop(&mut host);
        for job in [first, second] {
            assert_eq!(walk(&mut host, job), Some(job));
            walked(&mut host, job, Walked::End(Outcome::TimedOut(Errno::ETIME)));
        }
        assert_eq!(host.queue.standing(), Standing::Banned);
        assert_eq!(host.queue.lifecycle(), Lifecycle::Banned);
        start(&mut host);
        let refused = host.queue.prepare(Request::default()).map(drop);
        assert_eq!(refused, Err(PrepareError::Banned));
        assert_eq!(PrepareError::Banned.errno(), Errno::EIO);
        assert_eq!(runs(&host.serve_worker()), [], "what has not run does not");
        assert_eq!(host.queue.complete(third, Attempt::FIRST, Ok(())), Completed::Finished);
        assert_eq!(signals(&host.serve_in(Context::Task)), [completed(third)]);
        host.queue.dependency_signalled(waits, Ok(())).expect("it waits");
        let cancelled = Outcome::Cancelled(Errno::ECANCELED);
        let told = host.serve_in(Context::Task);
        assert_eq!(signals(&told), [signal(waits, cancelled), signal(ready, cancelled)]);
        assert!(told.contains(&Effect::Closed));
    }

    fn a_job_that_was_guilty_of_a_fault_counts_when_the_driver_says_so() {
        let ban = Some(Ban { strikes: 1, within: None });
        let mut host = Host::new(Config { ban, ..config() });
        assert_eq!(host.queue.strike(host.now), Standing::Banned);
        assert_eq!(host.queue.stats().strikes, 1);
    }

    /// nouveau waited for its list to run empty, and a hung device made the process unkillable.
    fn a_hung_device_does_not_hold_closing_longer_than_its_bound() {
        let close_timeout = Some(Duration::from_nanos(50));
        let mut host = Host::new(Config { close_timeout, timeout: None, ..config() });
        let [first, second] = host.pending();
        let queued = host.push(1);
        host.queue.close(ClosePolicy::Drain, host.now);
        let due = Effect::ArmTimer { at: Time::from_ns(50) };
        assert_eq!(host.serve_worker(), [due]);
        host.pass_and_fire(49);
        assert_eq!(host.serve_worker(), [due], "not yet");
        host.pass_and_fire(1);
        let mut worker = asked(&mut host, first, 0);
        verdict(&mut host, &mut worker, first, TimeoutOutcome::NoHang);
        let told = host.take(&mut worker);
        let hung = |job| signal(job, Outcome::TimedOut(Errno::ETIME));
        assert_eq!(signals(&told), [hung(first)], "no is no answer any more");
        assert!(told.contains(&Effect::TimedOut { job: second, extensions_left: 0 }));
        host.queue.signalled(&mut worker, first).expect("the oldest");
        verdict(&mut host, &mut worker, second, TimeoutOutcome::Handled(Errno::ETIME));
        assert_eq!(signals(&host.serve(worker)), [hung(second)]);
        // Draining has become cancelling; but no fence signals before what its job waited for.
        host.queue.dependency_signalled(queued, Ok(())).expect("it waits");
        let told = host.serve_worker();
        assert_eq!(signals(&told), [signal(queued, Outcome::Cancelled(Errno::ECANCELED))]);
        assert!(told.contains(&Effect::Closed));
    }

    /// Found by the simulator: the worker was told for ever that there is more for it.
    fn the_worker_of_an_overdue_queue_that_is_held_can_rest() {
        let close_timeout = Some(Duration::from_nanos(50));
        let mut host = Host::new(Config { close_timeout, ..config() });
        let [job] = host.pending();
        host.queue.close(ClosePolicy::Cancel, host.now);
        let _ = host.serve_worker();
        host.pass_and_fire(50);
        let mut worker = asked(&mut host, job, 0);
        verdict(&mut host, &mut worker, job, TimeoutOutcome::Reset);
        assert_eq!(host.take(&mut worker), [Effect::Recover { job }]);
        let rest = host.queue.worker_leaves(worker).expect("nothing owed");
        assert_eq!(rest, ringfence_core::WorkerRest::Idle);
    }

    fn nothing_is_replayed_when_closing_is_overdue() {
        let close_timeout = Some(Duration::from_nanos(50));
        let mut host = Host::new(Config { close_timeout, ..config() });
        let [job] = host.pending();
        host.queue.close(ClosePolicy::Cancel, host.now);
        let _ = host.serve_worker();
        stop(&mut host);
        host.pass_and_fire(50);
        assert_eq!(walk(&mut host, job), Some(job));
        assert_eq!(host.queue.replay(job), Err(Refused::Overdue));
        walked(&mut host, job, Walked::End(LOST));
        start(&mut host);
        assert_eq!(signals(&host.serve_worker()), [signal(job, LOST)]);
    }

    fn a_queue_is_not_told_closed_while_it_is_stopped() {
        let mut host = Host::new(config());
        let [job] = host.pending();
        host.queue.close(ClosePolicy::Cancel, host.now);
        stop(&mut host);
        host.queue.complete(job, Attempt::FIRST, Ok(()));
        let told = host.serve_worker();
        assert_eq!(told, [completed(job), reap(job)], "who recovers it has the driver");
        start(&mut host);
        assert_eq!(host.serve_worker(), [Effect::Closed]);
    }

    fn a_device_that_is_gone_needs_no_recovery() {
        let mut host = Host::new(config());
        let [job] = host.pending();
        host.pass_and_fire(100);
        let mut worker = asked(&mut host, job, 2);
        verdict(&mut host, &mut worker, job, TimeoutOutcome::Reset);
        let _ = host.take(&mut worker);
        host.queue.unbind(Errno::ENODEV);
        assert_eq!(host.queue.wants_recovery(), None);
        let gone = signal(job, Outcome::Failed(Errno::ENODEV));
        assert_eq!(host.serve(worker), [gone, reap(job), Effect::Closed]);
    }

    fn a_kill_during_a_walk_ends_the_jobs_and_the_walk_ends_by_itself() {
        let mut host = Host::new(config());
        let [first, second] = host.pending();
        stop(&mut host);
        assert_eq!(walk(&mut host, first), Some(first));
        let _attempt = host.queue.replay(first).expect("on the hardware");
        host.queue.kill(Errno::ENODEV);
        host.queue.check_invariants().expect("invariants");
        host.queue.replay_returned(first, ReplayOutcome::Pending).expect("being replayed");
        assert_eq!(walk(&mut host, second), None);
        start(&mut host);
        let gone = |job| signal(job, Outcome::Failed(Errno::ENODEV));
        assert_eq!(signals(&host.serve_worker()), [gone(first), gone(second)]);
    }

    fn the_last_events_tell_what_happened() {
        let mut host = Host::new(config());
        for _ in 0..30 {
            let [job] = host.pending();
            host.pass(10);
            host.queue.complete(job, Attempt::FIRST, Ok(()));
            let _ = host.serve_worker();
        }
        let events: Vec<_> = host.queue.events().collect();
        assert_eq!(events.len(), ringfence_core::log::RECORDS);
        assert!(events.windows(2).all(|pair| pair[0].at <= pair[1].at));
        let last: Vec<_> = events[60..].iter().map(|event| event.what.name()).collect();
        assert_eq!(last, ["signal", "submitted", "run", "signal"]);
        assert_eq!(events[63].at, host.now, "signals are stamped exactly");
        let text = host.queue.snapshot("sim", host.now).with_events().to_string();
        assert_eq!(text.lines().count(), 65, "{text}");
        assert!(text.ends_with("0.000000 #30     signal\n"), "{text}");
    }
}
