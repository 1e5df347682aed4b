//! The seed records of a shard: all of a small file in memory, shared by the process; single ranges of a large one.

use bytes::Bytes;
use windrow_core::JobError;
use windrow_engine::{JobContext, RunError};

use super::PlannedSeed;
use crate::seed::{SeedIndex, SeedRecord};

/// A file up to this size is held in memory, once a process.
const IN_MEMORY_BYTES: u64 = 16 << 20;

pub(super) struct Seeds {
    index: SeedIndex,
    key: String,
    whole: Option<Bytes>,
}

impl Seeds {
    pub(super) async fn open(ctx: &JobContext, seed: &PlannedSeed) -> Result<Self, RunError> {
        let size = usize::try_from(SeedIndex::stored_size(seed.records)).unwrap_or(usize::MAX);
        let index = ctx.asset_up_to(&seed.index_key, size).await?;
        let index = SeedIndex::from_bytes(&index).map_err(|e| JobError::permanent("bad_seed_index", e))?;
        let whole = match seed.bytes <= IN_MEMORY_BYTES {
            true => Some(ctx.asset(&seed.key).await?),
            false => None,
        };
        Ok(Self { index, key: seed.key.clone(), whole })
    }

    /// Seed record `number`, from 0.
    pub(super) async fn record(&self, ctx: &JobContext, number: u64) -> Result<SeedRecord, RunError> {
        let missing = || JobError::permanent("bad_seed_index", format!("there is no seed record {number}"));
        let range = self.index.range(number).ok_or_else(missing)?;
        let bytes = match &self.whole {
            Some(whole) => {
                let bounds = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
                let (start, end) = bounds.filter(|(_, end)| *end <= whole.len()).ok_or_else(missing)?;
                whole.slice(start..end)
            }
            None => {
                let size = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
                ctx.get_bytes(&self.key, Some(range), size).await?
            }
        };
        Ok(SeedIndex::read(number, &bytes).map_err(|e| JobError::permanent("bad_seed_data", e))?)
    }
}
