// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Which contexts are on the slots of one device, by the device's own word: one on each slot, and on
//! one slot each.

use std::sync::{Mutex, PoisonError};

use ringfence_softgpu::{ContextId, SlotEvent, SlotEventKind};

/// What is on a slot.
#[derive(Clone, Copy)]
struct Tenant {
    context: ContextId,
    /// The job that it is in.
    job: Option<u64>,
}

/// The slots of one device.
pub(in crate::run) struct Occupancy {
    slots: Mutex<Box<[Option<Tenant>]>>,
    wrong: Mutex<Option<(u64, String)>>,
}

impl Occupancy {
    /// A device of so many slots, with nobody on them.
    pub(in crate::run) fn new(slots: u32) -> Self {
        Self {
            slots: Mutex::new(vec![None; slots as usize].into_boxed_slice()),
            wrong: Mutex::default(),
        }
    }

    /// Something has happened. Returns whether a context left in the middle of a job.
    pub(in crate::run) fn note(&self, event: &SlotEvent) -> bool {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let (context, slot) = (event.context, event.slot);
        match event.kind {
            SlotEventKind::Resident { job } => {
                let other = slots.iter().flatten().any(|other| other.context == context);
                let place = slots.get_mut(slot as usize);
                match place {
                    None => self.wrong(|| format!("there is no slot {slot}")),
                    Some(Some(_)) => self.wrong(|| format!("two contexts are on slot {slot}")),
                    Some(_) if other => self.wrong(|| format!("{context:?} is on two slots")),
                    Some(place) => *place = Some(Tenant { context, job }),
                }
                false
            }
            SlotEventKind::Left => match slots.get_mut(slot as usize).and_then(Option::take) {
                Some(tenant) if tenant.context == context => tenant.job.is_some(),
                _ => {
                    self.wrong(|| format!("{context:?} left slot {slot}, where it was not"));
                    false
                }
            },
            SlotEventKind::JobBegin { value } => {
                if let Some(Some(tenant)) = slots.get_mut(slot as usize) {
                    tenant.job = Some(value);
                }
                false
            }
            SlotEventKind::JobEnd { .. } | SlotEventKind::Fault(_) => {
                if let Some(Some(tenant)) = slots.get_mut(slot as usize) {
                    tenant.job = None;
                }
                false
            }
        }
    }

    /// What was wrong: how often, and the first case.
    pub(in crate::run) fn verdict(&self) -> Option<(u64, String)> {
        let wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.clone()
    }

    fn wrong(&self, how: impl FnOnce() -> String) {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.get_or_insert_with(|| (0, how())).0 += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(slot: u32, context: u64, kind: SlotEventKind) -> SlotEvent {
        SlotEvent {
            at: 0,
            slot,
            context: ContextId(context),
            kind,
        }
    }

    const COMES: SlotEventKind = SlotEventKind::Resident { job: None };

    #[test]
    fn who_leaves_in_a_job_was_cut() {
        let slots = Occupancy::new(2);
        let begin = SlotEventKind::JobBegin { value: 1 };
        let end = SlotEventKind::JobEnd { value: 1 };
        slots.note(&event(0, 7, COMES));
        slots.note(&event(0, 7, begin));
        assert!(slots.note(&event(0, 7, SlotEventKind::Left)));
        // It goes on with the job elsewhere, ends it, and leaves.
        slots.note(&event(1, 7, SlotEventKind::Resident { job: Some(1) }));
        slots.note(&event(1, 7, end));
        assert!(!slots.note(&event(1, 7, SlotEventKind::Left)));
        assert_eq!(slots.verdict(), None);
    }

    #[test]
    fn whatever_cannot_be_on_slots_is_seen() {
        let wrong: [&[SlotEvent]; 4] = [
            &[event(0, 7, COMES), event(0, 8, COMES)],
            &[event(0, 7, COMES), event(1, 7, COMES)],
            &[event(2, 7, COMES)],
            &[event(0, 7, COMES), event(1, 7, SlotEventKind::Left)],
        ];
        for events in wrong {
            let slots = Occupancy::new(2);
            events.iter().for_each(|event| _ = slots.note(event));
            assert_eq!(
                slots.verdict().map(|(count, _)| count),
                Some(1),
                "{events:?}"
            );
        }
    }
}
