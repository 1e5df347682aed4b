//! What a run of a `generate` job does. The job itself plans shards, waits for them, and assembles the dataset; a shard
//! makes the records of a range of indices and writes them as parts.

mod assemble;
mod plan;
pub(crate) mod record;
mod seeds;
mod shard;
pub(crate) mod tally;
mod writer;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use windrow_core::JobError;
use windrow_engine::{JobContext, Outcome, RunError};

use crate::spec::PinnedSpec;

/// The spec of a child job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardSpec {
    pub schema_version: u32,
    /// The first index of the shard.
    pub first: u64,
    /// How many indices it has.
    pub count: u64,
}

/// What the database knows and a run needs: read by the workload's `load`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Input {
    /// Of the job that a user submitted: where its seed data is, and what of its shards' results is to be judged.
    Job { seed: SeedObject, judged: Sums },
    /// Of a shard: what its parent is pinned to, the seed data as the plan left it, and after which of the parent's runs a
    /// person last retried it (0 for never).
    Shard { pinned: Box<PinnedSpec>, job: windrow_core::JobId, seed: PlannedSeed, reopened: i64 },
}

/// Seed data before the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "source", rename_all = "snake_case")]
pub enum SeedObject {
    /// As it was uploaded.
    Stored { key: String },
    /// One record that stands in the spec itself.
    Inline { record: Value },
}

/// Seed data as JSONL of its valid records, with the places of their lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedSeed {
    /// The JSONL.
    pub key: String,
    /// The [`crate::seed::SeedIndex`] of it.
    pub index_key: String,
    pub records: u64,
    pub bytes: u64,
}

/// How many records and rejects shards came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    pub records: u64,
    pub rejects: u64,
}

/// The checkpoint of the job that a user submitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobState {
    pub seed: PlannedSeed,
    /// The indices below this one have a shard; 0 while the plan is being made.
    pub planned: u64,
    /// The end of a refill whose shards are being added: decided once, so that a crash in between moves no index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refilling: Option<u64>,
}

/// Does what the lease asks for.
pub async fn run(ctx: JobContext, input: Value) -> Result<Outcome, RunError> {
    let input: Input = serde_json::from_value(input).map_err(|error| {
        JobError::permanent("bad_input", format!("the loaded input can't be read: {error}"))
    })?;
    match input {
        Input::Shard { pinned, job, seed, reopened } => shard::run(&ctx, *pinned, job, &seed, reopened).await,
        Input::Job { seed, judged } => match ctx.state::<JobState>()? {
            Some(state) if state.planned > 0 => assemble::run(&ctx, state, judged).await,
            state => plan::run(&ctx, &seed, state).await,
        },
    }
}
