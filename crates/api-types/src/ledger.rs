//! Money: what each call cost.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use windrow_core::{CallId, JobId, LedgerKind, PicoUsd, Timestamp};

use crate::page::page_size;
use crate::schema::LedgerKindSchema;

/// What one call cost, or the worker time or the puts and gets of one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LedgerRow {
    /// Absent on compute and storage.
    #[schema(value_type = Option<String>, format = Uuid)]
    pub call_id: Option<CallId>,
    #[schema(value_type = String, format = Uuid)]
    pub job_id: JobId,
    pub run: i64,
    #[schema(value_type = LedgerKindSchema)]
    pub kind: LedgerKind,
    /// `settled`; `unconfirmed` when no answer came and the worst case is booked; `correction` for a difference that
    /// came to light later.
    pub state: String,
    pub step: Option<String>,
    pub model: Option<String>,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cached_tokens: u64,
    #[schema(value_type = String)]
    pub cost_usd: PicoUsd,
    /// The version of the price table that the cost was worked out with; of compute and storage the price itself.
    pub price_version: Option<String>,
    /// From the request to its answer; of compute the time that is booked.
    pub duration_ms: Option<u64>,
    /// How many objects were put; storage only.
    pub puts: Option<u64>,
    /// How many objects, or ranges of them, were got; storage only.
    pub gets: Option<u64>,
    /// The provider's own id of the request.
    pub provider_request_id: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// Which ledger rows.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LedgerQuery {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// 1 to 200; 50 unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

impl LedgerQuery {
    /// The page size within its bounds.
    pub fn size(&self) -> u32 {
        page_size(self.limit)
    }
}

/// What rollups are grouped by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RollupBy {
    #[default]
    Day,
    Workload,
    /// Calls of models only.
    Model,
    /// `model`, `compute`, `storage`.
    Kind,
}

/// Which rollups: the caller's own.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RollupQuery {
    #[serde(default)]
    #[param(inline)]
    pub by: RollupBy,
    /// First day, `YYYY-MM-DD`, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Last day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// What a group of calls cost together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LedgerRollup {
    /// The day, the workload, the model or the kind.
    pub key: String,
    /// Of models.
    pub calls: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cached_tokens: u64,
    #[schema(value_type = String)]
    pub cost_usd: PicoUsd,
}

/// A call that left and was never answered: booked at its worst case until an admin knows better.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnconfirmedCall {
    #[schema(value_type = String, format = Uuid)]
    pub call_id: CallId,
    #[schema(value_type = String, format = Uuid)]
    pub job_id: JobId,
    pub run: i64,
    pub model: String,
    pub step: String,
    #[schema(value_type = String)]
    pub worst_usd: PicoUsd,
    #[schema(value_type = String, format = DateTime)]
    pub reserved_at: Timestamp,
}

/// What an unconfirmed call really cost, by the provider's bill.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SettleUnconfirmed {
    #[schema(value_type = String, examples("0.0021"))]
    pub cost_usd: PicoUsd,
    /// Written to the audit log.
    pub reason: String,
}
