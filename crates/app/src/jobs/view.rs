//! From rows to bodies.

use serde_json::Value;
use windrow_api_types::{Job, JobCost, JobFailure, JobLinks, JobProgress, JobTokens, Run, SCHEMA_VERSION};
use windrow_core::{
    BudgetCounts, ErrorClass, JobStatus, LedgerKind, PicoUsd, RunOutcome, Timestamp, TraceParent,
};
use windrow_store::StoreError;
use windrow_store::jobs::JobRow;
use windrow_store::ledger::Sums;
use windrow_store::runs::RunRow;

use crate::{App, AppError};

/// A job's body. `sums` is what its tree cost exactly; without it the sums up to the ledger's watermark are shown.
pub(crate) fn job(app: &App, row: JobRow, sums: Option<&Sums>) -> Result<Job, AppError> {
    let now = app.now();
    let spec = json("jobs", "spec", &row, &row.spec)?;
    let unknown = unknown_result(&row);
    let output = row.output.as_deref().filter(|_| unknown.is_none());
    let output = output.map(|text| json("results", "output", &row, text)).transpose()?;
    let own = app.parts.workloads.get(&row.workload).map(|workload| workload.limits().deadline);
    let deadline = app.parts.settings.run_deadline(&row.workload).or(own);
    let reopened = row.last_run.is_some_and(|run| run <= row.reopened_run);
    let done = row.done.unwrap_or(0);
    let records = output.as_ref().and_then(|output| output.get("records")).and_then(Value::as_u64);
    let run_at = row.retry_at.filter(|_| !reopened).unwrap_or(row.run_at);
    let ended = row.status.is_final().then_some(row.last_ended_at).flatten();
    Ok(Job {
        schema_version: SCHEMA_VERSION,
        id: row.id,
        spec,
        status: row.status,
        progress: JobProgress { done, total: row.total },
        priority: row.priority,
        budget_usd: row.cap,
        budget_counts: budget_counts(&row),
        cost: cost(&row, sums),
        tokens: tokens(&row, sums),
        records: records.unwrap_or(done),
        run: row.running_run.or(row.last_run).map_or(0, |run| run.0),
        attempts: row.running_attempts.or(row.attempts.filter(|_| !reopened)).unwrap_or(0),
        lost: row.running_lost.or(row.lost.filter(|_| !reopened)).unwrap_or(0),
        parent_id: row.parent_id,
        child_key: row.child_key.clone(),
        request_id: row.request_id.clone(),
        trace_id: trace_id(&row)?,
        created_at: row.created_at,
        updated_at: updated_at(&row),
        run_at: Some(run_at).filter(|at| row.status == JobStatus::Queued && *at > now),
        timeout_at: row.running_since.zip(deadline).map(|(since, deadline)| since.plus(deadline)),
        started_at: row.first_started_at.or(row.running_since),
        ended_at: ended,
        error: failure(row.class, row.code, row.error, row.user_fault)
            .filter(|_| row.status != JobStatus::Completed && !reopened)
            .or(unknown),
        result: output.filter(|_| ended.is_some()),
        links: JobLinks::of(row.id),
        stage: row.stage,
        workload: row.workload,
    })
}

/// A newer program may have ended the job: its result can't be shown, and the job says so instead.
fn unknown_result(row: &JobRow) -> Option<JobFailure> {
    let version = row.output_version.filter(|version| *version != SCHEMA_VERSION)?;
    let message = format!(
        "the result's schema_version is {version}; this server knows {SCHEMA_VERSION}: ask a newer one"
    );
    let (class, code) = (ErrorClass::Permanent, "unknown_schema_version".to_owned());
    Some(JobFailure { class, code, message, user_fault: false })
}

/// Of the trace that the job's submit belongs to.
pub(crate) fn trace_id(row: &JobRow) -> Result<Option<String>, AppError> {
    let read = row.traceparent.as_deref().map(str::parse::<TraceParent>).transpose();
    let broken = |error| StoreError::invariant("jobs", "traceparent", row.id, error);
    Ok(read.map_err(|error| AppError::internal(broken(error)))?.map(|parent| parent.trace_id()))
}

pub(super) fn json(
    table: &'static str,
    column: &'static str,
    row: &JobRow,
    text: &str,
) -> Result<Value, AppError> {
    let broken = |error| StoreError::invariant(table, column, row.id, error);
    serde_json::from_str(text).map_err(|error| AppError::internal(broken(error)))
}

fn cost(row: &JobRow, sums: Option<&Sums>) -> JobCost {
    let summed = sums.map(|sums| sums.cost).or(row.cost).unwrap_or(PicoUsd::ZERO);
    JobCost {
        estimate: row.estimate,
        // a budget is exact at any time, but knows only what counts against it
        actual: row.spent.map_or(summed, |spent| spent.max(summed)),
        reserved: row.reserved.unwrap_or(PicoUsd::ZERO),
    }
}

fn budget_counts(row: &JobRow) -> Option<Vec<LedgerKind>> {
    let (compute, storage) = row.counts_compute.zip(row.counts_storage)?;
    row.cap.map(|_| BudgetCounts { compute, storage }.kinds())
}

fn tokens(row: &JobRow, sums: Option<&Sums>) -> JobTokens {
    match sums {
        Some(sums) => {
            JobTokens { input: sums.input_tokens, output: sums.output_tokens, cached: sums.cached_tokens }
        }
        None => JobTokens {
            input: row.input_tokens.unwrap_or(0),
            output: row.output_tokens.unwrap_or(0),
            cached: row.cached_tokens.unwrap_or(0),
        },
    }
}

fn updated_at(row: &JobRow) -> Timestamp {
    [
        row.approved_at,
        row.cancel_requested_at,
        row.reopened_at,
        row.running_since,
        row.last_ended_at,
        row.progress_at,
    ]
    .into_iter()
    .flatten()
    .fold(row.created_at, Timestamp::max)
}

pub(crate) fn failure(
    class: Option<ErrorClass>,
    code: Option<String>,
    message: Option<String>,
    user_fault: Option<bool>,
) -> Option<JobFailure> {
    Some(JobFailure {
        class: class?,
        code: code.unwrap_or_default(),
        message: message.unwrap_or_default(),
        user_fault: user_fault.unwrap_or(false),
    })
}

pub(crate) fn run(row: RunRow) -> Run {
    let done = row.done.unwrap_or(0);
    Run {
        run: row.run.0,
        outcome: row.outcome,
        stage: row.stage,
        done,
        total: row.total,
        worker: row.worker,
        started_at: row.started_at,
        ended_at: row.ended_at,
        retry_at: row.retry_at.filter(|_| row.outcome == Some(RunOutcome::Retried)),
        error: failure(row.class, row.code, row.error, row.user_fault),
    }
}
