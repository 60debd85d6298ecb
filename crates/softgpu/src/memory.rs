// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Video memory: the words themselves, and the buffers that are cut from them.
//!
//! Memory is an array of relaxed atomic words: the host and the device may touch the same word at
//! the same time, as on real hardware, and what either reads is then old or new but never
//! undefined. Order comes from elsewhere: PUT is published with release, and so is a fence value.

mod allocator;
mod page_table;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::{fence, AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use crate::error::GpuError;
use crate::firmware::Inbox;
use crate::sync::lock;

use allocator::Allocator;
pub(crate) use page_table::{Access, PageTable};
pub use page_table::{Permissions, VA_LIMIT};

/// Bytes in a word, the unit in which the device works.
pub const WORD_BYTES: u64 = 4;

/// All of a device's video memory.
pub(crate) struct Memory {
    words: Box<[AtomicU32]>,
    page_bytes: u64,
    allocator: Mutex<Allocator>,
    /// Set while the firmware sleeps and a context waits for a semaphore.
    watched: AtomicBool,
    inbox: Arc<Inbox>,
    /// The device has been pulled out, and its memory with it.
    gone: AtomicBool,
}

impl Memory {
    /// Memory of `pages` pages of `page_bytes` (a power of two) each, all zero.
    pub(crate) fn new(pages: u32, page_bytes: u64, inbox: Arc<Inbox>) -> Self {
        let words = pages as usize * (page_bytes / WORD_BYTES) as usize;
        Self {
            words: (0..words).map(|_| AtomicU32::new(0)).collect(),
            page_bytes,
            allocator: Mutex::new(Allocator::new(pages)),
            watched: AtomicBool::new(false),
            inbox,
            gone: AtomicBool::new(false),
        }
    }

    pub(crate) fn set_gone(&self) {
        self.gone.store(true, Ordering::Release);
    }

    fn check_present(&self) -> Result<(), GpuError> {
        if self.gone.load(Ordering::Acquire) {
            return Err(GpuError::Gone);
        }
        Ok(())
    }

    /// `count` words from `first` on; empty if they are not all there.
    pub(crate) fn words(&self, first: usize, count: usize) -> &[AtomicU32] {
        first
            .checked_add(count)
            .and_then(|end| self.words.get(first..end))
            .unwrap_or(&[])
    }

    pub(crate) fn page_bytes(&self) -> u64 {
        self.page_bytes
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.words.len() as u64 * WORD_BYTES
    }

    pub(crate) fn bytes_in_use(&self) -> u64 {
        u64::from(lock(&self.allocator).used()) * self.page_bytes
    }

    /// Says that the firmware is about to sleep until a word changes, or no longer does. After
    /// it has said so, it must look at the words once more.
    pub(crate) fn watch(&self, watched: bool) {
        self.watched.store(watched, Ordering::Relaxed);
        if watched {
            // Pairs with the fence in `host_wrote`: either the firmware sees the new word, or the
            // host sees the flag.
            fence(Ordering::SeqCst);
        }
    }

    fn host_wrote(&self) {
        fence(Ordering::SeqCst);
        if self.watched.load(Ordering::Relaxed) {
            self.inbox.wake();
        }
    }
}

/// Takes `bytes` (rounded up to whole pages) of `memory`, zeroed.
pub(crate) fn allocate(memory: &Arc<Memory>, bytes: u64) -> Result<Buffer, GpuError> {
    if bytes == 0 {
        return Err(GpuError::Invalid("a buffer has at least one byte"));
    }
    memory.check_present()?;
    let full = GpuError::OutOfMemory { bytes };
    let Ok(pages) = u32::try_from(bytes.div_ceil(memory.page_bytes)) else {
        return Err(full);
    };
    let Some(first_page) = lock(&memory.allocator).allocate(pages) else {
        return Err(full);
    };
    let buffer = Buffer {
        block: Arc::new(Block {
            memory: Arc::clone(memory),
            first_page,
            pages,
        }),
    };
    // What the last owner left must not show.
    for word in buffer.all_words() {
        word.store(0, Ordering::Relaxed);
    }
    Ok(buffer)
}

/// The pages of a buffer; they are free again when the last handle and the last mapping are gone.
struct Block {
    memory: Arc<Memory>,
    first_page: u32,
    pages: u32,
}

impl Drop for Block {
    fn drop(&mut self) {
        lock(&self.memory.allocator).free(self.first_page, self.pages);
    }
}

/// A range of video memory.
///
/// A buffer is a shared handle. Each mapping holds one too, so the memory stays until the last
/// handle is dropped *and* the last mapping is removed: a context can never reach memory that has
/// a new owner. It may outlive its device.
///
/// The processor's reads and writes are relaxed word by word and race with the device's as they
/// would on hardware: fence or semaphore first. They do not sleep and do not allocate.
#[derive(Clone)]
pub struct Buffer {
    block: Arc<Block>,
}

impl Buffer {
    /// The size in bytes: what was asked for, rounded up to whole pages.
    pub fn bytes(&self) -> u64 {
        u64::from(self.block.pages) * self.block.memory.page_bytes
    }

