//! Where each record of a normalised seed file is.

use std::ops::Range;

use serde_json::Value;

use super::SeedRecord;

/// How many lengths share one absolute offset.
const BLOCK: usize = 64;
const MAGIC: [u8; 8] = *b"wrseed01";

/// Finds record `k` in the JSONL that [`super::normalise`] wrote. Takes about 4 bytes of memory a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeedIndex {
    /// The length of each line in bytes, with its newline.
    lengths: Vec<u32>,
    /// Where each block of [`BLOCK`] lines begins.
    blocks: Vec<u64>,
    bytes: u64,
}

/// Why an index can't be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    #[error("this is no seed index, or one of another version")]
    Magic,
    #[error("the seed index is cut off or damaged")]
    Damaged,
    #[error("a seed record of {0} bytes is too large to index")]
    TooLarge(usize),
    #[error("seed record {number} can't be read back: {message}; the normalised copy doesn't fit its index")]
    Record { number: u64, message: String },
}

impl SeedIndex {
    /// Appends a record whose line takes `length` bytes.
    pub(super) fn push(&mut self, length: usize) -> Result<(), IndexError> {
        let short = u32::try_from(length).map_err(|_| IndexError::TooLarge(length))?;
        if self.lengths.len().is_multiple_of(BLOCK) {
            self.blocks.push(self.bytes);
        }
        self.lengths.push(short);
        self.bytes += u64::from(short);
        Ok(())
    }

    /// How many records there are.
    pub fn len(&self) -> u64 {
        self.lengths.len() as u64
    }

    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// The size of the normalised copy in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The bytes of record `number` (from 0) in the normalised copy, with its newline.
    pub fn range(&self, number: u64) -> Option<Range<u64>> {
        let at = usize::try_from(number).ok().filter(|at| *at < self.lengths.len())?;
        let block = at / BLOCK;
        let before: u64 = self.lengths[block * BLOCK..at].iter().copied().map(u64::from).sum();
        let start = self.blocks[block] + before;
        Some(start..start + u64::from(self.lengths[at]))
    }

    /// The bytes of the records in `numbers` (end exclusive), which stand next to each other.
    pub fn span(&self, numbers: Range<u64>) -> Option<Range<u64>> {
        let last = numbers.end.checked_sub(1).filter(|last| *last >= numbers.start)?;
        Some(self.range(numbers.start)?.start..self.range(last)?.end)
    }

    /// Reads a record from the bytes of its [`Self::range`].
    ///
    /// # Errors
    /// [`IndexError::Record`] when they aren't the bytes that were written.
    pub fn read(number: u64, bytes: &[u8]) -> Result<SeedRecord, IndexError> {
        let value: Value = serde_json::from_slice(bytes)
            .map_err(|error| IndexError::Record { number, message: error.to_string() })?;
        Ok(SeedRecord::new(number, &value))
    }

    /// How many bytes [`Self::to_bytes`] makes of so many records.
    pub fn stored_size(records: u64) -> u64 {
        (MAGIC.len() as u64 + 8).saturating_add(records.saturating_mul(4))
    }

    /// The index as bytes, to be stored beside the copy: `wrseed01`, the number of records, then their lengths,
    /// little-endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(MAGIC.len() + 8 + 4 * self.lengths.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.len().to_le_bytes());
        for length in &self.lengths {
            bytes.extend_from_slice(&length.to_le_bytes());
        }
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    /// When these are other bytes, or not all of them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, IndexError> {
        let rest = bytes.strip_prefix(&MAGIC).ok_or(IndexError::Magic)?;
        let (count, lengths) = rest.split_first_chunk::<8>().ok_or(IndexError::Damaged)?;
        let (lengths, odd) = lengths.as_chunks::<4>();
        if !odd.is_empty() || u64::from_le_bytes(*count) != lengths.len() as u64 {
            return Err(IndexError::Damaged);
        }
        let mut index = Self::default();
        for length in lengths {
            index.push(u32::from_le_bytes(*length) as usize)?;
        }
        Ok(index)
    }
}
