//! What the workload's own routes take and give. Knows no server: the commands read the same types.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;
use windrow_api_types::Job;
use windrow_core::{PicoUsd, Timestamp};

use crate::use_cases::preview::PreviewRecord;

/// A template document: a text (YAML or JSON), or the document itself as JSON.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TemplateText {
    #[schema(value_type = Object, examples("template:\n  name: poem-qa\n  steps:\n    - id: question\n      prompt: Ask about {{ poem.text }}"))]
    pub document: Value,
}

/// Who may see a template besides its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    Private,
    Public,
}

/// A template without its text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TemplateHead {
    pub id: Uuid,
    pub name: String,
    /// Whether it is the caller's own; only then can it be changed.
    pub mine: bool,
    pub visibility: Visibility,
    pub description: String,
    pub category: String,
    /// The newest version.
    pub latest: u32,
    /// `name@version` of what it was forked from.
    pub forked_from: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

/// A template at one version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TemplateBody {
    #[serde(flatten)]
    pub template: TemplateHead,
    pub version: u32,
    /// As it was written: YAML or JSON.
    pub document: String,
    /// Of the document, lower-case hex.
    pub sha256: String,
    pub analysis: TemplateAnalysis,
}

/// What a template uses, worked out from its texts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TemplateAnalysis {
    /// The paths into the seed record that its own texts look up.
    pub paths: Vec<String>,
    /// Those that `schema_requirements` doesn't promise: records without them will be rejected.
    pub undeclared: Vec<String>,
    /// Requirements that no text uses.
    pub unused: Vec<String>,
    /// The fragments it includes. They are looked up when a job is submitted.
    pub includes: Vec<String>,
    /// The models or aliases that its steps name.
    pub models: Vec<String>,
}

/// One version of a template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VersionHead {
    pub version: u32,
    pub sha256: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// Which templates; by name.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TemplateQuery {
    /// Part of the name or the description, in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Only one's own.
    #[serde(default)]
    pub mine: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// 1 to 200; 50 unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Which version; the latest unless told.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct VersionQuery {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
}

/// Which versions to compare.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DiffQuery {
    pub from: u32,
    /// The latest unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u32>,
}

/// How two versions differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TemplateDiff {
    pub from: u32,
    pub to: u32,
    /// A unified diff; empty when the texts are the same.
    pub diff: String,
}

/// How a copy is made.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ForkTemplate {
    /// The latest unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// The name of the copy; needed when the caller has a template of that name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// What can be changed of a template; its texts only change by a new version.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeTemplate {
    pub visibility: Visibility,
}

/// Where the answers of a preview come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PreviewMode {
    /// Nowhere: prompts only, with a stand-in for each earlier answer.
    #[default]
    Render,
    /// The built-in offline model, free.
    Offline,
    /// The template's own models: a real job over the first records, metered and held to `budget_usd`.
    Model,
}

/// What to preview.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviewRequest {
    /// The id of a stored upload, or `sample:NAME`.
    #[schema(examples("sample:poems"))]
    pub seed: String,
    /// How many of the first usable seed records: 1 to 20; 3 unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    #[serde(default)]
    pub mode: PreviewMode,
    /// The latest unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// 0 unless told: a preview shows the same choices each time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub random_seed: Option<u64>,
    /// Mode `model`: asked instead of the template's own models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Mode `model`: the most that it may cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, examples("0.05"))]
    pub budget_usd: Option<PicoUsd>,
}

/// What a template makes of the first seed records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Preview {
    pub mode: PreviewMode,
    pub version: u32,
    pub records: Vec<PreviewRecord>,
    /// Mode `model`: the job that makes the records. Its `/v1/generate/{job_id}/records` has them when it has ended.
    pub job: Option<Job>,
}

/// What a job would be, to be estimated.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EstimateRequest {
    /// As it would be submitted.
    #[schema(value_type = Object)]
    pub spec: Value,
    /// The budget to compare with; the spec's own unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub budget_usd: Option<PicoUsd>,
}

/// Numbers of tokens or calls: where most jobs end up, not limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CountRange {
    pub low: u64,
    pub likely: u64,
    pub high: u64,
}

/// USD: where most jobs end up, not limits. The budget is the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UsdRange {
    #[schema(value_type = String)]
    pub low: PicoUsd,
    #[schema(value_type = String)]
    pub likely: PicoUsd,
    #[schema(value_type = String)]
    pub high: PicoUsd,
}

/// What one step would take, all records together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StepEstimate {
    pub step: String,
    pub model: String,
    pub calls: CountRange,
    pub input_tokens: CountRange,
    pub output_tokens: CountRange,
    /// Null when the model has no price.
    pub cost_usd: Option<UsdRange>,
}

