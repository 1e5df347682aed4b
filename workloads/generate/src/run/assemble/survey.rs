//! A first look at all records: what an export must know before it begins.

use std::collections::HashSet;
use std::io::Cursor;

use bytes::Bytes;
use windrow_api_types::worker::Part;
use windrow_core::JobError;
use windrow_engine::{JobContext, RunError};

use super::part_bytes;
use crate::dedup::{Dedup, DedupMode};
use crate::export::{Columns, Folders, Format, PartitionBy};
use crate::record::{PartLine, PartReader};
use crate::spec::PinnedSpec;
use crate::template::TemplateDocument;

/// What is known of the records before any is exported.
pub(super) struct Survey {
    pub(super) columns: Columns,
    pub(super) folders: Folders,
    pub(super) duplicates: HashSet<u64>,
}

/// Reads all parts once: exports need to know every column and folder beforehand, and which records are duplicates.
pub(super) async fn survey(
    ctx: &JobContext,
    pinned: &PinnedSpec,
    parts: &[Part],
) -> Result<Survey, RunError> {
    let mode = pinned.spec.dedup;
    let by = &pinned.spec.partition_by;
    let needs_columns = pinned.spec.formats.iter().any(|format| *format != Format::Jsonl);
    let mut survey =
        Survey { columns: declared(pinned)?, folders: Folders::default(), duplicates: HashSet::new() };
    if mode == DedupMode::None && !needs_columns && *by == PartitionBy::None {
        return Ok(survey);
    }
    let mut dedup = Dedup::new(mode);
    for part in parts {
        ctx.check_stop()?;
        let bytes = part_bytes(ctx, part).await?;
        let by = by.clone();
        (survey, dedup) = tokio::task::spawn_blocking(move || survey_part(&bytes, &by, survey, dedup))
            .await
            .map_err(|error| JobError::transient("survey_failed", error))??;
    }
    Ok(survey)
}

fn survey_part(
    bytes: &Bytes,
    by: &PartitionBy,
    mut survey: Survey,
    mut dedup: Dedup,
) -> Result<(Survey, Dedup), JobError> {
    let broken = |error: &dyn std::fmt::Display| JobError::permanent("bad_part", error);
    let mut reader = PartReader::open(Cursor::new(bytes)).map_err(|e| broken(&e))?;
    while let Some(line) = reader.next().map_err(|e| broken(&e))? {
        let PartLine::Record(record) = line else { continue };
        survey.columns.observe_raw(&record).map_err(|e| broken(&e))?;
        let output = record.output.iter().map(|(name, value)| {
            serde_json::from_str(value.get()).map(|value| (name.clone().into_owned(), value))
        });
        let output = output.collect::<Result<_, _>>().map_err(|e| broken(&e))?;
        if dedup.duplicate_of(record.index, &output).is_some() {
            survey.duplicates.insert(record.index);
        } else {
            survey.folders.observe(by, &record).map_err(|e| broken(&e))?;
        }
    }
    Ok((survey, dedup))
}

/// The columns that the template promises, so that a dataset without a record has them too.
fn declared(pinned: &PinnedSpec) -> Result<Columns, JobError> {
    let document = TemplateDocument::parse(&pinned.template.text)
        .map_err(|_| JobError::permanent("bad_template", "the pinned template can't be read"))?;
    let schema = |field: &str| match &document.output {
        Some(_) => None,
        None => document.steps.iter().find(|step| step.id == field).and_then(|step| step.schema.as_ref()),
    };
    let fields = document.output_fields();
    let steps = document.steps.iter().map(|step| step.id.as_str());
    Ok(Columns::declare(fields.iter().map(|field| (*field, schema(field))), steps))
}
