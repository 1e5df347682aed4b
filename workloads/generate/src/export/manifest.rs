//! `manifest.json`: what an export holds and where it came from, for programs.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use windrow_core::{JobId, PicoUsd, Timestamp};

use super::{ExportError, Exported, ExportedFile, FallbackReason, PartitionBy, Sink, write_document};

/// The manifest's file name.
pub const MANIFEST: &str = "manifest.json";

/// The template that the records were made with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateRef {
    pub id: String,
    pub version: u32,
    pub name: String,
}

/// What one model used, rejected and repeated calls too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelUsage {
    pub calls: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cost_usd: PicoUsd,
}

/// Why a record that was asked for is not in the dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShortfallReason {
    /// A step failed for good; it stands in `rejects.jsonl`.
    Rejected,
    /// It was dropped as a duplicate of another.
    Duplicate,
    /// The budget ended before it was made.
    BudgetExceeded,
    /// The job was cancelled before it was made.
    Cancelled,
    /// The job failed before it was made.
    Failed,
}

impl ShortfallReason {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Duplicate => "duplicate",
            Self::BudgetExceeded => "budget_exceeded",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }
}

/// What an export holds and where it came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// 1.
    pub schema_version: u32,
    pub job_id: JobId,
    /// When the export was made.
    pub created_at: Timestamp,
    pub template: TemplateRef,
    /// The seed of all random choices.
    pub random_seed: u64,
    /// How many records were asked for.
    pub requested: u64,
    /// How many the dataset holds.
    pub records: u64,
    pub rejects: u64,
    /// Whether the job ended, or was exported, before all indices were attempted.
    pub partial: bool,
    /// Why `records` is less than `requested`; the numbers add up to the difference.
    pub shortfall: IndexMap<ShortfallReason, u64>,
    /// Usage by model.
    pub models: IndexMap<String, ModelUsage>,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cost_usd: PicoUsd,
    pub partition_by: PartitionBy,
    /// Records in the folder [`super::FALLBACK`], by what kept them from a folder of their own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub partition_fallback: BTreeMap<FallbackReason, u64>,
    /// All files but this one and the card (which stands there twice).
    pub files: Vec<ExportedFile>,
}

impl Manifest {
    /// The manifest of an export. Its totals are the sums over `models`.
    pub fn new(
        (job_id, created_at): (JobId, Timestamp),
        template: TemplateRef,
        random_seed: u64,
        requested: u64,
        models: IndexMap<String, ModelUsage>,
        exported: Exported,
    ) -> Self {
        Self {
            schema_version: 1,
            job_id,
            created_at,
            template,
            random_seed,
            requested,
            records: exported.records,
            rejects: exported.rejects,
            partial: false,
            shortfall: IndexMap::new(),
            input_tokens: models.values().map(|usage| usage.input_tokens).sum(),
            output_tokens: models.values().map(|usage| usage.output_tokens).sum(),
            cost_usd: models.values().map(|usage| usage.cost_usd).sum(),
            models,
            partition_by: PartitionBy::None,
            partition_fallback: BTreeMap::new(),
            files: exported.files,
        }
    }

    /// The text of `manifest.json`.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a manifest's keys are all texts");
        text.push('\n');
        text
    }

    /// Writes `manifest.json`.
    ///
    /// # Errors
    /// When the sink can't take it.
    pub fn write(&self, sink: &mut dyn Sink) -> Result<ExportedFile, ExportError> {
        write_document(sink, MANIFEST, &self.to_json())
    }
}
