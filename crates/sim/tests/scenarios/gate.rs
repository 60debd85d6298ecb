// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A queue with a gate: what it may do, what it tells, and to whom it leaves what it may not.

use std::time::Duration;

use ringfence_core::{
    Attempt, Config, Context, Effect, Errno, Gate, GateReport, Out, Refused, RunOutcome, State,
    Time, WorkerRest,
};

use crate::host::{completed, config, reap, run, runs, Host};

fn gated() -> Host {
    Host::new(Config {
        gated: true,
        ..config()
    })
}

fn set(host: &mut Host, gate: Gate) -> u64 {
    let set = host.queue.set_gate(gate, host.now);
    host.queue.check_invariants().expect("invariants");
    set.expect("it has a gate")
}

/// So many jobs on the hardware, the gate open, and all of it told.
fn at_work<const N: usize>(host: &mut Host) -> [ringfence_core::JobId; N] {
    set(host, Gate::Open);
    host.pending()
}

fn report(version: u64, wants: bool, out: Out) -> Effect {
    Effect::Gate {
        version,
        wants,
        out,
    }
}

crate::scenarios! {
    fn a_gated_queue_begins_shut_and_asks() {
        let mut host = gated();
        let job = host.push(0);
        let told = host.serve_in(Context::Submit);
        assert_eq!(told, [report(1, true, Out::Nothing)], "no kick: nothing to do but wait");
        assert_eq!(host.serve_worker(), []);
        assert_eq!(set(&mut host, Gate::Open), 1);
        let told = host.serve_in(Context::Task);
        assert_eq!(told, [report(2, true, Out::Open), Effect::Kick]);
        let at = Time::from_ns(100);
        assert_eq!(host.serve_worker(), [run(job), Effect::ArmTimer { at }]);
    }

    fn a_queue_without_a_gate_has_none() {
        let mut host = Host::new(config());
        assert_eq!((host.queue.gate(), host.queue.gate_report()), (None, None));
        let set = host.queue.set_gate(Gate::Shut, host.now);
        assert_eq!(set, Err(Refused::NotGated));
        let job = host.push(0);
        let told = host.serve_worker();
        assert_eq!(runs(&told), [job]);
    }

    fn yielding_runs_nothing_and_finishes_what_is_out() {
        let mut host = gated();
        let [job] = at_work(&mut host);
        let next = host.push(0);
        let seen = set(&mut host, Gate::Yield);
        assert_eq!(host.serve_worker(), [report(seen + 1, true, Out::OnHardware)]);
        host.pass(40);
        host.queue.complete(job, Attempt::FIRST, Ok(()));
        let told = host.serve_in(Context::Task);
        assert_eq!(told, [completed(job), report(seen + 2, true, Out::Nothing), reap(job)]);
        assert_eq!(host.queue.state(next), State::Queued);
        host.queue.cancel(next, Errno::ECANCELED).expect("it is there");
        let told = host.serve_in(Context::Task);
        assert!(told.contains(&report(seen + 3, false, Out::Nothing)), "{told:?}");
    }

    fn a_callback_that_is_out_is_told_before_and_after_it_returns() {
        let mut host = gated();
        set(&mut host, Gate::Open);
        let job = host.push(0);
        let mut worker = host.queue.worker_enters();
        assert_eq!(host.take(&mut worker), [run(job), report(1, true, Out::Open)]);
        let seen = set(&mut host, Gate::Shut);
        let told = host.serve_in(Context::Task);
        assert_eq!(told, [report(seen + 1, true, Out::Inside)]);
        host.ran(&mut worker, job, RunOutcome::Pending);
        assert_eq!(host.take(&mut worker), [report(seen + 2, true, Out::OnHardware)]);
    }

    fn time_stands_still_while_the_gate_is_shut_and_goes_on_while_it_yields() {
        let mut host = gated();
        let [job] = at_work(&mut host);
        host.pass(60);
        set(&mut host, Gate::Shut);
        host.pass_and_fire(1000);
        assert!(host.serve_worker().iter().all(|effect| matches!(effect, Effect::Gate { .. })));
        set(&mut host, Gate::Yield);
        let at = host.now.after(Duration::from_nanos(40));
        let told = host.serve_worker();
        assert!(told.contains(&Effect::ArmTimer { at }), "{told:?}");
        host.pass_and_fire(40);
        let mut worker = host.queue.worker_enters();
        let told = host.take(&mut worker);
        assert!(matches!(told[0], Effect::TimedOut { job: asked, .. } if asked == job));
        // The callback is out from now on, and that is told.
        assert!(matches!(told[1], Effect::Gate { out: Out::Inside, .. }), "{told:?}");
    }

    fn an_interrupt_leaves_the_report_to_the_worker_who_does_not_leave_without() {
        let mut host = gated();
        host.queue.allow_reap_in_irq();
        let [job] = at_work(&mut host);
        host.queue.complete(job, Attempt::FIRST, Ok(()));
        let told = host.serve_in(Context::Irq);
        assert_eq!(told, [completed(job), Effect::Kick, reap(job)], "only the report is left");
        // It comes, and is about to go without having looked.
        let worker = host.queue.worker_enters();
        let rest = host.queue.worker_leaves(worker).expect("nothing owed");
        assert_eq!(rest, WorkerRest::More);
        assert_eq!(host.serve_worker(), [report(2, false, Out::Open)]);
    }

    fn every_change_is_told_and_nothing_else_twice() {
        let mut host = gated();
        assert_eq!(set(&mut host, Gate::Shut), 0);
        assert_eq!(host.serve_worker(), [], "it was shut");
        assert_eq!(set(&mut host, Gate::Yield), 0);
        assert_eq!(set(&mut host, Gate::Shut), 0);
        let told = report(1, false, Out::Nothing);
        assert_eq!(host.serve_worker(), [told], "what has come and gone may have been told of");
        assert_eq!(host.serve_worker(), []);
    }

    fn what_is_done_behind_the_head_of_the_line_does_not_hide_what_is_not() {
        let mut host = gated();
        let jobs: [_; 8] = at_work(&mut host);
        for job in &jobs[..7] {
            host.queue.complete(*job, Attempt::FIRST, Ok(()));
        }
        set(&mut host, Gate::Yield);
        let now = host.queue.gate_report().expect("a gate");
        assert_eq!((now.wants, now.out), (true, Out::OnHardware));
        host.queue.complete(jobs[7], Attempt::FIRST, Ok(()));
        let now = host.queue.gate_report().expect("a gate");
        assert_eq!((now.wants, now.out), (false, Out::Nothing));
    }

    fn a_queue_that_is_killed_has_let_go_when_the_driver_comes_out() {
        let mut host = gated();
        set(&mut host, Gate::Open);
        let job = host.push(0);
        let mut worker = host.queue.worker_enters();
        host.take(&mut worker);
        host.queue.unbind(Errno::ENODEV);
        let told = host.serve_in(Context::Task);
        assert!(told.contains(&report(2, true, Out::Inside)), "{told:?}");
        host.ran(&mut worker, job, RunOutcome::Pending);
        let told = host.serve(worker);
        let at = |wanted| told.iter().position(|effect| *effect == wanted);
        let (last, closed) = (at(report(3, false, Out::Nothing)), at(Effect::Closed));
        assert!(last.is_some() && last < closed, "{told:?}");
        set(&mut host, Gate::Shut);
        assert_eq!(host.serve_worker(), [], "after the end nothing is told");
    }

    fn a_suspended_queue_wants_nothing_but_what_it_has_out() {
        let mut host = gated();
        host.queue.suspend(host.now);
        host.push(0);
        assert_eq!(host.serve_worker(), []);
        host.queue.resume(host.now);
        assert_eq!(host.serve_worker(), [report(1, true, Out::Nothing)]);
        let wants = GateReport { version: 1, wants: true, out: Out::Nothing };
        assert_eq!(host.queue.gate_report(), Some(wants));
    }
}
