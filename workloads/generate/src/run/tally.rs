//! What the records of a shard, or of all of a job's shards, came to.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use windrow_core::JobError;

use crate::export::ModelUsage;
use crate::record::RejectError;

/// The share of failed records is looked at from this many on.
pub(crate) const ERROR_RATE_FROM: u64 = 50;
/// How many different errors a failed job lists, and how many a shard tells apart.
const COMMON_ERRORS: usize = 5;
const MAX_ERRORS: usize = 50;
const OTHER_ERRORS: &str = "other errors";

/// What was made so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) records: u64,
    pub(crate) rejects: u64,
    /// After which run of the job a person last retried it, as this shard's last run knew; 0 for never.
    #[serde(default, skip_serializing_if = "is_never")]
    pub(crate) reopened: i64,
    /// Of these records and rejects, how many that person has accepted: they are not judged again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) earlier_records: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) earlier_rejects: u64,
    /// Rejects by what went wrong: the error's code and message.
    pub(crate) errors: BTreeMap<String, u64>,
    /// What all calls used, by model.
    pub(crate) models: IndexMap<String, ModelUsage>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_never(run: &i64) -> bool {
    *run == 0
}

impl Tally {
    /// A person who retries a job accepts what has failed so far: errors are counted from here on.
    pub(crate) fn retried(&mut self, reopened: i64) {
        if reopened > self.reopened {
            (self.earlier_records, self.earlier_rejects) = (self.records, self.rejects);
            self.errors.clear();
            self.reopened = reopened;
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.rejects += other.rejects;
        self.earlier_records += other.earlier_records;
        self.earlier_rejects += other.earlier_rejects;
        self.add_usage(&other.models);
        for (error, count) in &other.errors {
            self.count_error(error.clone(), *count);
        }
    }

    /// Errors are counted by their text, and texts can differ for ever: past so many the rest is counted together.
    pub(crate) fn count_error(&mut self, error: String, count: u64) {
        let known = self.errors.len() < MAX_ERRORS || self.errors.contains_key(&error);
        let error = if known { error } else { OTHER_ERRORS.to_owned() };
        *self.errors.entry(error).or_default() += count;
    }

    pub(crate) fn count_reject(&mut self, error: &RejectError) {
        self.rejects += 1;
        self.count_error(format!("{}: {}", error.code, error.message), 1);
    }

    /// How many of the rejects are judged, and among how many indices that were attempted.
    fn judged(&self) -> (u64, u64) {
        let rejects = self.rejects.saturating_sub(self.earlier_rejects);
        (rejects, rejects + self.records.saturating_sub(self.earlier_records))
    }

    /// How many indices were attempted that are judged.
    pub(crate) fn attempted(&self) -> u64 {
        self.judged().1
    }

    /// Whether so many were attempted, and more than `limit` of them failed.
    pub(crate) fn is_over(&self, limit: f64) -> bool {
        let (rejects, attempted) = self.judged();
        #[expect(clippy::cast_precision_loss, reason = "a job has at most 30,000,000 attempts")]
        let rate = rejects as f64 / attempted as f64;
        attempted >= ERROR_RATE_FROM && rate > limit
    }

    /// The error of a job of which more than `limit` failed, with the commonest reasons.
    pub(crate) fn excess(&self, limit: f64) -> Option<JobError> {
        if !self.is_over(limit) {
            return None;
        }
        let mut errors: Vec<(&String, &u64)> = self.errors.iter().collect();
        errors.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let common: Vec<String> =
            errors.iter().take(COMMON_ERRORS).map(|(error, count)| format!("{count} × {error}")).collect();
        let (rejects, attempted) = self.judged();
        let since = if self.earlier_records + self.earlier_rejects > 0 { " since the retry" } else { "" };
        let detail = format!(
            "{rejects} of {attempted} records failed{since}, more than max_error_rate {limit} allows: {}",
            common.join("; ")
        );
        Some(JobError::user("too_many_errors", detail))
    }

    pub(crate) fn add_usage(&mut self, models: &IndexMap<String, ModelUsage>) {
        for (model, used) in models {
            let sum = self.models.entry(model.clone()).or_default();
            sum.calls += used.calls;
            sum.input_tokens += used.input_tokens;
            sum.output_tokens += used.output_tokens;
            sum.cost_usd = sum.cost_usd.saturating_add(used.cost_usd);
        }
    }
}
