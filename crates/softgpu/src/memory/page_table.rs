// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A context's page table: virtual addresses to pages of video memory.

use std::collections::BTreeMap;

use super::{Buffer, WORD_BYTES};
use crate::error::GpuError;
use crate::fault::{Fault, FaultKind};

/// The first address that no context has: virtual addresses have 32 bits.
pub const VA_LIMIT: u64 = 1 << 32;

/// Automatic placement begins here; addresses below are for the driver that chooses its own.
const PLACE_FROM: u64 = 1 << 20;

const ENTRIES: usize = 512;
const VALID: u32 = 1;
const READ: u32 = 2;
const WRITE: u32 = 4;
const FLAG_BITS: u32 = 3;

/// What the device may do with a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Permissions {
    /// The device may read.
    pub read: bool,
    /// The device may write.
    pub write: bool,
}

impl Permissions {
    /// Read only.
    pub const READ: Self = Self {
        read: true,
        write: false,
    };
    /// Write only.
    pub const WRITE: Self = Self {
        read: false,
        write: true,
    };
    /// Both.
    pub const READ_WRITE: Self = Self {
        read: true,
        write: true,
    };
}

/// What a command does to an address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// Where an address leads: a word of video memory, and how many follow it in the same page.
pub(crate) struct Span {
    pub(crate) word: usize,
    pub(crate) room: usize,
}

/// A two-level table, and the list of mappings it was filled from.
///
/// # Invariants
///
/// An entry is valid if and only if its page lies in one of `mappings`, which do not overlap. A
/// mapping holds its buffer, so a valid entry never leads to a page with another owner.
pub(crate) struct PageTable {
    page_shift: u32,
    tables: Vec<Option<Box<[u32; ENTRIES]>>>,
    mappings: BTreeMap<u64, Buffer>,
}

impl PageTable {
    /// An empty table for pages of `page_bytes`, a power of two.
    pub(crate) fn new(page_bytes: u64) -> Self {
        let tables = (VA_LIMIT / page_bytes).div_ceil(ENTRIES as u64) as usize;
        Self {
            page_shift: page_bytes.trailing_zeros(),
            tables: vec![None; tables],
            mappings: BTreeMap::new(),
        }
    }

    fn page_bytes(&self) -> u64 {
        1 << self.page_shift
    }

    /// Maps all of `buffer` from `address` on.
    pub(crate) fn map(
        &mut self,
        buffer: &Buffer,
        address: u64,
        permissions: Permissions,
    ) -> Result<(), GpuError> {
        if address == 0 || address & (self.page_bytes() - 1) != 0 {
            return Err(GpuError::Invalid(
                "a mapping begins at a page that is not page 0",
            ));
        }
        let end = address
            .checked_add(buffer.bytes())
            .filter(|&end| end <= VA_LIMIT);
        let Some(end) = end else {
            return Err(GpuError::Invalid("a mapping ends below VA_LIMIT"));
        };
        let before = self.mappings.range(..end).next_back();
        if before.is_some_and(|(start, other)| start + other.bytes() > address) {
            return Err(GpuError::AlreadyMapped { address });
        }
        let flags = VALID
            | if permissions.read { READ } else { 0 }
            | if permissions.write { WRITE } else { 0 };
        for page in 0..buffer.pages() {
            let entry = ((buffer.first_page() + page) << FLAG_BITS) | flags;
            self.set(address + (u64::from(page) << self.page_shift), entry);
        }
        self.mappings.insert(address, buffer.clone());
        Ok(())
    }

    /// Maps all of `buffer` at the lowest free range and returns where that is.
    pub(crate) fn place(
        &mut self,
        buffer: &Buffer,
        permissions: Permissions,
    ) -> Result<u64, GpuError> {
        let mut address = PLACE_FROM.max(self.page_bytes());
        for (&start, other) in &self.mappings {
            if start >= address && start - address >= buffer.bytes() {
                break;
            }
            address = address.max(start + other.bytes());
        }
        if address + buffer.bytes() > VA_LIMIT {
            return Err(GpuError::OutOfAddressSpace {
                bytes: buffer.bytes(),
            });
        }
        self.map(buffer, address, permissions)?;
        Ok(address)
    }

    /// Removes the mapping that begins at `address` and hands its buffer back, to be dropped where
    /// no lock is held.
    pub(crate) fn unmap(&mut self, address: u64) -> Result<Buffer, GpuError> {
        let buffer = self
            .mappings
            .remove(&address)
            .ok_or(GpuError::NotMapped { address })?;
        for page in 0..buffer.pages() {
            self.set(address + (u64::from(page) << self.page_shift), 0);
        }
        Ok(buffer)
    }

    fn set(&mut self, address: u64, entry: u32) {
        let page = (address >> self.page_shift) as usize;
        let table = &mut self.tables[page / ENTRIES];
        table.get_or_insert_with(|| Box::new([0; ENTRIES]))[page % ENTRIES] = entry;
    }

    /// Where `address`, which is a multiple of the word size, leads.
    pub(crate) fn translate(&self, address: u64, access: Access) -> Result<Span, Fault> {
        let page = usize::try_from(address >> self.page_shift).unwrap_or(usize::MAX);
        let table = self.tables.get(page / ENTRIES).and_then(Option::as_ref);
        let entry = table.map_or(0, |table| table[page % ENTRIES]);
        let (needed, denied) = match access {
            Access::Read => (READ, FaultKind::NotReadable),
            Access::Write => (WRITE, FaultKind::NotWritable),
        };
        if entry & VALID == 0 {
            return Err(Fault {
                kind: FaultKind::Unmapped,
                address,
            });
        }
        if entry & needed == 0 {
            return Err(Fault {
                kind: denied,
                address,
            });
        }
        let offset = (address & (self.page_bytes() - 1)) / WORD_BYTES;
        let page_words = self.page_bytes() / WORD_BYTES;
        let word = u64::from(entry >> FLAG_BITS) * page_words + offset;
        Ok(Span {
            word: word as usize,
            room: (page_words - offset) as usize,
        })
    }
}
