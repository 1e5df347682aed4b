//! The rows behind a batch of reserves and settles: read and locked before the decision, written after it.

use std::collections::BTreeMap;

use windrow_core::{BudgetId, CallId, JobSeq, PicoUsd, RunNo, Timestamp};

use super::plan::Plan;
use super::{Budget, CallEnd, CallUsage, MoneyOp, reserve_and_settle};
use crate::hot::RunRef;
use crate::{Col, ListOf, Sql, StoreError, Tx, execute, fetch_all, json_rows, json_uuids};

crate::row! {
    /// A call whose budget is locked.
    pub(super) struct CallRow {
        pub(super) id: CallId,
        pub(super) budget_id: BudgetId,
        pub(super) job_seq: JobSeq,
        pub(super) run: RunNo,
        pub(super) worst: PicoUsd,
        pub(super) state: String,
        pub(super) booked: PicoUsd,
    }
}

impl CallRow {
    pub(super) fn sent(id: CallId, budget_id: BudgetId, at: RunRef, worst: PicoUsd) -> Self {
        let (state, booked) = ("sent".to_owned(), PicoUsd::ZERO);
        Self { id, budget_id, job_seq: at.job, run: at.run, worst, state, booked }
    }

    pub(super) fn at(&self) -> RunRef {
        RunRef { job: self.job_seq, run: self.run }
    }
}

/// Locks these budgets and all above them, in key order.
pub(super) async fn lock_chains(tx: &mut Tx, mut ids: Vec<uuid::Uuid>) -> Result<Vec<Budget>, StoreError> {
    static LOCK: Sql = Sql::new(|dialect| {
        let list = dialect.list("$1", ListOf::Uuid);
        format!(
            "WITH RECURSIVE chain(id) AS (
                 {list} UNION SELECT b.parent_id FROM chain c CROSS JOIN budgets b
                 WHERE b.id = c.id AND b.parent_id IS NOT NULL)
             SELECT b.id, b.parent_id, b.cap, b.reserved, b.spent, b.closed
             FROM chain c CROSS JOIN budgets b WHERE b.id = c.id ORDER BY b.id{}",
            dialect.pick("", " FOR UPDATE OF b")
        )
    });
    ids.sort_unstable();
    ids.dedup();
    fetch_all!(tx, Budget, LOCK.of(tx.dialect()), json_uuids(ids))
}

/// Locks the budgets that the batch names and all above them.
pub(super) async fn lock_budgets(tx: &mut Tx, batch: &[MoneyOp]) -> Result<Vec<Budget>, StoreError> {
    let ids = batch.iter().map(|op| match op {
        MoneyOp::Reserve { budget, .. } | MoneyOp::End { budget, .. } => budget.0,
    });
    lock_chains(tx, ids.collect()).await
}

/// The batch's calls that exist. Their states only change under their budgets' locks, which the caller holds.
pub(super) async fn read_calls(tx: &mut Tx, batch: &[MoneyOp]) -> Result<Vec<CallRow>, StoreError> {
    static READ: Sql = Sql::new(|dialect| {
        let member = dialect.member("id", "$1", ListOf::Uuid);
        format!("SELECT id, budget_id, job_seq, run, worst, state, booked FROM calls WHERE {member}")
    });
    let ids = batch.iter().map(|op| match op {
        MoneyOp::Reserve { call, .. } | MoneyOp::End { call, .. } => call.0,
    });
    fetch_all!(tx, CallRow, READ.of(tx.dialect()), json_uuids(ids))
}

pub(super) async fn write(tx: &mut Tx, plan: &Plan<'_>, now: Timestamp) -> Result<(), StoreError> {
    write_budgets(tx, plan).await?;
    write_calls(tx, plan, now).await?;
    write_ends(tx, plan, now).await?;
    write_ledger(tx, plan, now).await?;
    write_journal(tx, plan).await
}

pub(super) async fn write_budgets(tx: &mut Tx, plan: &Plan<'_>) -> Result<(), StoreError> {
    static UPDATE: Sql = Sql::new(|dialect| {
        let columns = [("id", Col::Uuid), ("reserved", Col::Int), ("spent", Col::Int), ("closed", Col::Bool)];
        let rows = dialect.rows("$1", "i", &columns);
        format!(
            "UPDATE budgets SET reserved = i.reserved, spent = i.spent, closed = i.closed
             FROM {rows} WHERE budgets.id = i.id"
        )
    });
    let row = |b: &Budget| (b.id.0, b.reserved.as_pico(), b.spent.as_pico(), b.closed);
    let rows: Vec<_> = plan.changed.iter().map(|id| row(plan.budget(*id))).collect();
    if rows.is_empty() {
        return Ok(());
    }
    execute!(tx, UPDATE.of(tx.dialect()), json_rows(&rows)).map(drop)
}

