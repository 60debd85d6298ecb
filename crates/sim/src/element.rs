// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the modelled hosts lend core for a job: an entry, and a payload of their own beside it.

use ringfence_core::{Entry, HasEntry, JobId, Queue, Slot};

/// Core, as it is driven here.
pub(crate) type Core = Queue<Vec<Element>, Element>;

/// How many events core keeps here: few, and no power of two, so that they are soon written over.
pub(crate) const RECORDS: usize = 5;

/// One element of the storage.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element {
    entry: Entry,
    /// From arm until the payload is handed over for dropping: the job's number.
    pub(crate) payload: Option<u64>,
}

impl HasEntry for Element {
    type Records = [Slot; RECORDS];

    #[inline]
    fn entry(&self) -> &Entry {
        &self.entry
    }

    #[inline]
    fn entry_mut(&mut self) -> &mut Entry {
        &mut self.entry
    }
}

/// Storage of so many elements.
pub(crate) fn storage(entries: usize) -> Vec<Element> {
    const FREE: Element = Element {
        entry: Entry::FREE,
        payload: None,
    };
    vec![FREE; entries]
}

/// The host keeps something for a job beside its entry; `None` once it has taken it out.
#[inline]
pub(crate) fn keep(core: &mut Core, job: JobId, payload: Option<u64>) {
    if let Some(element) = core.element_mut(job) {
        element.payload = payload;
    }
}

/// Moves the line into storage of so many elements. False if that is refused.
pub(crate) fn move_into(core: &mut Core, entries: usize) -> Result<bool, String> {
    let before = core.capacity();
    let mut storage = storage(entries);
    if let Some(used) = core.element(core.oldest()) {
        // Whatever storage has been used for, its entries are free in the end.
        storage.fill(Element {
            payload: None,
            ..*used
        });
    }
    match core.move_into(storage) {
        Ok(old) if old.len() as u64 != before => {
            Err("the storage given back is not the old".into())
        }
        Ok(old) if old.iter().any(|element| element.payload.is_some()) => {
            Err("a payload was left in the old storage".into())
        }
        Ok(_) => Ok(true),
        Err((_, refused)) if refused.len() != entries => {
            Err("the storage given back is not what was refused".into())
        }
        Err(_) => Ok(false),
    }
}

/// Forgets the jobs that have changed places in a move from storage of `before` elements.
pub(crate) fn forget_moved(core: &mut Core, before: u64) {
    let after = core.capacity();
    let jobs: Vec<_> = core.jobs().collect();
    for job in jobs {
        if job.seqno() % before != job.seqno() % after {
            if let Some(element) = core.element_mut(job) {
                element.entry = Entry::FREE;
            }
        }
    }
}

/// Gives rooms back once more, as far as there are any.
pub(crate) fn put_back_again(core: &mut Core, rooms: u32) {
    let stats = core.stats();
    let reserved = stats.prepared - stats.armed - stats.released;
    core.put_back(rooms.min(u32::try_from(reserved).unwrap_or(0)));
}
