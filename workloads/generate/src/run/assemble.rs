//! The last run of a job: its shards have ended, their parts become the dataset's files.

mod artifacts;
mod survey;

use std::io::Cursor;
use std::path::PathBuf;

use bytes::Bytes;
use indexmap::IndexMap;
use serde_json::json;
use tokio::runtime::Handle;
use windrow_api_types::worker::{Output, Part};
use windrow_core::{JobError, JobStatus};
use windrow_engine::{JobContext, Outcome, RunError};

use super::shard::ShardState;
use super::tally::Tally;
use super::{JobState, Sums, plan};
use crate::export::{
    Directory, ExportError, Exported, Exporter, Manifest, Options, ShortfallReason, Sink, TemplateRef,
    write_document, write_documents,
};
use crate::record::{PartLine, PartReader};
use crate::spec::{PinnedSpec, SEED_FIELD};
use artifacts::put_all;
use survey::{Survey, survey};

/// The file of a job that makes seed records.
const SEEDS: &str = "seed.jsonl";
/// How many children or parts one page has.
const PAGE: usize = 500;
/// The largest part that is read; a part has at most 50 records, or what came in ten seconds.
const MAX_PART_BYTES: usize = 1 << 30;
/// A refill attempts at most this many times the records that were asked for.
const MAX_ATTEMPTS: u64 = 3;

pub(super) async fn run(ctx: &JobContext, state: JobState, judged: Sums) -> Result<Outcome, RunError> {
    let pinned: PinnedSpec = ctx.spec()?;
    ctx.progress("assembling", state.planned, Some(state.planned)).await;
    let mut state = state;
    if let Some(end) = state.refilling {
        return add_refill(ctx, &pinned, &mut state, end).await;
    }
    let shards = Shards::read(ctx).await?;
    if shards.unmade {
        // A person had the job go on after it had ended: its shards run before it. One may have died again already, and this
        // job then ends with it.
        return Ok(Outcome::Await);
    }
    shards.check_error_rate(&pinned, judged)?;
    let parts = all_parts(ctx).await?;
    let survey = survey(ctx, &pinned, &parts).await?;
    if let Some(outcome) = refill(ctx, &pinned, &mut state, &shards, &survey).await? {
        return Ok(outcome);
    }
    let work = Assembly { ctx: ctx.clone(), pinned, shards, parts, survey };
    let directory = ctx.scratch()?.join("dataset");
    let (manifest, work, directory) =
        tokio::task::spawn_blocking(move || work.write(directory)).await.map_err(|error| {
            JobError::transient("export_failed", format!("the export ended early: {error}"))
        })??;
    let artifacts = put_all(ctx, &manifest, &directory, work.pinned.spec.make_seeds.is_some()).await?;
    let output = Output { result: result(&manifest), artifacts };
    Ok(if work.shards.exceeded { Outcome::Partial(output) } else { Outcome::Done(output) })
}

/// What the shards say of themselves.
#[derive(Default)]
struct Shards {
    tally: Tally,
    /// Whether the budget ended any of them.
    exceeded: bool,
    /// Whether any of them has not ended, or died.
    unmade: bool,
}

