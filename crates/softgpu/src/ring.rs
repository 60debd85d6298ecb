// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A context's ring: words in video memory between two counters.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;

use crate::command::{header, Command, Opcode};
use crate::error::RingFull;
use crate::memory::Buffer;
use crate::sync::lock;

/// The words that a driver writes and the firmware reads.
///
/// GET and PUT count words, modulo 2^64; a word's place is its counter modulo the capacity.
/// The driver owns PUT, the firmware owns GET: it moves when a command has *ended*, so a command
/// in progress still stands in the ring. PUT publishes everything written before it; the firmware
/// looks at it when the doorbell rings, and before it would run dry.
///
/// The methods neither sleep nor allocate, apart from a short lock among pushing threads.
pub struct Ring {
    buffer: Buffer,
    capacity: u64,
    get: AtomicU64,
    put: AtomicU64,
    /// PUT before what was published last.
    newest: AtomicU64,
    writer: Mutex<()>,
}

impl Ring {
    /// A ring of `capacity` words, a power of two that fits `buffer`.
    pub(crate) fn new(buffer: Buffer, capacity: usize) -> Self {
        debug_assert!(capacity.is_power_of_two() && capacity <= buffer.words());
        Self {
            buffer,
            capacity: capacity as u64,
            get: AtomicU64::new(0),
            put: AtomicU64::new(0),
            newest: AtomicU64::new(0),
            writer: Mutex::new(()),
        }
    }

    /// The words the ring holds.
    pub fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// Where the firmware is: words of commands that have ended.
    pub fn get(&self) -> u64 {
        self.get.load(Ordering::Acquire)
    }

    /// Where the driver is: words published.
    pub fn put(&self) -> u64 {
        self.put.load(Ordering::Acquire)
    }

    /// Words that can be pushed now. Only the firmware makes it grow, only pushing makes it
    /// shrink.
    pub fn free_words(&self) -> usize {
        self.capacity
            .saturating_sub(self.put().wrapping_sub(self.get())) as usize
    }

    /// Writes `commands` and publishes them together, if all have room. The doorbell is not rung.
    ///
    /// # Errors
    ///
    /// [`RingFull`], and nothing is written.
    pub fn push(&self, commands: &[Command]) -> Result<(), RingFull> {
        let needed = commands.iter().map(Command::words).sum();
        self.publish(needed, |put| {
            commands.iter().for_each(|command| command.emit(put))
        })
    }

    /// Writes raw words, whatever they mean, and publishes them together.
    ///
    /// # Errors
    ///
    /// [`RingFull`], and nothing is written.
    pub fn push_words(&self, words: &[u32]) -> Result<(), RingFull> {
        self.publish(words.len(), |put| words.iter().for_each(|&word| put(word)))
    }

    /// Sets PUT to any value, as a broken driver could. A value that does not lie between GET and
    /// GET plus the capacity faults the context when the firmware sees it.
    pub fn write_put(&self, put: u64) {
        let _writer = lock(&self.writer);
        self.put.store(put, Ordering::Release);
    }

    fn publish(
        &self,
        needed: usize,
        fill: impl FnOnce(&mut dyn FnMut(u32)),
    ) -> Result<(), RingFull> {
        let _writer = lock(&self.writer);
        let free = self.free_words();
        if needed > free {
            return Err(RingFull { needed, free });
        }
        let words = self.buffer.all_words();
        let mut put = self.put.load(Ordering::Relaxed);
        self.newest.store(put, Ordering::Relaxed);
        fill(&mut |word| {
            if let Some(place) = words.get((put & (self.capacity - 1)) as usize) {
                place.store(word, Ordering::Relaxed);
            }
            put = put.wrapping_add(1);
        });
        self.put.store(put, Ordering::Release);
        Ok(())
    }

    /// The word at counter `at`.
    pub fn word(&self, at: u64) -> u32 {
        let place = (at & (self.capacity - 1)) as usize;
        self.buffer
            .all_words()
            .get(place)
            .map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// The fence value at the end of what was published last, if it ends so and nothing is ahead.
    pub(crate) fn newest_alone(&self) -> Option<u64> {
        let put = self.put();
        let words = Command::Fence { value: 0 }.words() as u64;
        let from = put.wrapping_sub(words);
        let fence = header(self.word(from)).is_ok_and(|header| header.opcode == Opcode::Fence);
        let ahead = self.newest.load(Ordering::Relaxed).wrapping_sub(self.get());
        // What lies behind is a huge step ahead.
        let alone = ahead == 0 || ahead > self.capacity;
        let (low, high) = (self.word(from + 1), self.word(from + 2));
        (fence && alone).then_some(u64::from(low) | u64::from(high) << 32)
    }

    /// Firmware: `words` more have been dealt with.
    pub(crate) fn advance(&self, words: u64) {
        let get = self.get.load(Ordering::Relaxed).wrapping_add(words);
        self.get.store(get, Ordering::Release);
    }

    /// Firmware: drops everything published so far, and returns how many words that was (at most
    /// the capacity, for PUT may be nonsense).
    pub(crate) fn discard(&self) -> u64 {
        let _writer = lock(&self.writer);
        let put = self.put.load(Ordering::Relaxed);
        let dropped = put.wrapping_sub(self.get.load(Ordering::Relaxed));
        self.get.store(put, Ordering::Release);
        dropped.min(self.capacity)
    }
}
