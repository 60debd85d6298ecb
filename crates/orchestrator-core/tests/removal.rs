// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Seats whose queues end at awkward times.

use ringfence_core::{GateReport, Out, Time};
use ringfence_orchestrator_core::{
    Answer, Config, Effect, Fair, Orchestrator, Seat, SeatConfig, SeatId, Slot, SlotKind,
};

type Core = Orchestrator<[Seat; 4], [Slot; 1], Fair>;

const NOW: Time = Time::ZERO;

fn report(version: u64, wants: bool, out: Out) -> GateReport {
    GateReport {
        version,
        wants,
        out,
    }
}

/// One slot, and a seat on it whose queue has a job on the hardware.
fn running() -> (Core, SeatId) {
    let slots = [Slot::new(SlotKind::default())];
    let mut core = Core::new(Config::default(), Fair::default(), [Seat::FREE; 4], slots).unwrap();
    let seat = core.add(SeatConfig::default()).unwrap();
    core.report(seat, report(1, true, Out::Nothing), NOW)
        .unwrap();
    assert!(matches!(core.next(NOW), Some(Effect::Bind { .. })));
    core.bound(seat, Answer::Done, NOW).unwrap();
    assert_eq!(core.next(NOW), Some(Effect::Run { seat }));
    core.report(seat, report(2, true, Out::Open), NOW).unwrap();
    (core, seat)
}

/// Lets it go, and sees it gone.
fn goes(mut core: Core, seat: SeatId) {
    loop {
        match core.next(NOW) {
            Some(Effect::Vacate { .. }) => core.vacated(seat, Answer::Done, None, NOW).unwrap(),
            Some(Effect::Gone { seat: gone, .. }) => {
                assert_eq!(gone, seat);
                break;
            }
            Some(Effect::ArmTimer { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    core.check_invariants().unwrap();
    assert!(core.is_empty());
}

/// What the host says of a queue that has ended.
const LAST_WORD: GateReport = GateReport {
    version: u64::MAX,
    wants: false,
    out: Out::Nothing,
};

#[test]
fn a_queue_that_ended_need_not_say_that_it_is_quiet() {
    // Its last report was of an open gate, and it will make no other one.
    let (mut core, seat) = running();
    core.report(seat, LAST_WORD, NOW).unwrap();
    core.remove(seat, NOW).unwrap();
    assert_eq!(core.next(NOW), Some(Effect::Yield { seat }));
    core.yielded(seat, report(2, true, Out::Inside), NOW)
        .unwrap();
    goes(core, seat);
}

#[test]
fn a_queue_may_end_between_yielding_and_saying_that_it_is_quiet() {
    let (mut core, seat) = running();
    let other = core.add(SeatConfig::default()).unwrap();
    core.report(other, report(1, true, Out::Nothing), NOW)
        .unwrap();
    // The other one's turn.
    core.report(seat, report(3, false, Out::Open), NOW).unwrap();
    let Some(Effect::Yield { seat: first }) = core.next(NOW) else {
        panic!("it has had its slice")
    };
    assert_eq!(first, seat);
    core.yielded(seat, report(3, true, Out::Inside), NOW)
        .unwrap();
    core.report(seat, LAST_WORD, NOW).unwrap();
    core.remove(seat, NOW).unwrap();
    core.check_invariants().unwrap();
    let vacate = core.next(NOW);
    assert!(matches!(vacate, Some(Effect::Vacate { .. })), "{vacate:?}");
}

#[test]
fn who_is_removed_finishes_what_it_has_out() {
    let (mut core, seat) = running();
    core.remove(seat, NOW).unwrap();
    assert_eq!(core.next(NOW), Some(Effect::Yield { seat }));
    core.yielded(seat, report(3, true, Out::Inside), NOW)
        .unwrap();
    let next = core.next(NOW);
    assert!(
        matches!(next, None | Some(Effect::ArmTimer { .. })),
        "{next:?}"
    );
    core.report(seat, report(4, true, Out::OnHardware), NOW)
        .unwrap();
    goes(core, seat);
}
