//! The statement that deletes `running` rows and writes `runs`.

use std::collections::HashMap;

use windrow_core::{BudgetId, JobError, JobId, JobSeq, RunNo, RunOutcome, Timestamp};

use super::sqlite::close_sqlite;
use super::{RunRef, Verdict};
use crate::fault::Guard;
use crate::{Arm, Dialect, Sql, StoreError, Tx};

/// A run whose end was written, with what its job's row says.
#[derive(Clone, Debug)]
pub(in crate::hot) struct Closed {
    pub(in crate::hot) at: RunRef,
    pub(in crate::hot) outcome: RunOutcome,
    pub(in crate::hot) id: JobId,
    pub(in crate::hot) parent: Option<JobSeq>,
    pub(in crate::hot) budget: Option<BudgetId>,
    pub(in crate::hot) webhook_url: Option<String>,
    /// Whether it made children that this parent's row still counts.
    pub(in crate::hot) is_parent: bool,
    /// None: it ended without a run.
    pub(in crate::hot) started_at: Option<Timestamp>,
}

crate::row! {
    pub(super) struct ClosedRow {
        pub(super) job_seq: JobSeq,
        pub(super) run: RunNo,
        pub(super) id: JobId,
        pub(super) parent_seq: Option<JobSeq>,
        pub(super) budget_id: Option<BudgetId>,
        pub(super) webhook_url: Option<String>,
        pub(super) is_parent: bool,
        pub(super) started_at: Timestamp,
    }
}

/// The columns of the input ride along with the held rows: joins of one batch's rows with each other would have no
/// index to walk. The lock makes a subquery that is looked up row by row: joined, `running` was walked whole and each of its
/// rows held against all of the input, where ANALYZE had last seen it empty. `ctid` is safe to delete by: the row is locked, and
/// rows of `running` are never updated. `lost` of the input: 1 counts one more, 0 starts anew, null keeps what there was.
fn postgres(fence: &str) -> String {
    format!(
        "WITH input AS MATERIALIZED (
             SELECT DISTINCT ON (job_seq, run) * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[],
                                  $8::text[], $9::text[], $10::boolean[], $11::boolean[], $12::bigint[], $13::text[])
                 AS i(job_seq, run, outcome, retry_at, burnt, lost, class, code, error, user_fault, dead_letter,
                      schema_version, output)
             ORDER BY job_seq, run
         ), held AS MATERIALIZED (
             SELECT i.*, r.place, r.run AS held_run, r.owner_id, r.worker_id, r.started_at, r.attempts AS held_attempts,
                    r.lost AS held_lost
             FROM input i CROSS JOIN LATERAL (
                 SELECT r.ctid AS place, r.* FROM running r WHERE {fence} FOR UPDATE) r
         ), gone AS (
             DELETE FROM running WHERE ctid = ANY (ARRAY(SELECT place FROM held))
         ), written AS (
             INSERT INTO runs (job_seq, run, owner_id, outcome, worker_id, started_at, ended_at, retry_at, attempts, lost,
                               class, code, error, user_fault, dead_letter)
             SELECT job_seq, held_run, owner_id, outcome, worker_id, started_at, $14, retry_at, held_attempts + burnt,
                    CASE lost WHEN 1 THEN held_lost + 1 WHEN 0 THEN 0 ELSE held_lost END,
                    class, code, error, user_fault, dead_letter
             FROM held
         ), kept AS (
             INSERT INTO results (job_seq, run, schema_version, output)
             SELECT job_seq, run, schema_version, output FROM held WHERE output IS NOT NULL
             ON CONFLICT (job_seq) DO UPDATE
             SET run = excluded.run, schema_version = excluded.schema_version, output = excluded.output
         )
         SELECT h.job_seq, h.run, j.id, j.parent_seq, j.budget_id, j.webhook_url, h.started_at,
                EXISTS (SELECT 1 FROM parents p WHERE p.job_seq = h.job_seq) AS is_parent
         FROM held h JOIN jobs j ON j.seq = h.job_seq"
    )
}

/// Ends the runs that still hold their jobs, and gives those.
pub(super) async fn close_runs(
    tx: &mut Tx,
    verdicts: &[Verdict<'_>],
    now: Timestamp,
) -> Result<Vec<Closed>, StoreError> {
    if verdicts.is_empty() {
        return Ok(Vec::new());
    }
    let outcomes: HashMap<RunRef, RunOutcome> = verdicts.iter().map(|v| (v.at, v.outcome)).collect();
    let fenced = !tx.lacks(Guard::Fence);
    let closed = match tx.dialect() {
        Dialect::Postgres => close_postgres(tx, verdicts, fenced, now).await?,
        Dialect::Sqlite => close_sqlite(tx, verdicts, fenced, now).await?,
    };
    let closed = closed.into_iter().filter_map(|row| {
        let at = RunRef { job: row.job_seq, run: row.run };
        Some(Closed {
            at,
            outcome: *outcomes.get(&at)?,
            id: row.id,
            parent: row.parent_seq,
            budget: row.budget_id,
            webhook_url: row.webhook_url,
            is_parent: row.is_parent,
            started_at: Some(row.started_at),
        })
    });
    Ok(closed.collect())
}

/// The guard of every completion: the row of this job *and this run*.
static FENCED: Sql = Sql::new(|_| postgres("r.job_seq = i.job_seq AND r.run = i.run"));

/// Without the guard: a test shows that it would be missed.
static UNFENCED: Sql = Sql::new(|_| postgres("r.job_seq = i.job_seq"));

async fn close_postgres(
    tx: &mut Tx,
    verdicts: &[Verdict<'_>],
    fenced: bool,
    now: Timestamp,
) -> Result<Vec<ClosedRow>, StoreError> {
    fn all<'v, T>(verdicts: &'v [Verdict<'_>], of: impl Fn(&'v Verdict<'_>) -> T) -> Vec<T> {
        verdicts.iter().map(of).collect()
    }
    fn errors<'v, T>(verdicts: &'v [Verdict<'_>], of: impl Fn(&'v JobError) -> T) -> Vec<Option<T>> {
        all(verdicts, |verdict| verdict.error.as_deref().map(&of))
    }
    let text = if fenced { FENCED.of(Dialect::Postgres) } else { UNFENCED.of(Dialect::Postgres) };
    let sql = sqlx::SqlSafeStr::into_sql_str(text);
    let Arm::Postgres(conn) = tx.arm(&sql)? else { unreachable!("asked for by dialect") };
    sqlx::query_as(sql)
        .bind(all(verdicts, |v| v.at.job.0))
        .bind(all(verdicts, |v| v.at.run.0))
        .bind(all(verdicts, |v| v.outcome.as_str()))
        .bind(all(verdicts, |v| v.retry_at.map(Timestamp::as_micros)))
        .bind(all(verdicts, |v| i64::from(v.burnt)))
        .bind(all(verdicts, |v| v.lost))
        .bind(errors(verdicts, |error| error.class.as_str()))
        .bind(errors(verdicts, |error| error.code.as_ref()))
        .bind(errors(verdicts, |error| error.message.as_str()))
        .bind(all(verdicts, |v| v.error.as_deref().is_some_and(|error| error.user_fault)))
        .bind(all(verdicts, |v| v.dead_letter))
        .bind(all(verdicts, |v| v.output.map(|output| output.schema_version)))
        .bind(all(verdicts, |v| v.output.map(|output| output.json.as_str())))
        .bind(now.as_micros())
        .fetch_all(conn)
        .await
        .map_err(|error| StoreError::from_sqlx(text, error))
}