/// What a job would take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Estimate {
    pub records: u64,
    /// How many real seed records were rendered for it.
    pub sampled: u64,
    /// How many of these could not be rendered; such records would be rejected.
    pub failed: u64,
    /// The first reason.
    pub failure: Option<String>,
    pub steps: Vec<StepEstimate>,
    pub input_tokens: CountRange,
    pub output_tokens: CountRange,
    pub cost_usd: UsdRange,
    /// Models without a price: their calls are not in the cost.
    pub unpriced: Vec<String>,
    #[schema(value_type = Option<String>)]
    pub budget_usd: Option<PicoUsd>,
    /// Whether the likely cost is within the budget; null without one.
    pub within_budget: Option<bool>,
}

/// Seed data to be held against a template.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SeedCheck {
    /// `name@version` or `id@version`; the latest without a version.
    #[schema(examples("poem-qa@3"))]
    pub template: String,
    /// The id of a stored upload, or `sample:NAME`.
    pub seed: String,
}

/// A record that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BadSeed {
    /// The line on which it begins, from 1, uncompressed.
    pub line: u64,
    /// The required path that is at fault, where it is one.
    pub path: Option<String>,
    pub message: String,
}

/// What was found in seed data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SeedChecked {
    /// `json`, `jsonl` or `csv`.
    pub format: String,
    pub gzip: bool,
    pub valid: u64,
    pub invalid: u64,
    /// The first 20 bad ones.
    pub bad: Vec<BadSeed>,
    /// How much was read, uncompressed.
    pub bytes: u64,
    /// Whether the file is longer than what was looked at (64 MiB as stored). A job reads all of it.
    pub truncated: bool,
    /// What the template requires of each record.
    pub requirements: Vec<String>,
    /// What the template uses without requiring it.
    pub undeclared: Vec<String>,
}

/// Seed records to be made by a model.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MakeSeedRecords {
    /// A record as they should be.
    #[schema(value_type = Object)]
    pub example: Map<String, Value>,
    /// What they should be about, and how they should differ.
    #[serde(default)]
    pub instructions: String,
    /// 1 to 1,000.
    #[schema(minimum = 1, maximum = 1000)]
    pub records: u64,
    /// An alias or a model id.
    #[schema(examples("premium"))]
    pub model: String,
    /// 0 to 2; 1 unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub random_seed: Option<u64>,
    /// The most that it may cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub budget_usd: Option<PicoUsd>,
}

impl MakeSeedRecords {
    /// The spec of the job that makes them.
    pub fn spec(&self) -> Value {
        let mut overrides = Map::new();
        overrides.insert("model".to_owned(), self.model.clone().into());
        if let Some(temperature) = self.temperature {
            overrides.insert("temperature".to_owned(), temperature.into());
        }
        let mut spec = serde_json::json!({
            "make_seeds": {"example": self.example, "instructions": self.instructions},
            "records": self.records,
            "formats": ["jsonl"],
            "dedup": "exact",
            "refill": true,
            "overrides": overrides,
        });
        if let Some(seed) = self.random_seed {
            spec["random_seed"] = seed.into();
        }
        spec
    }
}

impl From<crate::estimate::Range<u64>> for CountRange {
    fn from(range: crate::estimate::Range<u64>) -> Self {
        Self { low: range.low, likely: range.likely, high: range.high }
    }
}

impl From<crate::estimate::Range<PicoUsd>> for UsdRange {
    fn from(range: crate::estimate::Range<PicoUsd>) -> Self {
        Self { low: range.low, likely: range.likely, high: range.high }
    }
}

impl Estimate {
    /// An estimate beside the budget.
    pub fn of(estimate: crate::estimate::Estimate, budget_usd: Option<PicoUsd>) -> Self {
        let steps = estimate.steps.into_iter().map(|step| StepEstimate {
            step: step.step,
            model: step.model,
            calls: step.calls.into(),
            input_tokens: step.input_tokens.into(),
            output_tokens: step.output_tokens.into(),
            cost_usd: step.cost_usd.map(Into::into),
        });
        Self {
            records: estimate.records,
            sampled: estimate.sampled,
            failed: estimate.failed,
            failure: estimate.failure,
            steps: steps.collect(),
            input_tokens: estimate.input_tokens.into(),
            output_tokens: estimate.output_tokens.into(),
            cost_usd: estimate.cost_usd.into(),
            unpriced: estimate.unpriced,
            budget_usd,
            within_budget: budget_usd.map(|budget| estimate.cost_usd.likely <= budget),
        }
    }
}
