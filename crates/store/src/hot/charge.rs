//! What the work of runs costs beside their models' calls: a ledger row a kind and run, when the run ends, in the
//! transaction that ends it. Nothing is written where the operator set no price.
//!
//! A run is booked for the time from its claim to its end, whatever its end. Of a lost run nobody knows when it stopped
//! working: it is booked up to the last checkpoint or progress that it wrote, for so long it certainly worked; the time
//! until somebody noticed its death is nobody's work.
//!
//! Where such rows count against a tree's budget they are never refused: the work is done. A tree that they take above
//! its cap is closed, as by a provider that bills too much.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use futures::future::BoxFuture;
use windrow_core::{BudgetCounts, BudgetId, JobSeq, LedgerKind, PicoUsd, RunNo, Timestamp};

use super::RunRef;
use super::end::{ParentRow, lock_parents, write_parents};
use super::money::spend;
use crate::{Col, ListOf, Sql, StoreError, Tx, WorkPrices, execute, fetch_all, json_rows, json_uuids};

/// How often a run used the object store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StorageUse {
    pub puts: u64,
    pub gets: u64,
}

impl StorageUse {
    pub const fn is_zero(self) -> bool {
        self.puts == 0 && self.gets == 0
    }
}

/// A run that ends, as far as its price goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Worked {
    pub(super) at: RunRef,
    pub(super) parent: Option<JobSeq>,
    pub(super) budget: Option<BudgetId>,
    /// None: its time is booked already.
    pub(super) started_at: Option<Timestamp>,
    /// Whether its worker is gone.
    pub(super) lost: bool,
}

/// A row for the ledger.
struct Line {
    kind: LedgerKind,
    at: RunRef,
    budget: Option<BudgetId>,
    cost: PicoUsd,
    version: String,
    took: Option<Duration>,
    used: Option<StorageUse>,
}

const RUN: &[(&str, Col)] = &[("job_seq", Col::Int), ("run", Col::Int)];

fn refs<'a>(runs: impl Iterator<Item = &'a RunRef>) -> String {
    json_rows(&runs.map(|at| (at.job.0, at.run.0)).collect::<Vec<_>>())
}

/// Books runs that end. Gives the trees that are closed and count more than calls of models: their jobs should not run
/// again. The caller holds the `running` rows or has deleted them.
pub(super) async fn charge_runs(
    tx: &mut Tx,
    worked: &[Worked],
    now: Timestamp,
) -> Result<HashSet<BudgetId>, StoreError> {
    let prices = tx.prices();
    if prices.is_zero() || worked.is_empty() {
        return Ok(HashSet::new());
    }
    let used = if prices.has_storage() { take_used(tx, worked).await? } else { HashMap::new() };
    charge(tx, prices, worked, &used, now).await
}

/// Counts what a run has put and got: for its end while it holds its job, at once when it holds it no more.
pub fn use_storage(
    tx: &mut Tx,
    at: RunRef,
    used: StorageUse,
    now: Timestamp,
) -> BoxFuture<'_, Result<(), StoreError>> {
    Box::pin(async move {
        let prices = tx.prices();
        if !prices.has_storage() || used.is_zero() {
            return Ok(());
        }
        if super::children::hold_run(tx, at).await? == super::Fenced::Applied {
            let sql = "INSERT INTO storage_use (job_seq, run, puts, gets) VALUES ($1, $2, $3, $4)
             ON CONFLICT (job_seq, run) DO UPDATE
             SET puts = storage_use.puts + excluded.puts, gets = storage_use.gets + excluded.gets";
            return execute!(tx, sql, at.job, at.run, used.puts, used.gets).map(drop);
        }
        let heads = super::jobs::heads(tx, [at.job], super::jobs::Hold::Share).await?;
        let worked = heads.iter().map(|head| Worked {
            at,
            parent: head.parent_seq,
            budget: head.budget_id,
            started_at: None,
            lost: false,
        });
        let worked: Vec<Worked> = worked.collect();
        charge(tx, prices, &worked, &HashMap::from([(at, used)]), now).await.map(drop)
    })
}