async fn write_calls(tx: &mut Tx, plan: &Plan<'_>, now: Timestamp) -> Result<(), StoreError> {
    static INSERT: Sql = Sql::new(|dialect| {
        let columns = [
            ("id", Col::Uuid),
            ("budget_id", Col::Uuid),
            ("job_seq", Col::Int),
            ("run", Col::Int),
            ("worst", Col::Int),
            ("model", Col::Text),
            ("step", Col::Text),
        ];
        let rows = dialect.rows("$1", "i", &columns);
        format!(
            "INSERT INTO calls (id, budget_id, job_seq, run, worst, model, step, state, reserved_at)
             SELECT id, budget_id, job_seq, run, worst, model, step, 'sent', $2 FROM {rows} WHERE TRUE
             ON CONFLICT (id) DO NOTHING"
        )
    });
    let calls = plan.calls.iter();
    let rows: Vec<_> = calls
        .map(|c| (c.call.0, c.budget.0, c.at.job.0, c.at.run.0, c.worst.as_pico(), c.model, c.step))
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    execute!(tx, INSERT.of(tx.dialect()), json_rows(&rows), now).map(drop)
}

async fn write_ends(tx: &mut Tx, plan: &Plan<'_>, now: Timestamp) -> Result<(), StoreError> {
    static UPDATE: Sql = Sql::new(|dialect| {
        let rows = dialect.rows("$1", "i", &[("id", Col::Uuid), ("state", Col::Text), ("booked", Col::Int)]);
        format!(
            "UPDATE calls SET state = i.state, booked = i.booked, ended_at = $2 FROM {rows} WHERE calls.id = i.id"
        )
    });
    let rows: Vec<_> = plan.ends.iter().map(|e| (e.call.0, e.state, e.booked.as_pico())).collect();
    if rows.is_empty() {
        return Ok(());
    }
    execute!(tx, UPDATE.of(tx.dialect()), json_rows(&rows), now).map(drop)
}

const LEDGER: &[(&str, Col)] = &[
    ("call_id", Col::Uuid),
    ("entry", Col::Text),
    ("job_seq", Col::Int),
    ("run", Col::Int),
    ("budget_id", Col::Uuid),
    ("cost", Col::Int),
    ("model", Col::Text),
    ("step", Col::Text),
    ("input_tokens", Col::Int),
    ("output_tokens", Col::Int),
    ("cached_tokens", Col::Int),
    ("price_version", Col::Text),
    ("provider_request_id", Col::Text),
    ("duration_us", Col::Int),
];

/// Model and step of an unconfirmed call come from its reservation.
static LEDGER_INSERT: Sql = Sql::new(|dialect| {
    let rows = dialect.rows("$1", "i", LEDGER);
    format!(
        "INSERT INTO ledger (entry, kind, call_id, owner_id, workload, job_seq, run, budget_id, step, model,
             input_tokens, output_tokens, cached_tokens, cost, price_version, provider_request_id, duration_us, at)
         SELECT i.entry, 'model', i.call_id, j.owner_id, j.workload, i.job_seq, i.run, i.budget_id,
                coalesce(i.step, c.step), coalesce(i.model, c.model), i.input_tokens, i.output_tokens,
                i.cached_tokens, i.cost, i.price_version, i.provider_request_id, i.duration_us, $2
         FROM {rows} CROSS JOIN jobs j LEFT JOIN calls c ON c.id = i.call_id WHERE j.seq = i.job_seq
         ORDER BY i.ord"
    )
});

type Line<'a> = (
    Option<uuid::Uuid>,
    &'a str,
    i64,
    i64,
    Option<uuid::Uuid>,
    i64,
    Option<&'a str>,
    Option<&'a str>,
    u64,
    u64,
    u64,
    Option<&'a str>,
    Option<&'a str>,
    Option<i64>,
);

fn line<'a>(
    ids: (Option<CallId>, Option<BudgetId>),
    entry: &'a str,
    at: RunRef,
    cost: PicoUsd,
    usage: Option<&'a CallUsage>,
) -> Line<'a> {
    (
        ids.0.map(|id| id.0),
        entry,
        at.job.0,
        at.run.0,
        ids.1.map(|id| id.0),
        cost.as_pico(),
        usage.map(|u| u.model.as_str()),
        usage.and_then(|u| u.step.as_deref()),
        usage.map_or(0, |u| u.input_tokens),
        usage.map_or(0, |u| u.output_tokens),
        usage.map_or(0, |u| u.cached_tokens),
        usage.and_then(|u| u.price_version.as_deref()),
        usage.and_then(|u| u.provider_request_id.as_deref()),
        usage.and_then(|u| u.duration_us),
    )
}