impl Shards {
    async fn read(ctx: &JobContext) -> Result<Self, RunError> {
        let mut shards = Self::default();
        let mut after = None;
        loop {
            let page = ctx.children(after.take(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(shards) };
            after = Some(last.id);
            for child in page {
                shards.exceeded |= child.status == JobStatus::BudgetExceeded;
                shards.unmade |= !matches!(child.status, JobStatus::Completed | JobStatus::BudgetExceeded);
                let broken = |error: serde_json::Error| {
                    let what = format!("the result of shard {} can't be read: {error}", child.key);
                    JobError::permanent("bad_result", what)
                };
                let tally: Tally = match (child.result.clone(), child.state.clone()) {
                    (Some(result), _) => serde_json::from_value(result).map_err(broken)?,
                    // a shard that ended without a word has made what its last checkpoint says
                    (None, Some(state)) => serde_json::from_value::<ShardState>(state).map_err(broken)?.tally,
                    (None, None) => continue,
                };
                shards.tally.add(&tally);
            }
        }
    }

    /// The last word: shards judge themselves, and each other only as they end ([`crate::use_cases::error_rate`]).
    /// What a person accepted by retrying the job is not among `judged`.
    fn check_error_rate(&self, pinned: &PinnedSpec, judged: Sums) -> Result<(), RunError> {
        let mut tally = self.tally.clone();
        tally.earlier_records = tally.records.saturating_sub(judged.records);
        tally.earlier_rejects = tally.rejects.saturating_sub(judged.rejects);
        match tally.excess(pinned.spec.max_error_rate) {
            Some(error) if !self.exceeded => Err(error.into()),
            _ => Ok(()),
        }
    }
}

async fn all_parts(ctx: &JobContext) -> Result<Vec<Part>, RunError> {
    let mut parts: Vec<Part> = Vec::new();
    loop {
        let after = parts.last().map(|part| (part.first, part.key.clone()));
        let page = ctx.parts(after, PAGE).await?;
        if page.is_empty() {
            return Ok(parts);
        }
        parts.extend(page);
    }
}

async fn part_bytes(ctx: &JobContext, part: &Part) -> Result<Bytes, RunError> {
    let size = usize::try_from(part.size).unwrap_or(MAX_PART_BYTES).min(MAX_PART_BYTES);
    ctx.get_bytes(&part.key, None, size).await
}

/// With `refill`, draws further indices until the records that were asked for stand, or three times as many were tried.
async fn refill(
    ctx: &JobContext,
    pinned: &PinnedSpec,
    state: &mut JobState,
    shards: &Shards,
    survey: &Survey,
) -> Result<Option<Outcome>, RunError> {
    let wanted = pinned.spec.records;
    let standing = shards.tally.records.saturating_sub(survey.duplicates.len() as u64);
    let limit = wanted.saturating_mul(MAX_ATTEMPTS);
    if !pinned.spec.refill || shards.exceeded || standing >= wanted || state.planned >= limit {
        return Ok(None);
    }
    let end = limit.min(state.planned + (wanted - standing));
    state.refilling = Some(end);
    ctx.checkpoint(state, Vec::new(), Vec::new()).await?;
    add_refill(ctx, pinned, state, end).await.map(Some)
}

/// Adds the shards of a refill that was decided; done again after a crash, it changes nothing.
async fn add_refill(
    ctx: &JobContext,
    pinned: &PinnedSpec,
    state: &mut JobState,
    end: u64,
) -> Result<Outcome, RunError> {
    plan::add_shards(ctx, state.planned, end, pinned.spec.shard_size).await?;
    ctx.progress("generating", state.planned, Some(end)).await;
    state.planned = end;
    state.refilling = None;
    ctx.checkpoint(state, Vec::new(), Vec::new()).await?;
    Ok(Outcome::Await)
}

/// All that the export needs, on a thread where it may block.
struct Assembly {
    ctx: JobContext,
    pinned: PinnedSpec,
    shards: Shards,
    parts: Vec<Part>,
    survey: Survey,
}

impl Assembly {
    fn write(self, directory: PathBuf) -> Result<(Manifest, Self, PathBuf), RunError> {
        let failed = |error: ExportError| match error {
            ExportError::Write { .. } => JobError::transient("export_failed", error),
            _ => JobError::permanent("export_failed", error),
        };
        let spec = &self.pinned.spec;
        let mut options = Options::new(spec.formats.clone(), self.survey.columns.clone());
        options.partition = spec.partition_by.clone();
        options.folders = self.survey.folders.clone();
        options.skip = self.survey.duplicates.clone();
        let sink = Box::new(Directory::new(&directory));
        let mut exporter = Exporter::start(sink, options).map_err(failed)?;
        let runtime = Handle::current();
        for part in &self.parts {
            self.ctx.check_stop()?;
            let bytes = runtime.block_on(part_bytes(&self.ctx, part))?;
            exporter.push_part(Cursor::new(bytes)).map_err(failed)?;
        }
        let (mut sink, exported) = exporter.finish().map_err(failed)?;
        let manifest = self.manifest(exported);
        if self.pinned.spec.make_seeds.is_some() {
            self.write_seeds(&mut *sink)?;
        }
        write_documents(&mut *sink, &manifest, &self.survey.columns).map_err(failed)?;
        Ok((manifest, self, directory))
    }

    /// The seed records alone, ready to be seed data: a job that makes some has at most 1,000.
    fn write_seeds(&self, sink: &mut dyn Sink) -> Result<(), RunError> {
        let broken = |error: &dyn std::fmt::Display| JobError::permanent("bad_part", error);
        let runtime = Handle::current();
        let mut lines = String::new();
        for part in &self.parts {
            let bytes = runtime.block_on(part_bytes(&self.ctx, part))?;
            let mut reader = PartReader::open(Cursor::new(&bytes)).map_err(|e| broken(&e))?;
            while let Some(line) = reader.next().map_err(|e| broken(&e))? {
                let PartLine::Record(record) = line else { continue };
                let seed =
                    record.field(SEED_FIELD).filter(|_| !self.survey.duplicates.contains(&record.index));
                if let Some(seed) = seed {
                    lines.push_str(seed.get());
                    lines.push('\n');
                }
            }
        }
        let written = write_document(sink, SEEDS, &lines);
        written.map_err(|error| JobError::transient("export_failed", error))?;
        Ok(())
    }

    fn manifest(&self, exported: Exported) -> Manifest {
        let pinned = &self.pinned;
        let template = TemplateRef {
            id: pinned.template.id.clone(),
            version: pinned.template.version,
            name: pinned.template.name.clone(),
        };
        let (tally, requested) = (&self.shards.tally, pinned.spec.records);
        let made = (self.ctx.lease().run.job, self.ctx.now());
        let models = tally.models.clone();
        let mut manifest = Manifest::new(made, template, pinned.random_seed(), requested, models, exported);
        manifest.partial = self.shards.exceeded;
        manifest.partition_by = pinned.spec.partition_by.clone();
        manifest.partition_fallback = self.survey.folders.fallback().clone();
        manifest.shortfall = shortfall(requested, &manifest, tally, self.survey.duplicates.len() as u64);
        manifest
    }
}

/// Why records are missing; the numbers add up to the difference.
fn shortfall(
    requested: u64,
    manifest: &Manifest,
    tally: &Tally,
    duplicates: u64,
) -> IndexMap<ShortfallReason, u64> {
    let mut missing = requested.saturating_sub(manifest.records);
    let mut shortfall = IndexMap::new();
    let reasons = [
        (ShortfallReason::Rejected, tally.rejects),
        (ShortfallReason::Duplicate, duplicates),
        (ShortfallReason::BudgetExceeded, missing),
    ];
    for (reason, count) in reasons {
        let count = count.min(missing);
        if count > 0 {
            shortfall.insert(reason, count);
        }
        missing -= count;
    }
    shortfall
}

/// What the job says about its output.
fn result(manifest: &Manifest) -> serde_json::Value {
    json!({
        "requested": manifest.requested,
        "records": manifest.records,
        "rejects": manifest.rejects,
        "partial": manifest.partial,
        "shortfall": manifest.shortfall,
        "partition_fallback": manifest.partition_fallback,
        "models": manifest.models,
        "cost_usd": manifest.cost_usd,
        "files": manifest.files,
    })
}
