// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Every request for a slot is answered once and every stay ends once, whatever happens to the
//! device.

mod common;

use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use common::told::{self, a_round, bind, hosted, hosted_config, listener, Told};
use common::{submit, until, PATIENCE};
use ringfence_softgpu::{
    Command, Context, ContextState, Gpu, GpuConfig, GpuError, Injection, InjectionKind, LossCause,
    When,
};

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Stop,
    Unplug,
    DeviceReset,
    DropContexts,
}

const ENDS: [End; 4] = [End::Stop, End::Unplug, End::DeviceReset, End::DropContexts];

impl End {
    fn happen(self, gpu: &Gpu, contexts: &mut Vec<Context>) {
        match self {
            Self::Stop => gpu.stop(),
            Self::Unplug => gpu.unplug(contexts.is_empty()),
            Self::DeviceReset => drop(gpu.reset().expect("it comes back")),
            Self::DropContexts => contexts.clear(),
        }
    }

    fn is_cause(self, cause: LossCause) -> bool {
        cause
            == match self {
                Self::Stop => LossCause::Stopped,
                Self::Unplug => LossCause::Gone,
                Self::DeviceReset => LossCause::DeviceReset,
                Self::DropContexts => LossCause::Dropped,
            }
    }

    fn is_error(self, error: &GpuError) -> bool {
        match self {
            Self::Stop => matches!(error, GpuError::Stopped),
            Self::Unplug => matches!(error, GpuError::Gone),
            Self::DeviceReset | Self::DropContexts => matches!(error, GpuError::SlotLost),
        }
    }

    /// The one thing that `told` says is that the slot is lost because of this.
    fn check_stay(self, told: &Receiver<Told>, what: &str) {
        let loss = told::lost(told);
        assert!(self.is_cause(loss.cause), "{what}, {self:?}: {loss:?}");
    }

    /// The one thing that `told` says is that the request failed because of this.
    fn check_request(self, told: &Receiver<Told>, what: &str) {
        let answer = told::next(told);
        let (Told::Bound(Err(error)) | Told::Vacated(Err(error))) = &answer else {
            panic!("{what}, {self:?}: {answer:?}");
        };
        assert!(self.is_error(error), "{what}, {self:?}: {error:?}");
        told::over(told);
    }
}

