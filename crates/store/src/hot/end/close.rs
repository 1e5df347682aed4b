//! The statement that deletes `running` rows and writes `runs`.

use std::collections::HashMap;

use windrow_core::{BudgetId, JobId, JobSeq, RunNo, RunOutcome, Timestamp};

use super::sqlite::close_sqlite;
use super::{RunRef, Verdict};
use crate::fault::Guard;
use crate::{Col, Dialect, Sql, StoreError, Tx, fetch_all, json_rows};

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
    }
}

const COLUMNS: &[(&str, Col)] = &[
    ("job_seq", Col::Int),
    ("run", Col::Int),
    ("outcome", Col::Text),
    ("retry_at", Col::Int),
    ("burnt", Col::Int),
    ("lost", Col::Int),
    ("class", Col::Text),
    ("code", Col::Text),
    ("error", Col::Text),
    ("user_fault", Col::Bool),
    ("dead_letter", Col::Bool),
    ("schema_version", Col::Int),
    ("output", Col::Text),
];

/// The guard of every completion: the row of this job *and this run*.
fn fence(on: bool) -> &'static str {
    if on { "r.job_seq = i.job_seq AND r.run = i.run" } else { "r.job_seq = i.job_seq" }
}

const INSERT_RUNS: &str =
    "INSERT INTO runs (job_seq, run, owner_id, outcome, worker_id, started_at, ended_at,
    retry_at, attempts, lost, class, code, error, user_fault, dead_letter)";

/// `lost` of the input: 1 counts one more, 0 starts anew, null keeps what there was.
const RUN_VALUES: &str = "i.retry_at, g.attempts + i.burnt,
    CASE i.lost WHEN 1 THEN g.lost + 1 WHEN 0 THEN 0 ELSE g.lost END,
    i.class, i.code, i.error, i.user_fault, i.dead_letter";

const HEAD: &str = "j.id, j.parent_seq, j.budget_id, j.webhook_url,
    EXISTS (SELECT 1 FROM parents p WHERE p.job_seq = i.job_seq) AS is_parent";

/// The columns of the input ride along with the deleted rows: joins of one batch's rows with each other would have no
/// index to walk.
fn postgres(fenced: bool) -> String {
    let (rows, fence) = (Dialect::Postgres.rows("$1", "i", COLUMNS), fence(fenced));
    let carried = COLUMNS[2..].iter().map(|(name, _)| format!("i.{name} AS new_{name}"));
    let carried = carried.collect::<Vec<_>>().join(", ");
    let values = RUN_VALUES.replace("i.", "g.new_");
    let head = HEAD.replace("i.job_seq", "g.job_seq");
    format!(
        "WITH input AS MATERIALIZED (SELECT * FROM {rows} ORDER BY job_seq),
         gone AS (
             DELETE FROM running r USING input i WHERE {fence}
             RETURNING r.job_seq, r.run, r.owner_id, r.worker_id, r.started_at, r.attempts, r.lost, i.run AS asked,
                       {carried}
         ), written AS (
             {INSERT_RUNS}
             SELECT g.job_seq, g.run, g.owner_id, g.new_outcome, g.worker_id, g.started_at, $2, {values} FROM gone g
         ), kept AS (
             INSERT INTO results (job_seq, run, schema_version, output)
             SELECT g.job_seq, g.asked, g.new_schema_version, g.new_output FROM gone g WHERE g.new_output IS NOT NULL
             ON CONFLICT (job_seq) DO UPDATE
             SET run = excluded.run, schema_version = excluded.schema_version, output = excluded.output
         )
         SELECT g.job_seq, g.asked AS run, {head} FROM gone g JOIN jobs j ON j.seq = g.job_seq"
    )
}

/// Ends the runs that still hold their jobs, and gives those.
pub(super) async fn close_runs(
    tx: &mut Tx,
    verdicts: &[Verdict<'_>],
    now: Timestamp,
) -> Result<Vec<Closed>, StoreError> {
    static FENCED: Sql = Sql::new(|_| postgres(true));
    static OPEN: Sql = Sql::new(|_| postgres(false));
    if verdicts.is_empty() {
        return Ok(Vec::new());
    }
    let outcomes: HashMap<RunRef, RunOutcome> = verdicts.iter().map(|v| (v.at, v.outcome)).collect();
    let fenced = !tx.lacks(Guard::Fence);
    let closed = match tx.dialect() {
        Dialect::Postgres => {
            let rows = json_rows(&verdicts.iter().map(input).collect::<Vec<_>>());
            let sql = if fenced { FENCED.of(Dialect::Postgres) } else { OPEN.of(Dialect::Postgres) };
            fetch_all!(tx, ClosedRow, sql, rows, now)?
        }
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
        })
    });
    Ok(closed.collect())
}

type Input<'a> = (
    i64,
    i64,
    &'static str,
    Option<i64>,
    i64,
    Option<i64>,
    Option<&'static str>,
    Option<&'a str>,
    Option<&'a str>,
    bool,
    bool,
    Option<i64>,
    Option<&'a str>,
);

fn input<'a>(verdict: &'a Verdict<'_>) -> Input<'a> {
    let error = verdict.error.as_deref();
    (
        verdict.at.job.0,
        verdict.at.run.0,
        verdict.outcome.as_str(),
        verdict.retry_at.map(Timestamp::as_micros),
        i64::from(verdict.burnt),
        verdict.lost,
        error.map(|error| error.class.as_str()),
        error.map(|error| error.code.as_ref()),
        error.map(|error| error.message.as_str()),
        error.is_some_and(|error| error.user_fault),
        verdict.dead_letter,
        verdict.output.map(|output| output.schema_version),
        verdict.output.map(|output| output.json.as_str()),
    )
}
