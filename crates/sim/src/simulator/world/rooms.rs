// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a host does about room: sets some aside, and makes rings longer or shorter.

use ringfence_core::{Lifecycle, PrepareError, Request, Reservation};

use super::super::coverage::Hosted;
use super::super::log::{Detail, Event};
use super::{Line, World};
use crate::judge::Verdict;
use crate::op::Storage;

impl Line {
    /// Rooms that are prepared or set aside.
    fn spoken_for(&self) -> usize {
        self.rooms.len() + self.aside as usize
    }

    fn is_open(&self) -> bool {
        self.judge.lifecycle() == Lifecycle::Open
    }
}

impl World {
    /// Room for a job: one that was set aside, where the client takes such and there is one. Then
    /// the queue is not asked, and may be closed by now.
    pub(super) fn room_for(
        &mut self,
        queue: u8,
        request: Request,
        aside: bool,
    ) -> Result<Result<Reservation, PrepareError>, String> {
        let line = &mut self.lines[usize::from(queue)];
        let rooms = line.spoken_for();
        if !aside || line.aside == 0 {
            let got = line.port.prepare(request);
            let told = got.as_ref().map(|_| ()).map_err(|error| *error);
            line.judge
                .prepare(request.cost, rooms, line.entries, told)?;
            return Ok(got);
        }
        let got = line.port.prepare_aside(request);
        let told = got.as_ref().map(|_| ()).map_err(|error| *error);
        line.judge.prepare_aside(request.cost, told)?;
        if got.is_ok() {
            line.aside -= 1;
        }
        self.coverage.hosted(match got {
            Err(_) => Hosted::AsideCost,
            Ok(_) if line.is_open() => Hosted::Aside,
            Ok(_) => Hosted::AsideLate,
        });
        Ok(got)
    }

    pub(super) fn set_aside(&mut self, queue: u8, most: u8) -> Verdict {
        let line = &mut self.lines[usize::from(queue)];
        let (most, rooms) = (u32::from(most), line.spoken_for());
        let got = line.port.set_aside(most);
        line.judge.set_aside(most, rooms, line.entries, got)?;
        line.aside += got;
        self.coverage.hosted(match got {
            0 if line.is_open() => Hosted::NoneLeft,
            0 => Hosted::NotOpen,
            _ => Hosted::SetAside,
        });
        let detail = Detail::Number(got.into());
        self.note(queue, None, None, Event::SetAside, detail);
        Ok(())
    }

    pub(super) fn put_back(&mut self, queue: u8, most: u32) {
        let line = &mut self.lines[usize::from(queue)];
        let rooms = line.aside.min(most);
        if rooms == 0 {
            return;
        }
        line.aside -= rooms;
        line.port.put_back(rooms);
        line.judge.put_back(rooms);
        self.coverage.hosted(match line.is_open() {
            true => Hosted::PutBack,
            false => Hosted::PutBackLate,
        });
        let detail = Detail::Number(rooms.into());
        self.note(queue, None, None, Event::PutBack, detail);
    }

    /// A queue that takes no jobs keeps no rooms for them: so the next one is told why.
    #[inline]
    pub(super) fn keep_none_aside(&mut self, queue: u8) {
        let line = self.line(queue);
        if line.aside != 0 && !line.port.look().is_open() {
            self.put_back(queue, u32::MAX);
        }
    }

    pub(super) fn move_into(&mut self, queue: u8, storage: Storage) -> Verdict {
        let line = &mut self.lines[usize::from(queue)];
        let (before, rooms) = (line.entries, line.spoken_for());
        let Some(elements) = storage.elements(before) else {
            return Ok(());
        };
        let got = line.port.move_into(elements)?;
        let capacity = line.port.look().capacity();
        line.judge
            .move_into(elements, rooms, before, got, capacity)?;
        if got {
            line.entries = elements;
        }
        let jobs = !line.judge.live().is_empty();
        let seen = match got {
            false if elements.is_power_of_two() && elements >= 2 => Some(Hosted::TooShort),
            false => Some(Hosted::NoRing),
            true if jobs && elements > before => Some(Hosted::Grown),
            true if jobs && elements < before => Some(Hosted::Shrunk),
            true => None,
        };
        if let Some(seen) = seen {
            self.coverage.hosted(seen);
        }
        let detail = match got {
            true => Detail::Number(elements as u64),
            false => Detail::Text("refused"),
        };
        self.note(queue, None, None, Event::MoveInto, detail);
        Ok(())
    }
}
