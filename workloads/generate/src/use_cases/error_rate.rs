//! Whether so many records of a job have failed that it shall end. A shard of 50 records or more sees it by itself; of
//! smaller ones only all together can tell, so each that completes looks at those that have.

use windrow_core::{JobError, JobSeq};
use windrow_store::{Conn, StoreError};

use crate::run::ShardSpec;
use crate::run::tally::Tally;
use crate::spec::{JobSpec, PinnedSpec};
use crate::store::shards;

/// A job's shards are summed about so often: many small ones must not read all the others at the end of each.
const LOOKS: u64 = 64;
/// The commonest errors are told from so many of the latest shards.
const TOLD_FROM: u32 = 500;

/// What a shard that completes fails with when too many records of all shards have failed, its own among them. Its
/// failure stops the shards that nobody has claimed; those in flight settle.
///
/// # Errors
/// When the database can't be read.
pub async fn judge(
    conn: &mut Conn,
    parent: JobSeq,
    shard: ShardSpec,
) -> Result<Option<JobError>, StoreError> {
    let Some(job) = shards::parent(conn, parent).await? else { return Ok(None) };
    let Ok(PinnedSpec { spec, .. }) = serde_json::from_str(&job.spec) else { return Ok(None) };
    if !looks(shard, &spec) {
        return Ok(None);
    }
    let sums = shards::judged(conn, parent).await?;
    let mut tally = Tally { records: sums.records, rejects: sums.rejects, ..Tally::default() };
    if !tally.is_over(spec.max_error_rate) {
        return Ok(None);
    }
    for output in shards::with_rejects(conn, parent, TOLD_FROM).await? {
        let Ok(of_shard) = serde_json::from_str::<Tally>(&output) else { continue };
        for (error, count) in of_shard.errors {
            tally.count_error(error, count);
        }
    }
    Ok(tally.excess(spec.max_error_rate))
}

/// Whether it is this shard's turn to look: that of every one in a job of up to [`LOOKS`] shards.
fn looks(shard: ShardSpec, spec: &JobSpec) -> bool {
    let size = u64::from(spec.shard_size).max(1);
    let stride = spec.records.div_ceil(size).div_ceil(LOOKS).max(1);
    (shard.first / size) % stride == stride - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn many_small_shards_look_seldom() {
        let count = |records: u64, size: u32| {
            let spec =
                json!({"template": "t", "seed": "sample:poems", "records": records, "shard_size": size});
            let spec = JobSpec::from_value(spec).unwrap();
            let shard = |first| ShardSpec { schema_version: 1, first, count: size.into() };
            (0..records).step_by(size as usize).filter(|first| looks(shard(*first), &spec)).count()
        };
        assert_eq!((count(100, 25), count(640, 10)), (4, 64));
        assert!((60..=64).contains(&count(100_000, 10)), "{}", count(100_000, 10));
    }
}
