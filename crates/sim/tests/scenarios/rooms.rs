// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Rooms set aside for jobs to come, rings that change their length, and signals that are asked
//! for before anything else.

use std::time::Duration;

use ringfence_core::{
    Attempt, ClosePolicy, Completed, Config, ConfigError, Context, Effect, Entry, Errno, HasEntry,
    JobId, OnDependencyError, Outcome, PrepareError, Queue, Request, RunOutcome, Slot, State, Time,
    Timeout, Visit, WorkerRest,
};

use crate::host::{completed, config, reap, run, runs, signal, signals, Host};

const CANCELLED: Outcome = Outcome::Cancelled(Errno::ECANCELED);

/// Moves the host's line into so many elements; the length of the storage that comes back, free.
fn move_into(host: &mut Host, entries: usize) -> usize {
    // Storage that has been used for something else will do.
    let used = host.queue.element(host.queue.oldest()).copied();
    let old = host
        .queue
        .move_into(vec![used.expect("an element"); entries]);
    let old = old.unwrap_or_else(|_| panic!("{entries} elements are enough"));
    let free = format!("{:?}", Entry::FREE);
    assert!(old.iter().all(|entry| format!("{entry:?}") == free));
    host.queue.check_invariants().expect("invariants");
    old.len()
}

/// The host's line cannot be moved into so many elements, and nothing has changed.
fn does_not_move(host: &mut Host, entries: usize) {
    let before = (host.queue.capacity(), host.queue.len(), host.queue.stats());
    let refused = host.queue.move_into(vec![Entry::FREE; entries]);
    let (error, storage) = refused.expect_err("that cannot be a ring, or is too short");
    assert_eq!((error, storage.len()), (ConfigError::Entries, entries));
    let after = (host.queue.capacity(), host.queue.len(), host.queue.stats());
    assert_eq!(before, after);
}

/// A job in a room that was set aside.
fn arm_aside(host: &mut Host, request: Request) -> JobId {
    let room = host
        .queue
        .terms()
        .reservation(request)
        .expect("it can be paid");
    host.queue.arm(room).expect("a room that was set aside")
}

fn cost(cost: u32) -> Request {
    Request {
        cost,
        ..Request::default()
    }
}

/// An element with something of the host's, in a queue that keeps three events.
#[derive(Clone, Debug)]
struct Kept {
    entry: Entry,
    payload: Option<String>,
}

impl HasEntry for Kept {
    type Records = [Slot; 3];

    fn entry(&self) -> &Entry {
        &self.entry
    }

    fn entry_mut(&mut self) -> &mut Entry {
        &mut self.entry
    }
}

fn kept(entries: usize) -> Vec<Kept> {
    let free = Kept {
        entry: Entry::FREE,
        payload: None,
    };
    vec![free; entries]
}

