//! The first run of a job: reads the whole seed file once, and cuts the work into shards.

use std::io::Write as _;
use std::path::Path;

use bytes::Bytes;
use futures::StreamExt as _;
use tokio_util::io::{StreamReader, SyncIoBridge};
use windrow_api_types::worker::NewChild;
use windrow_core::JobError;
use windrow_engine::{JobContext, Outcome, RunError};

use super::{JobState, PlannedSeed, SeedObject, ShardSpec};
use crate::seed::{SeedIndex, SeedLimits, SeedReader, SeedReport, normalise};
use crate::spec::{OnError, PinnedSpec, SCHEMA_VERSION};
use crate::template::TemplateDocument;
use crate::workload::NAME;

/// Plans what has no plan yet. Done again after a crash, it changes nothing.
pub(super) async fn run(
    ctx: &JobContext,
    seed: &SeedObject,
    state: Option<JobState>,
) -> Result<Outcome, RunError> {
    let pinned: PinnedSpec = ctx.spec()?;
    let records = pinned.spec.records;
    let mut state = match state {
        Some(state) => state,
        None => {
            ctx.progress("reading seed data", 0, Some(records)).await;
            let seed = normalised(ctx, &pinned, seed).await?;
            let state = JobState { seed, planned: 0, refilling: None };
            ctx.checkpoint(&state, Vec::new(), Vec::new()).await?;
            state
        }
    };
    add_shards(ctx, 0, records, pinned.spec.shard_size).await?;
    state.planned = records;
    ctx.progress("generating", 0, Some(records)).await;
    ctx.checkpoint(&state, Vec::new(), Vec::new()).await?;
    Ok(Outcome::Await)
}

/// Adds the shards of the indices from `first` to before `end`. A shard's key is its first index, so that a repeated
/// plan makes no shard twice.
pub(super) async fn add_shards(ctx: &JobContext, first: u64, end: u64, size: u32) -> Result<(), RunError> {
    let size = u64::from(size);
    let mut children = Vec::new();
    let mut at = first;
    while at < end {
        let count = size.min(end - at);
        let spec = ShardSpec { schema_version: SCHEMA_VERSION, first: at, count };
        let spec = serde_json::to_value(spec).expect("a shard's spec is three numbers");
        children.push(NewChild { key: format!("{at:010}"), workload: NAME.to_owned(), spec });
        at += count;
    }
    ctx.add_children(children).await
}

/// Copies the valid seed records to JSONL with an index, both kept for the job.
async fn normalised(
    ctx: &JobContext,
    pinned: &PinnedSpec,
    seed: &SeedObject,
) -> Result<PlannedSeed, RunError> {
    let document = TemplateDocument::parse(&pinned.template.text).map_err(|errors| {
        let first = errors.first().map(ToString::to_string).unwrap_or_default();
        JobError::permanent("bad_template", format!("the pinned template can't be read: {first}"))
    })?;
    let path = ctx.scratch()?.join("seed.jsonl");
    let stream = match seed {
        SeedObject::Stored { key } => ctx.get(key, None).await?,
        SeedObject::Inline { record } => futures::stream::iter([Ok(Bytes::from(record.to_string()))]).boxed(),
    };
    let reader = SyncIoBridge::new(StreamReader::new(stream));
    let target = path.clone();
    let requirements = document.schema_requirements;
    let work = move || copy_valid(std::io::BufReader::with_capacity(1 << 20, reader), &requirements, &target);
    let (report, index) = tokio::task::spawn_blocking(work).await.map_err(|error| {
        JobError::transient("seed_reader_failed", format!("reading the seed data failed: {error}"))
    })??;
    check(&report, pinned.spec.on_invalid)?;
    let stored = ctx.put_file("checkpoints", "seed.jsonl", "application/x-ndjson", &path).await?;
    let index_bytes = index.to_bytes().into();
    let stored_index = ctx.put("checkpoints", "seed.index", "application/octet-stream", index_bytes).await?;
    Ok(PlannedSeed { key: stored.key, index_key: stored_index.key, records: index.len(), bytes: stored.size })
}

fn copy_valid(
    reader: impl std::io::Read + Send,
    requirements: &[crate::seed::FieldPath],
    target: &Path,
) -> Result<(SeedReport, SeedIndex), JobError> {
    let disk = |error: std::io::Error| {
        JobError::transient("scratch_failed", format!("{}: {error}", target.display()))
    };
    let mut out = std::io::BufWriter::with_capacity(1 << 20, std::fs::File::create(target).map_err(disk)?);
    let reader = SeedReader::open(reader, SeedLimits::default()).map_err(|e| bad_seed(&e))?;
    let normalised = normalise(reader, requirements, &mut out).map_err(|e| bad_seed(&e))?;
    out.flush().map_err(disk)?;
    Ok(normalised)
}

fn bad_seed(error: &crate::seed::SeedError) -> JobError {
    match error {
        crate::seed::SeedError::Io(_) => JobError::transient("seed_unreadable", error),
        _ => JobError::user("bad_seed_data", format!("the seed data is broken: {error}")),
    }
}

/// What a user must mend before any record is made.
fn check(report: &SeedReport, on_invalid: OnError) -> Result<(), JobError> {
    let faults = || {
        let shown: Vec<String> = report.bad.iter().map(ToString::to_string).collect();
        shown.join("; ")
    };
    if report.valid == 0 {
        return Err(JobError::user(
            "no_valid_seed_record",
            format!("no seed record can be used. {}", faults()),
        ));
    }
    if report.invalid > 0 && on_invalid == OnError::Fail {
        let detail =
            format!("{} seed records can't be used, and on_invalid is fail. {}", report.invalid, faults());
        return Err(JobError::user("invalid_seed_records", detail));
    }
    Ok(())
}
