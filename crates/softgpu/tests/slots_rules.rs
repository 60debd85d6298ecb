// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Slots that the host manages: what is refused, kinds of slots, and what a switch costs.

mod common;

use std::time::Duration;

use common::told::{self, a_round, bind, hosted, hosted_config, listener, refused, vacate};
use common::{reached, submit};
use ringfence_softgpu::{
    Command, Context, ContextState, Gpu, GpuConfig, GpuError, Injection, SlotKind, When,
};

fn contexts<const N: usize>(gpu: &Gpu) -> [Context; N] {
    [(); N].map(|()| gpu.create_context(256).expect("a context"))
}

#[test]
fn what_cannot_be_done_is_refused() {
    let gpu = hosted(2, true);
    let [context, other] = contexts(&gpu);
    let nobody = || listener().0;
    let no_such = context.bind(2, nobody());
    assert!(matches!(no_such, Err(GpuError::NoSuchSlot { slot: 2 })));
    let (answer, told) = listener();
    context.vacate(answer).expect("taken");
    let not_bound = told::next(&told);
    assert!(matches!(
        not_bound,
        told::Told::Vacated(Err(GpuError::NotBound))
    ));
    told::over(&told);

    let _stays = bind(&context, 1);
    assert!(matches!(
        refused(&other, 1),
        GpuError::SlotTaken { slot: 1 }
    ));
    let again = refused(&context, 0);
    assert!(matches!(again, GpuError::AlreadyBound { slot: 1 }));
    assert_eq!(gpu.stats().slot_switches, 1);

    // One request at a time.
    let armed = Injection::StuckPreemption;
    let armed = context.inject(armed, When::Now);
    let armed = armed.expect("possible");
    let (answer, told) = listener();
    context.vacate(answer).expect("taken");
    let second = context.vacate(nobody());
    assert!(matches!(second, Err(GpuError::SlotRequestPending)));
    let second = context.bind(0, nobody());
    assert!(matches!(second, Err(GpuError::SlotRequestPending)));
    a_round(&gpu);
    assert!(armed.fired() && told.try_recv().is_err());
    drop(context);
    let dropped = told::next(&told);
    assert!(matches!(
        dropped,
        told::Told::Vacated(Err(GpuError::SlotLost))
    ));

    // And nothing of it where the firmware schedules.
    let scheduled = common::gpu(1);
    let [context] = contexts(&scheduled);
    for refused in [context.bind(0, nobody()), context.vacate(nobody())] {
        assert!(matches!(refused, Err(GpuError::NotHostScheduled)));
    }
    let of_kind = scheduled.create_context_for(SlotKind::Compute, 64);
    assert!(matches!(of_kind, Err(GpuError::NotHostScheduled)));
}

#[test]
fn kinds_decide_who_may_be_bound() {
    let kinds = vec![SlotKind::Compute, SlotKind::Copy, SlotKind::Render];
    let start = |config: GpuConfig, slot_kinds: &[SlotKind]| {
        Gpu::start(GpuConfig {
            slot_kinds: slot_kinds.to_vec(),
            ..config
        })
    };
    for wrong in [
        start(hosted_config(2, true), &kinds),
        start(common::config(3), &kinds),
        Gpu::start(GpuConfig {
            switch_cost: Duration::from_micros(1),
            ..common::config(3)
        }),
    ] {
        assert!(matches!(wrong, Err(GpuError::Invalid(_))));
    }
    let gpu = start(hosted_config(3, true), &kinds).expect("the device starts");
    assert_eq!(gpu.slot_kind(1), Some(SlotKind::Copy));
    assert_eq!((gpu.slot_kind(3), gpu.slots()), (None, 3));
    let copying = gpu.create_context_for(SlotKind::Copy, 64).expect("memory");
    assert_eq!(copying.kind(), Some(SlotKind::Copy));
    for slot in [0, 2] {
        let wrong = copying.bind(slot, listener().0);
        assert!(matches!(wrong, Err(GpuError::WrongSlotKind { .. })));
    }
    let _stays = bind(&copying, 1);
    submit(&copying, &[Command::Fence { value: 1 }]);
    reached(&copying, 1);
    let any = gpu.create_context(64).expect("memory");
    for slot in [0, 2] {
        let _stays = bind(&any, slot);
        vacate(&any);
    }
    let all_alike = gpu_kinds(&hosted(2, true));
    assert_eq!(all_alike, [Some(SlotKind::Compute); 2]);
}

fn gpu_kinds(gpu: &Gpu) -> [Option<SlotKind>; 2] {
    [0, 1].map(|slot| gpu.slot_kind(slot))
}

#[test]
fn a_switch_costs_the_slot_its_time_unless_the_context_was_there_last() {
    let cost = Duration::from_millis(3);
    let gpu = Gpu::start(GpuConfig {
        switch_cost: cost,
        ..hosted_config(2, true)
    });
    let gpu = gpu.expect("the device starts");
    let [context, other] = contexts(&gpu);
    let spent = |slot| gpu.slot_usage(slot).expect("a slot").switching;
    let (mut paid, mut least_busy) = (0, Duration::MAX);
    let mut come_and_go = |context: &Context, slot, pays: bool| {
        let before = spent(slot);
        submit(context, &[Command::Fence { value: 1 }]);
        let _stays = bind(context, slot);
        paid += u32::from(pays);
        let now = spent(slot);
        assert_eq!(now != before, pays, "{before:?} {now:?}");
        assert!(!pays || now - before >= cost);
        let stay = vacate(context);
        if pays {
            least_busy = least_busy.min(stay.busy);
        }
    };
    come_and_go(&context, 0, true);
    come_and_go(&context, 0, false);
    come_and_go(&context, 0, false);
    come_and_go(&other, 0, true);
    come_and_go(&context, 0, true);
    // What it left on the slot is stale when it has been elsewhere, though nobody was there.
    come_and_go(&context, 1, true);
    come_and_go(&context, 0, true);
    // A reset leaves nothing behind.
    context.reset().expect("the firmware answers");
    come_and_go(&context, 0, true);
    gpu.reset().expect("the firmware answers");
    context.reset().expect("the firmware answers");
    come_and_go(&context, 0, true);
    assert!(spent(0) + spent(1) >= cost * paid);
    // It is the slot's time and nobody's work. On a loaded machine some work may take as long.
    assert!(least_busy < cost, "{least_busy:?}");
    assert_eq!(gpu.stats().slot_switches, 9);
}

#[test]
fn while_a_slot_switches_the_context_waits_and_the_others_run() {
    let gpu = Gpu::start(GpuConfig {
        switch_cost: told::LONG,
        ..hosted_config(1, true)
    });
    let gpu = gpu.expect("the device starts");
    let [context, other] = contexts(&gpu);
    submit(&context, &[Command::Fence { value: 1 }]);
    let (answer, told) = listener();
    context.bind(0, answer).expect("taken");
    a_round(&gpu);
    assert_eq!(context.state(), ContextState::Waiting);
    assert!(context.waits_for_slot());
    assert!(matches!(
        refused(&other, 0),
        GpuError::SlotTaken { slot: 0 }
    ));
    // A reset ends it, and the slot is free for the next.
    context.reset().expect("the firmware answers");
    let answer = told::next(&told);
    assert!(matches!(answer, told::Told::Bound(Err(GpuError::SlotLost))));
    told::over(&told);
    assert_eq!((context.stays(), gpu.stats().slot_switches), (0, 0));
    assert!(gpu.slot_usage(0).expect("a slot").switching > Duration::ZERO);
}