    /// The size in words.
    pub fn words(&self) -> usize {
        (self.bytes() / WORD_BYTES) as usize
    }

    pub(crate) fn first_page(&self) -> u32 {
        self.block.first_page
    }

    pub(crate) fn pages(&self) -> u32 {
        self.block.pages
    }

    pub(crate) fn is_of(&self, memory: &Arc<Memory>) -> bool {
        Arc::ptr_eq(&self.block.memory, memory)
    }

    pub(crate) fn all_words(&self) -> &[AtomicU32] {
        let page_words = (self.block.memory.page_bytes / WORD_BYTES) as usize;
        self.block
            .memory
            .words(self.block.first_page as usize * page_words, self.words())
    }

    fn range(&self, first: usize, count: usize) -> Result<&[AtomicU32], GpuError> {
        first
            .checked_add(count)
            .and_then(|end| self.all_words().get(first..end))
            .ok_or(GpuError::OutOfBounds {
                first,
                count,
                words: self.words(),
            })
    }

    /// Writes `data` from word `first` on, and lets contexts that wait for a semaphore look again.
    ///
    /// # Errors
    ///
    /// [`GpuError::OutOfBounds`], [`GpuError::Gone`], and nothing is written.
    pub fn write(&self, first: usize, data: &[u32]) -> Result<(), GpuError> {
        self.block.memory.check_present()?;
        // What the caller did before must show to who sees the words.
        fence(Ordering::Release);
        for (word, &value) in self.range(first, data.len())?.iter().zip(data) {
            word.store(value, Ordering::Relaxed);
        }
        self.block.memory.host_wrote();
        Ok(())
    }

    /// Reads `into.len()` words from word `first` on.
    ///
    /// # Errors
    ///
    /// [`GpuError::OutOfBounds`], [`GpuError::Gone`], and `into` is unchanged.
    pub fn read(&self, first: usize, into: &mut [u32]) -> Result<(), GpuError> {
        self.block.memory.check_present()?;
        self.post_mortem(first, into)
    }

    /// As [`Buffer::read`], also when the device is gone: then what was there last. For judges;
    /// no driver could.
    ///
    /// # Errors
    ///
    /// [`GpuError::OutOfBounds`], and `into` is unchanged.
    pub fn post_mortem(&self, first: usize, into: &mut [u32]) -> Result<(), GpuError> {
        let words = self.range(first, into.len())?;
        for (value, word) in into.iter_mut().zip(words) {
            *value = word.load(Ordering::Relaxed);
        }
        fence(Ordering::Acquire);
        Ok(())
    }

    /// Copies everything to another buffer, as far as that reaches. Neither may be in use.
    pub(crate) fn copy_to(&self, other: &Self) {
        for (to, from) in other.all_words().iter().zip(self.all_words()) {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        fence(Ordering::SeqCst);
    }

    /// Reads one word.
    ///
    /// # Errors
    ///
    /// [`GpuError::OutOfBounds`], [`GpuError::Gone`].
    pub fn read_word(&self, index: usize) -> Result<u32, GpuError> {
        let mut word = [0];
        self.read(index, &mut word)?;
        Ok(word[0])
    }

    /// The whole buffer's words; of a device that is gone, what was there last.
    pub fn to_vec(&self) -> Vec<u32> {
        let words = self
            .all_words()
            .iter()
            .map(|word| word.load(Ordering::Relaxed))
            .collect();
        fence(Ordering::Acquire);
        words
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer")
            .field("first_page", &self.block.first_page)
            .field("bytes", &self.bytes())
            .finish()
    }
}