async fn charge(
    tx: &mut Tx,
    prices: WorkPrices,
    worked: &[Worked],
    used: &HashMap<RunRef, StorageUse>,
    now: Timestamp,
) -> Result<HashSet<BudgetId>, StoreError> {
    let signs = last_signs(tx, worked).await?;
    let counts = counting(tx, worked).await?;
    let mut lines = Vec::new();
    for run in worked {
        let counts = run.budget.and_then(|id| Some((id, *counts.get(&id)?)));
        let until = if run.lost { signs.get(&run.at).copied() } else { Some(now) };
        if let Some(took) = run.started_at.zip(until).map(|(from, until)| until.since(from)) {
            let budget = counts.filter(|(_, counts)| counts.compute).map(|(id, _)| id);
            let (cost, version) = (prices.of_time(took), prices.compute_version());
            let (kind, at) = (LedgerKind::Compute, run.at);
            lines.push(Line { kind, at, budget, cost, version, took: Some(took), used: None });
        }
        if let Some(used) = used.get(&run.at) {
            let budget = counts.filter(|(_, counts)| counts.storage).map(|(id, _)| id);
            let (cost, version) = (prices.of_storage(*used), prices.storage_version());
            let (kind, at) = (LedgerKind::Storage, run.at);
            lines.push(Line { kind, at, budget, cost, version, took: None, used: Some(*used) });
        }
    }
    lines.retain(|line| !line.cost.is_zero());
    write_lines(tx, &lines, now).await?;
    if counts.is_empty() {
        return Ok(HashSet::new());
    }
    // before the budgets, by the order of locks
    let mut parents = lock_families(tx, worked, &counts).await?;
    let mut spent: BTreeMap<BudgetId, PicoUsd> = counts.keys().map(|id| (*id, PicoUsd::ZERO)).collect();
    for line in &lines {
        if let Some(sum) = line.budget.and_then(|id| spent.get_mut(&id)) {
            *sum = sum.saturating_add(line.cost);
        }
    }
    let closed = spend(tx, &spent).await?;
    stop_families(tx, worked, &closed, &mut parents).await?;
    Ok(closed)
}

/// What runs have used so far; their rows go.
async fn take_used(tx: &mut Tx, worked: &[Worked]) -> Result<HashMap<RunRef, StorageUse>, StoreError> {
    static TAKE: Sql = Sql::new(|dialect| {
        let rows = dialect.rows("$1", "i", RUN);
        format!(
            "DELETE FROM storage_use WHERE (job_seq, run) IN (SELECT i.job_seq, i.run FROM {rows})
             RETURNING job_seq, run, puts, gets"
        )
    });
    crate::row! {
        struct Used { job_seq: JobSeq, run: RunNo, puts: u64, gets: u64 }
    }
    let rows = fetch_all!(tx, Used, TAKE.of(tx.dialect()), refs(worked.iter().map(|run| &run.at)))?;
    let used = |row: Used| {
        (RunRef { job: row.job_seq, run: row.run }, StorageUse { puts: row.puts, gets: row.gets })
    };
    Ok(rows.into_iter().map(used).collect())
}

/// When lost runs last wrote something.
async fn last_signs(tx: &mut Tx, worked: &[Worked]) -> Result<HashMap<RunRef, Timestamp>, StoreError> {
    static SIGNS: Sql = Sql::new(|dialect| {
        let rows = dialect.rows("$1", "i", RUN);
        format!(
            "SELECT i.job_seq, i.run, c.at FROM {rows} JOIN checkpoints c ON c.job_seq = i.job_seq AND c.run = i.run
             UNION ALL
             SELECT i.job_seq, i.run, p.at FROM {rows} JOIN progress p ON p.job_seq = i.job_seq AND p.run = i.run"
        )
    });
    crate::row! {
        struct Sign { job_seq: JobSeq, run: RunNo, at: Timestamp }
    }
    if !worked.iter().any(|run| run.lost) {
        return Ok(HashMap::new());
    }
    let lost = worked.iter().filter(|run| run.lost).map(|run| &run.at);
    let mut signs: HashMap<RunRef, Timestamp> = HashMap::new();
    for sign in fetch_all!(tx, Sign, SIGNS.of(tx.dialect()), refs(lost))? {
        let last = signs.entry(RunRef { job: sign.job_seq, run: sign.run }).or_insert(sign.at);
        *last = (*last).max(sign.at);
    }
    Ok(signs)
}