async fn write_ledger(tx: &mut Tx, plan: &Plan<'_>, now: Timestamp) -> Result<(), StoreError> {
    let lines = plan.ledger.iter();
    let rows: Vec<_> =
        lines.map(|l| line((Some(l.call), Some(l.budget)), l.entry, l.at, l.cost, l.usage)).collect();
    if rows.is_empty() {
        return Ok(());
    }
    execute!(tx, LEDGER_INSERT.of(tx.dialect()), json_rows(&rows), now).map(drop)
}

/// Calls of price zero have no reservation; they enter the ledger with the checkpoint that covers them, once, however
/// often that is sent.
pub(in crate::hot) async fn ledger_free_calls<'a>(
    tx: &mut Tx,
    at: RunRef,
    calls: &'a [(CallId, CallUsage)],
    now: Timestamp,
) -> Result<(), StoreError> {
    static INSERT: Sql = Sql::new(|dialect| {
        let insert = LEDGER_INSERT.of(dialect);
        format!("{insert} ON CONFLICT (call_id, entry) WHERE call_id IS NOT NULL DO NOTHING")
    });
    let row = |(call, usage): &'a (CallId, CallUsage)| {
        line((Some(*call), None), "settled", at, usage.cost, Some(usage))
    };
    let rows: Vec<_> = calls.iter().map(row).collect();
    if rows.is_empty() {
        return Ok(());
    }
    execute!(tx, INSERT.of(tx.dialect()), json_rows(&rows), now).map(drop)
}

/// The first answer to a request stands. One to another request, of a later run, takes its place: it was paid for, and
/// nobody will ask the earlier one again.
async fn write_journal(tx: &mut Tx, plan: &Plan<'_>) -> Result<(), StoreError> {
    static INSERT: Sql = Sql::new(|dialect| {
        let columns = [
            ("job_seq", Col::Int),
            ("key", Col::Text),
            ("run", Col::Int),
            ("request_hash", Col::Bytes),
            ("output", Col::Text),
        ];
        let rows = dialect.rows("$1", "i", &columns);
        format!(
            "INSERT INTO call_journal (job_seq, key, run, request_hash, output)
             SELECT job_seq, key, run, request_hash, output FROM {rows} WHERE TRUE
             ON CONFLICT (job_seq, key) DO UPDATE
             SET run = excluded.run, request_hash = excluded.request_hash, output = excluded.output
             WHERE call_journal.run < excluded.run AND call_journal.request_hash <> excluded.request_hash"
        )
    });
    // One statement can't touch a row twice.
    let mut newest = BTreeMap::new();
    for (at, line) in &plan.journal {
        let known = newest.entry((at.job.0, &line.key)).or_insert((at.run.0, line));
        if known.0 < at.run.0 {
            *known = (at.run.0, line);
        }
    }
    let rows: Vec<_> = newest
        .into_iter()
        .map(|((job, key), (run, line))| (job, key, run, hex::encode(&line.request_hash), &line.output))
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    execute!(tx, INSERT.of(tx.dialect()), json_rows(&rows)).map(drop)
}

/// The end of runs: their calls in flight count at their worst case from now on.
pub(in crate::hot) async fn abandon_calls(
    tx: &mut Tx,
    runs: &[RunRef],
    now: Timestamp,
) -> Result<(), StoreError> {
    static FIND: Sql = Sql::new(|dialect| {
        let rows = dialect.rows("$1", "i", &[("job_seq", Col::Int), ("run", Col::Int)]);
        format!(
            "SELECT c.id, c.budget_id, c.job_seq, c.run, c.worst, c.state, c.booked
             FROM {rows} CROSS JOIN calls c
             WHERE c.job_seq = i.job_seq AND c.run = i.run AND c.state = 'sent' ORDER BY c.id"
        )
    });
    if runs.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> = runs.iter().map(|at| (at.job.0, at.run.0)).collect();
    let calls = fetch_all!(tx, CallRow, FIND.of(tx.dialect()), json_rows(&rows))?;
    let op = |call: &CallRow| MoneyOp::End {
        call: call.id,
        budget: call.budget_id,
        at: call.at(),
        end: CallEnd::Unconfirmed,
    };
    let ops: Vec<MoneyOp> = calls.iter().map(op).collect();
    reserve_and_settle(tx, &ops, now).await.map(drop)
}