crate::scenarios! {
    /// Jobs in every state lie across the end of a ring of eight, which then has 16, and 8 again.
    fn a_ring_grows_with_jobs_in_flight_and_keeps_their_order() {
        let mut host = Host::new(Config { first_seqno: u64::MAX - 2, ..config() });
        assert_eq!(move_into(&mut host, 8), 16);
        let [told, done, pending] = host.pending();
        let waits = host.push(1);
        let armed = host.arm(2);
        let cancelled = host.push(0);
        host.queue.cancel(cancelled, Errno::EAGAIN).expect("it is in line");
        for job in [told, done] {
            host.queue.complete(job, Attempt::FIRST, Ok(()));
        }
        let mut irq = Visit::new(Context::Irq);
        assert_eq!(host.queue.next(&mut irq, host.now), Some(completed(told)));
        let jobs = [told, done, pending, waits, armed, cancelled];
        for (entries, before) in [(16, 8), (8, 16), (32, 8)] {
            assert_eq!(move_into(&mut host, entries), before);
            assert_eq!(host.queue.capacity(), entries as u64);
            assert_eq!(jobs.map(|job| host.queue.state(job)), [
                State::Signalling, State::Done, State::Pending,
                State::Queued, State::Armed, State::Done,
            ]);
            assert_eq!(host.queue.credits_used(), 1, "what it holds is counted once");
        }
        host.queue.signalled(&mut irq, told).expect("its visit goes on");
        assert_eq!(signals(&host.serve(irq)), [completed(done)]);
        host.submit(armed, 0);
        let newest = host.push(0);
        host.queue.dependency_signalled(waits, Ok(())).expect("it still waits");
        assert_eq!(runs(&host.serve_worker()), [waits, armed, newest]);
        assert_eq!(host.queue.credits_used(), 5);
        for job in [newest, armed, waits, pending] {
            assert_eq!(host.queue.complete(job, Attempt::FIRST, Ok(())), Completed::Finished);
        }
        assert_eq!(signals(&host.serve_worker()), [
            completed(pending), completed(waits), completed(armed),
            signal(cancelled, Outcome::Cancelled(Errno::EAGAIN)), completed(newest),
        ]);
    }

    /// The run callback of one is out, the next is in the same batch, a third waits for credits.
    fn a_ring_grows_while_its_driver_is_inside() {
        let mut host = Host::new(config());
        move_into(&mut host, 4);
        let (first, second, third) = (host.push(0), host.push(0), host.arm(10));
        host.submit(third, 0);
        let mut worker = host.queue.worker_enters();
        assert_eq!(runs(&host.take(&mut worker)), [first, second]);
        move_into(&mut host, 8);
        host.ran(&mut worker, first, RunOutcome::Pending);
        host.ran(&mut worker, second, RunOutcome::NoResources);
        assert_eq!(host.serve(worker).len(), 1, "the timer of the first");
        assert_eq!(host.queue.complete(first, Attempt::FIRST, Ok(())), Completed::Finished);
        host.queue.resource_signalled(second).expect("it waits");
        assert_eq!(runs(&host.serve_worker()), [second]);
        host.queue.complete(second, Attempt::FIRST, Ok(()));
        assert_eq!(runs(&host.serve_worker()), [third]);
    }

    /// A hung job, asked about in the old ring and walked and replayed in the new one.
    fn a_ring_grows_while_its_head_is_timed_and_recovered() {
        let mut host = Host::new(config());
        let [job] = host.pending();
        host.pass(60);
        move_into(&mut host, 32);
        host.pass_and_fire(39);
        assert_eq!(host.serve_worker(), [Effect::ArmTimer { at: Time::from_ns(100) }]);
        host.pass_and_fire(1);
        let mut worker = host.queue.worker_enters();
        assert_eq!(host.take(&mut worker), [Effect::TimedOut { job, extensions_left: 2 }]);
        move_into(&mut host, 16);
        let now = host.now;
        host.queue
            .timed_out_returned(&mut worker, job, ringfence_core::TimeoutOutcome::Reset, now)
            .expect("it was asked");
        assert_eq!(host.serve(worker), [Effect::Recover { job }]);
        host.queue.stop(now).expect("nobody else has");
        move_into(&mut host, 64);
        assert_eq!(host.queue.walk_from(job), Ok(Some(job)));
        move_into(&mut host, 2);
        let again = host.queue.replay(job).expect("it is lent");
        move_into(&mut host, 4);
        host.queue
            .replay_returned(job, ringfence_core::ReplayOutcome::Pending)
            .expect("it is lent");
        host.queue.start(now).expect("nothing is lent");
        assert_eq!(host.queue.complete(job, Attempt::FIRST, Ok(())), Completed::Late);
        assert_eq!(host.queue.complete(job, again, Ok(())), Completed::Finished);
        assert_eq!(signals(&host.serve_worker()), [completed(job)]);
    }

    fn a_ring_does_not_shrink_below_what_is_in_line() {
        let mut host = Host::new(config());
        let [first, second] = host.pending();
        let waits = host.push(1);
        let prepared = host.prepare(1);
        assert_eq!(host.queue.set_aside(1), 1);
        // Three in line, one prepared, one set aside.
        does_not_move(&mut host, 4);
        for no_ring in [0, 1, 3, 6, 12] {
            does_not_move(&mut host, no_ring);
        }
        move_into(&mut host, 8);
        host.queue.put_back(1);
        move_into(&mut host, 4);
        assert_eq!(host.queue.set_aside(9), 0);
        does_not_move(&mut host, 2);
        let last = host.queue.arm(prepared).expect("it has its room");
        host.submit(last, 0);
        for job in [first, second] {
            host.queue.complete(job, Attempt::FIRST, Ok(()));
        }
        assert_eq!(signals(&host.serve_worker()), [completed(first), completed(second)]);
        move_into(&mut host, 2);
        host.queue.dependency_signalled(waits, Ok(())).expect("it waits");
        assert_eq!(runs(&host.serve_worker()), [waits, last]);
    }

    fn what_a_host_keeps_beside_its_entries_moves_along() {
        let queue = Queue::<Vec<Kept>, Kept>::new(Config { first_seqno: 3, ..config() }, kept(4));
        let mut queue = queue.expect("a queue that can be made");
        let jobs: [_; 4] = std::array::from_fn(|_| {
            let room = queue.prepare(Request::default()).expect("room");
            let job = queue.arm(room).expect("room");
            queue.element_mut(job).expect("armed").payload = Some(format!("{job:?}"));
            queue.submit(job, 0, false, Time::ZERO).expect("armed");
            job
        });
        let old = queue.move_into(kept(8)).map_err(|(error, _)| error).expect("longer");
        assert!(old.iter().all(|element| element.payload.is_none()), "{old:?}");
        for job in jobs {
            let kept = queue.element(job).and_then(|element| element.payload.as_deref());
            assert_eq!(kept, Some(&*format!("{job:?}")));
        }
        // Such elements bring memory for three events; a copy has room for more, and shows as many.
        let shown: Vec<_> = queue.events().collect();
        assert_eq!(shown.iter().map(|event| event.seqno).collect::<Vec<_>>(), [4, 5, 6]);
        let copy = queue.copy_into(vec![Entry::FREE; 8]).expect("of the same length");
        assert!(copy.events().eq(shown));
    }

    fn rooms_set_aside_count_as_reserved() {
        let mut host = Host::new(config());
        let waits = host.push(1);
        assert_eq!(host.queue.set_aside(5), 5);
        assert_eq!(host.queue.set_aside(99), 10, "as many as there are");
        assert_eq!(host.queue.set_aside(1), 0);
        let stats = host.queue.stats();
        assert_eq!((stats.prepared, stats.armed), (16, 1));
        let refused = host.queue.prepare(Request::default()).expect_err("all are spoken for");
        assert_eq!(refused, PrepareError::Full);
        let late = arm_aside(&mut host, cost(1));
        host.submit(late, 0);
        assert_eq!(host.queue.stats().prepared, 16, "it was counted when it was set aside");
        host.queue.put_back(14);
        assert_eq!(host.queue.stats().prepared, 2);
        host.queue.check_invariants().expect("invariants");
        let rooms: Vec<_> = (0..14).map(|_| host.prepare(1)).collect();
        let refused = host.queue.prepare(Request::default()).expect_err("it is full again");
        assert_eq!(refused, PrepareError::Full);
        for room in rooms {
            host.queue.release(room);
        }
        host.queue.dependency_signalled(waits, Ok(())).expect("it waits");
        assert_eq!(runs(&host.serve_worker()), [waits, late], "like any other job");
    }

    /// Two queues: one is asked for each room, the other is not.
    fn a_job_in_a_room_set_aside_is_like_any_other() {
        let requests = [
            Request::default(),
            Request { timeout: Timeout::Never, ..cost(3) },
            Request { timeout: Timeout::After(Duration::ZERO), ..cost(0) },
            Request { on_dependency_error: Some(OnDependencyError::Run), ..cost(1) },
        ];
        let tell = |aside: bool| {
            let mut host = Host::new(config());
            let terms = host.queue.terms();
            let mut told = Vec::new();
            for request in requests {
                let room = match aside {
                    true => {
                        assert_eq!(host.queue.set_aside(1), 1);
                        terms.reservation(request)
                    }
                    false => host.queue.prepare(request),
                };
                let job = host.queue.arm(room.expect("it can be paid")).expect("room");
                host.submit(job, 1);
                host.queue.dependency_signalled(job, Err(Errno::EIO)).expect("it waits");
                told.push(host.serve_worker());
            }
            (told, host.queue.snapshot("", host.now).to_string(), host.queue.stats())
        };
        assert_eq!(tell(true), tell(false));
        let mut host = Host::new(config());
        assert_eq!(host.queue.set_aside(1), 1);
        let refused = host.queue.terms().reservation(cost(11)).expect_err("never to be paid");
        assert_eq!(refused, PrepareError::CostAboveLimit { cost: 11, limit: 10 });
        arm_aside(&mut host, cost(10));
    }

    fn a_room_set_aside_before_the_queue_was_closed_makes_a_job_that_does_not_run() {
        for policy in [ClosePolicy::Drain, ClosePolicy::Cancel] {
            let mut host = Host::new(config());
            let [running] = host.pending();
            assert_eq!(host.queue.set_aside(2), 2);
            assert!(host.queue.is_open());
            host.queue.close(policy, host.now);
            assert!(!host.queue.is_open());
            assert_eq!(host.queue.set_aside(1), 0, "it takes no more");
            let late = arm_aside(&mut host, cost(1));
            host.submit(late, 1);
            host.queue.dependency_signalled(late, Ok(())).expect("its fence waits for that");
            assert_eq!(host.serve_worker(), [], "and for its turn");
            host.queue.complete(running, Attempt::FIRST, Ok(()));
            host.queue.put_back(1);
            assert_eq!(host.serve_worker(), [
                completed(running), signal(late, CANCELLED),
                reap(running), reap(late), Effect::Closed,
            ]);
            assert_eq!(host.queue.stats().prepared, 2);
        }
        let mut host = Host::new(config());
        assert_eq!(host.queue.set_aside(1), 1);
        host.queue.kill(Errno::EIO);
        let late = arm_aside(&mut host, cost(1));
        host.submit(late, 3);
        let dead = signal(late, Outcome::Cancelled(Errno::EIO));
        assert_eq!(host.serve_worker(), [dead, reap(late), Effect::Closed]);
    }

    /// Rooms that nobody has asked for hold nothing up.
    fn a_queue_closes_with_rooms_set_aside() {
        let mut host = Host::new(config());
        assert_eq!(host.queue.set_aside(16), 16);
        host.queue.close(ClosePolicy::Drain, host.now);
        assert_eq!(host.serve_worker(), [Effect::Closed]);
        host.queue.put_back(16);
        assert_eq!(host.queue.stats().prepared, 0);
        let refused = host.queue.prepare(Request::default()).expect_err("it says why");
        assert_eq!(refused, PrepareError::Closed);
    }

    fn signals_may_be_taken_before_anything_else() {
        let mut host = Host::new(config());
        let [first, second] = host.pending();
        let next = host.push(0);
        let mut now = host.now;
        let mut irq = Visit::new(Context::Irq);
        assert_eq!(host.queue.next_signal(&mut irq, &mut now), None);
        assert_eq!(host.queue.stats().kicks, 0, "who asks for signals kicks nobody");
        let mut worker = host.queue.worker_enters();
        assert_eq!(host.queue.next_signal(&mut worker, &mut now), None, "a run is none");
        host.queue.complete(first, Attempt::FIRST, Ok(()));
        host.queue.complete(second, Attempt::FIRST, Ok(()));
        let mut nested = Visit::new(Context::Nested);
        assert_eq!(host.queue.next_signal(&mut nested, &mut now), None, "never inside a fence");
        for job in [first, second] {
            assert_eq!(host.queue.next_signal(&mut worker, &mut now), Some(completed(job)));
        }
        assert_eq!(host.queue.next_signal(&mut worker, &mut now), None);
        // Nobody else may signal meanwhile, whichever way they ask.
        assert_eq!(host.queue.next_signal(&mut irq, &mut now), None);
        for job in [first, second] {
            host.queue.signalled(&mut worker, job).expect("the oldest");
        }
        // It has not heard of anything else, and must not leave for good.
        let left = host.queue.worker_leaves(worker);
        assert!(matches!(left, Ok(WorkerRest::More)));
        assert_eq!(host.serve_worker()[..3], [reap(first), reap(second), run(next)]);
    }
}
