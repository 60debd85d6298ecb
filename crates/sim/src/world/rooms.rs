// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a host does about room: sets some aside, and makes the ring longer or shorter.

use ringfence_core::{Lifecycle, PrepareError, Request, Reservation};

use super::World;
use crate::coverage::Seen;
use crate::judge::Verdict;
use crate::op::Storage;

impl World {
    /// Room for a job: one that was set aside, where the client takes such and there is one.
    pub(super) fn room_for(
        &mut self,
        request: Request,
        aside: bool,
    ) -> Result<Result<Reservation, PrepareError>, String> {
        if aside && self.aside != 0 {
            return self.room_set_aside(request);
        }
        let entries = self.subject.queue.capacity() as usize;
        let got = self.subject.queue.prepare(request);
        let told = got.as_ref().map(|_| ()).map_err(|error| *error);
        self.same(&told, |oracle| oracle.prepare(request))?;
        let rooms = self.spoken_for();
        let verdict = self.history.prepare(request.cost, rooms, entries, told);
        self.heard(verdict)?;
        Ok(got)
    }

    /// The queue is not asked, and may be closed by now.
    fn room_set_aside(
        &mut self,
        request: Request,
    ) -> Result<Result<Reservation, PrepareError>, String> {
        let got = self.terms.reservation(request);
        let told = got.as_ref().map(|_| ()).map_err(|error| *error);
        self.same(&told, |oracle| oracle.prepare_aside(request))?;
        let verdict = self.history.prepare_aside(request.cost, told);
        self.heard(verdict)?;
        if got.is_ok() {
            self.aside -= 1;
        }
        let open = self.history.lifecycle() == Lifecycle::Open;
        self.see(match got {
            Err(_) => Seen::AsideCost,
            Ok(_) if open => Seen::Aside,
            Ok(_) => Seen::AsideLate,
        });
        Ok(got)
    }

    /// Rooms that are prepared or set aside.
    fn spoken_for(&self) -> usize {
        self.rooms.len() + self.aside as usize
    }

    pub(super) fn set_aside(&mut self, most: u8) -> Verdict {
        let (most, rooms) = (u32::from(most), self.spoken_for());
        let entries = self.subject.queue.capacity() as usize;
        let got = self.subject.set_aside(most);
        self.same(&got, |oracle| oracle.set_aside(most))?;
        let verdict = self.history.set_aside(most, rooms, entries, got);
        self.aside += got;
        self.see(match got {
            0 => Seen::SetAsideRefused,
            _ => Seen::SetAside,
        });
        self.heard(verdict)
    }

    pub(super) fn put_back(&mut self, most: u32) -> Verdict {
        let rooms = self.aside.min(most);
        if rooms == 0 {
            return Ok(());
        }
        self.aside -= rooms;
        self.subject.put_back(rooms);
        self.history.put_back(rooms);
        self.see(match self.history.lifecycle() {
            Lifecycle::Open => Seen::PutBack,
            _ => Seen::PutBackClosed,
        });
        self.same(&(), |oracle| oracle.put_back(rooms))
    }

    /// A queue that takes no jobs keeps no rooms for them: so the next one is told why.
    pub(super) fn keep_none_aside(&mut self) -> Verdict {
        if self.aside == 0 || self.subject.queue.is_open() {
            return Ok(());
        }
        self.put_back(self.aside)
    }

    pub(super) fn move_into(&mut self, storage: Storage) -> Verdict {
        let entries = self.subject.queue.capacity() as usize;
        let Some(elements) = storage.elements(entries) else {
            return Ok(());
        };
        let got = self.subject.move_into(elements)?;
        self.same(&got, |oracle| oracle.move_into(elements))?;
        let capacity = self.subject.queue.capacity();
        let rooms = self.spoken_for();
        let verdict = self
            .history
            .move_into(elements, rooms, entries, got, capacity);
        self.heard(verdict)?;
        let jobs = !self.history.live().is_empty();
        match got {
            false => self.see(Seen::MoveRefused),
            true if jobs && elements > entries => self.see(Seen::Grown),
            true if jobs && elements < entries => self.see(Seen::Shrunk),
            true => {}
        }
        Ok(())
    }
}