/// The budgets that more than calls of models count against; that never changes, so that no lock is needed.
async fn counting(tx: &mut Tx, worked: &[Worked]) -> Result<HashMap<BudgetId, BudgetCounts>, StoreError> {
    static COUNTS: Sql = Sql::new(|dialect| {
        let member = dialect.member("id", "$1", ListOf::Uuid);
        format!(
            "SELECT id, counts_compute, counts_storage FROM budgets
             WHERE (counts_compute OR counts_storage) AND {member}"
        )
    });
    crate::row! {
        struct Counts { id: BudgetId, counts_compute: bool, counts_storage: bool }
    }
    let ids: HashSet<uuid::Uuid> = worked.iter().filter_map(|run| Some(run.budget?.0)).collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = fetch_all!(tx, Counts, COUNTS.of(tx.dialect()), json_uuids(ids))?;
    let counts =
        |row: Counts| (row.id, BudgetCounts { compute: row.counts_compute, storage: row.counts_storage });
    Ok(rows.into_iter().map(counts).collect())
}

async fn write_lines(tx: &mut Tx, lines: &[Line], now: Timestamp) -> Result<(), StoreError> {
    static INSERT: Sql = Sql::new(|dialect| {
        let columns = [
            ("kind", Col::Text),
            ("job_seq", Col::Int),
            ("run", Col::Int),
            ("budget_id", Col::Uuid),
            ("cost", Col::Int),
            ("price_version", Col::Text),
            ("duration_us", Col::Int),
            ("puts", Col::Int),
            ("gets", Col::Int),
        ];
        let rows = dialect.rows("$1", "i", &columns);
        format!(
            "INSERT INTO ledger (entry, kind, owner_id, workload, job_seq, run, budget_id, cost, price_version,
                 duration_us, puts, gets, at)
             SELECT 'settled', i.kind, j.owner_id, j.workload, i.job_seq, i.run, i.budget_id, i.cost, i.price_version,
                 i.duration_us, i.puts, i.gets, $2
             FROM {rows} CROSS JOIN jobs j WHERE j.seq = i.job_seq ORDER BY i.ord"
        )
    });
    if lines.is_empty() {
        return Ok(());
    }
    let row = |line: &Line| {
        let took = line.took.map(|took| i64::try_from(took.as_micros()).unwrap_or(i64::MAX));
        let used = (line.used.map(|used| used.puts), line.used.map(|used| used.gets));
        let (at, budget, cost) = (line.at, line.budget.map(|id| id.0), line.cost.as_pico());
        (line.kind.as_str(), at.job.0, at.run.0, budget, cost, line.version.clone(), took, used.0, used.1)
    };
    let rows: Vec<_> = lines.iter().map(row).collect();
    execute!(tx, INSERT.of(tx.dialect()), json_rows(&rows), now).map(drop)
}

/// The counts of children of the jobs themselves and of their parents, for trees that may be closed.
async fn lock_families(
    tx: &mut Tx,
    worked: &[Worked],
    counts: &HashMap<BudgetId, BudgetCounts>,
) -> Result<Vec<ParentRow>, StoreError> {
    let counted = worked.iter().filter(|run| run.budget.is_some_and(|id| counts.contains_key(&id)));
    let seqs: Vec<JobSeq> = counted.flat_map(|run| [Some(run.at.job), run.parent]).flatten().collect();
    lock_parents(tx, seqs).await
}

/// Has the unclaimed children of closed trees stopped; those in flight go on to their end.
async fn stop_families(
    tx: &mut Tx,
    worked: &[Worked],
    closed: &HashSet<BudgetId>,
    parents: &mut [ParentRow],
) -> Result<(), StoreError> {
    let over = worked.iter().filter(|run| run.budget.is_some_and(|id| closed.contains(&id)));
    let over: HashSet<JobSeq> = over.flat_map(|run| [Some(run.at.job), run.parent]).flatten().collect();
    let mut stopped = Vec::new();
    for row in parents.iter_mut().filter(|row| over.contains(&row.job_seq) && row.stopping.is_none()) {
        row.stop("budget");
        stopped.push(&*row);
    }
    write_parents(tx, &stopped).await
}
