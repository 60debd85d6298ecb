// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A job's commands, encoded.

use std::fmt;
use std::sync::Arc;

use crate::Command;

/// The payload of a job: its commands as they will stand in the ring, between the packet that
/// names the job and the one that writes its fence.
pub struct Batch {
    words: Arc<[u32]>,
    /// What the commands use.
    objects: Option<Arc<dyn Send + Sync>>,
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("words", &self.words.len())
            .finish_non_exhaustive()
    }
}

/// What it takes to write a job to a ring again, be it another one.
pub struct Kept {
    pub(super) words: Arc<[u32]>,
    /// How often the firmware has died of it.
    pub(super) deaths: u8,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept")
            .field("words", &self.words.len())
            .field("deaths", &self.deaths)
            .finish()
    }
}

/// Words of the packets at both ends: a header and a fence value each.
const FRAME: usize = 3;

impl Batch {
    /// Words in the ring that a job takes beside its own commands.
    pub const FRAME_WORDS: usize = 2 * FRAME;

    /// Encodes `commands`. Allocates.
    pub fn new(commands: &[Command]) -> Self {
        let body = commands.iter().map(Command::words).sum::<usize>();
        let mut words = Self::begin(body);
        for command in commands {
            command.encode(&mut words);
        }
        Self::end(words)
    }

    /// Takes words as they are, whatever they mean: the device looks at every one. Allocates.
    pub fn from_words(body: &[u32]) -> Self {
        let mut words = Self::begin(body.len());
        words.extend_from_slice(body);
        Self::end(words)
    }

    /// Keeps `objects` (buffers, say, that the commands use) until the job is over.
    pub fn holding(mut self, objects: Arc<dyn Send + Sync>) -> Self {
        self.objects = Some(objects);
        self
    }

    /// Words in the ring that the job takes.
    pub fn ring_words(&self) -> usize {
        self.words.len()
    }

    fn begin(body: usize) -> Vec<u32> {
        let mut words = Vec::with_capacity(body + Self::FRAME_WORDS);
        Command::BeginJob { value: 0 }.encode(&mut words);
        words
    }

    fn end(mut words: Vec<u32>) -> Self {
        Command::Fence { value: 0 }.encode(&mut words);
        Self {
            words: words.into(),
            objects: None,
        }
    }

    /// Writes the fence value into both ends. Until the first run nobody else has the words.
    pub(super) fn stamp(&mut self, value: u64) {
        let Some(words) = Arc::get_mut(&mut self.words) else {
            return;
        };
        let (low, high) = (value as u32, (value >> 32) as u32);
        let last = words.len() - FRAME;
        for frame in [0, last] {
            words[frame + 1] = low;
            words[frame + 2] = high;
        }
    }

    pub(super) fn words(&self) -> Arc<[u32]> {
        Arc::clone(&self.words)
    }
}