/// Contexts in every state that a context on a slot can be in.
struct Scene {
    contexts: Vec<Context>,
    stays: Vec<(&'static str, Receiver<Told>)>,
    requests: Vec<(&'static str, Receiver<Told>)>,
}

impl Scene {
    fn set(gpu: &Gpu) -> Self {
        let contexts: Vec<_> = (0..5)
            .map(|_| gpu.create_context(256).expect("a context"))
            .collect();
        let names = ["idle", "busy", "leaving", "stuck"];
        let stays = names.iter().zip(&contexts).zip(0..);
        let stays = stays.map(|((&name, context), slot)| (name, bind(context, slot)));
        let mut scene = Self {
            stays: stays.collect(),
            requests: Vec::new(),
            contexts,
        };
        let [_, busy, leaving, stuck, _] = &scene.contexts[..] else {
            unreachable!("five contexts");
        };
        submit(busy, &[Command::Spin { ns: u64::MAX }]);
        submit(leaving, &[Command::Hang]);
        submit(stuck, &[Command::Spin { ns: u64::MAX }]);
        a_round(gpu);
        let armed = stuck.inject(Injection::StuckPreemption, When::Now);
        armed.expect("possible");
        for (name, context) in [("leaving", leaving), ("stuck", stuck)] {
            let (answer, told) = listener();
            context.vacate(answer).expect("taken");
            scene.requests.push((name, told));
        }
        a_round(gpu);
        assert_eq!(stuck.injected(InjectionKind::StuckPreemption), 1);
        scene
    }

    /// Asks a firmware that is dead.
    fn ask(&mut self) {
        let (answer, told) = listener();
        self.contexts[4].bind(5, answer).expect("taken");
        self.requests.push(("bind", told));
        let (answer, told) = listener();
        self.contexts[0].vacate(answer).expect("taken");
        self.requests.push(("vacate", told));
    }

    #[track_caller]
    fn nothing_said(&self) {
        for (name, told) in self.stays.iter().chain(&self.requests) {
            let said = told.try_recv();
            assert!(matches!(said, Err(TryRecvError::Empty)), "{name}: {said:?}");
        }
    }

    fn end(mut self, gpu: &Gpu, end: End) {
        end.happen(gpu, &mut self.contexts);
        for (name, told) in &self.stays {
            end.check_stay(told, name);
        }
        for (name, told) in &self.requests {
            end.check_request(told, name);
        }
    }
}

#[test]
fn whatever_ends_a_living_device_ends_every_stay_and_answers_every_request() {
    for end in ENDS {
        let gpu = hosted(6, false);
        let scene = Scene::set(&gpu);
        scene.nothing_said();
        scene.end(&gpu, end);
    }
}

#[test]
fn a_dead_firmware_says_nothing_until_it_is_ended() {
    for (place, end) in ENDS.into_iter().enumerate() {
        let gpu = hosted(6, false);
        let mut scene = Scene::set(&gpu);
        let death = Injection::FirmwareDeath {
            silent: place % 2 == 0,
        };
        gpu.inject(death, When::Now).expect("possible");
        gpu.set_answer_timeout(Duration::from_millis(20));
        assert!(matches!(gpu.ping(), Err(GpuError::NotResponding)));
        scene.ask();
        assert!(matches!(gpu.ping(), Err(GpuError::NotResponding)));
        scene.nothing_said();
        gpu.set_answer_timeout(PATIENCE);
        scene.end(&gpu, end);
    }
}

#[test]
fn a_slot_that_switches_ends_with_the_device() {
    for dead in [false, true] {
        for end in ENDS {
            let gpu = Gpu::start(GpuConfig {
                switch_cost: told::LONG,
                ..hosted_config(1, true)
            });
            let gpu = gpu.expect("the device starts");
            let mut contexts = vec![gpu.create_context(256).expect("a context")];
            let (answer, told) = listener();
            contexts[0].bind(0, answer).expect("taken");
            a_round(&gpu);
            if dead {
                let death = Injection::FirmwareDeath { silent: true };
                gpu.inject(death, When::Now).expect("possible");
            }
            end.happen(&gpu, &mut contexts);
            end.check_request(&told, "switching");
        }
    }
}

#[test]
fn after_a_reset_of_the_device_all_slots_are_free() {
    let gpu = hosted(6, false);
    let scene = Scene::set(&gpu);
    gpu.reset().expect("it comes back");
    let told: Vec<_> = scene.requests.iter().map(|(_, told)| told).collect();
    told.iter().for_each(|told| drop(told::next(told)));
    for (place, context) in scene.contexts.iter().enumerate() {
        let had_work = (1..4).contains(&place);
        assert_eq!(context.state() == ContextState::Faulted, had_work);
        if had_work {
            assert!(matches!(told::refused(context, 0), GpuError::NeedsReset));
            context.reset().expect("the firmware answers");
        }
        // In the opposite order.
        let slot = 4 - place as u32;
        let _stays = bind(context, slot);
        submit(context, &[Command::Fence { value: 1 }]);
        common::reached(context, 1);
        assert_eq!(context.state(), ContextState::Resident(slot));
    }
}

#[test]
fn a_reset_of_a_stuck_context_frees_its_slot() {
    let gpu = hosted(6, true);
    let scene = Scene::set(&gpu);
    let [_, _, _, stuck, other] = &scene.contexts[..] else {
        unreachable!("five contexts");
    };
    let progress = stuck.progress();
    let busy = stuck.busy();
    a_round(&gpu);
    assert_eq!((stuck.progress(), stuck.busy()), (progress, busy));
    assert!(matches!(
        told::refused(other, 3),
        GpuError::SlotTaken { slot: 3 }
    ));
    // One that fails frees it as well, but the context needs another.
    let failing = stuck.inject(Injection::FailedReset, When::Now);
    failing.expect("possible");
    assert!(matches!(stuck.reset(), Err(GpuError::ResetFailed)));
    End::DeviceReset.check_request(&scene.requests[1].1, "stuck");
    let loss = told::lost(&scene.stays[3].1);
    assert_eq!((loss.cause, loss.stay.slot), (LossCause::ContextReset, 3));
    let _stays = bind(other, 3);
    assert!(matches!(told::refused(stuck, 4), GpuError::NeedsReset));
    stuck.reset().expect("the firmware answers");
    let _stays = bind(stuck, 4);
    submit(stuck, &[Command::Fence { value: 1 }]);
    common::reached(stuck, 1);
}

#[test]
fn an_ended_device_refuses_at_once() {
    for end in [End::Stop, End::Unplug] {
        let gpu = hosted(1, true);
        let context = gpu.create_context(256).expect("a context");
        end.happen(&gpu, &mut Vec::new());
        until("the firmware to end", || {
            let (answer, told) = listener();
            let refused = context
                .bind(0, answer)
                .is_err_and(|error| end.is_error(&error));
            // Refused, it is not called either.
            refused && matches!(told.try_recv(), Err(TryRecvError::Disconnected))
        });
        let vacate = context.vacate(listener().0);
        assert!(vacate.is_err_and(|error| end.is_error(&error)));
    }
}
