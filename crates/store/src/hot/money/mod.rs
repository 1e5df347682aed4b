//! Money: what a call may cost is reserved against its tree's budget before the request leaves, and settled after it.
//!
//! All reserves and settles of a batch are one decision: the budgets (and those above them) are locked in key order, the
//! decision is made in memory by [`plan`], and its rows are written. A settle is never refused, whoever brings it.

mod plan;
mod write;

use std::collections::{BTreeMap, HashSet};

use futures::future::BoxFuture;
use windrow_core::{BudgetId, CallId, PicoUsd, Timestamp};

use super::checkpoint::{JournalLine, hold_runs};
use super::{NewBudget, RunRef};
use crate::fault::Guard;
use crate::{Conn, StoreError, Tx, execute, fetch_optional};

pub(super) use write::{abandon_calls, ledger_free_calls};

/// What a call used, as the provider says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallUsage {
    pub model: String,
    pub step: Option<String>,
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// Of the input tokens.
    pub cached_tokens: u64,
    pub cost: PicoUsd,
    /// Of the table of prices that `cost` was computed with.
    pub price_version: Option<String>,
    pub provider_request_id: Option<String>,
    /// From the request's start to the answer's end, in microseconds.
    pub duration_us: Option<i64>,
}

/// One reservation, or one end of a call.
#[derive(Clone, Debug)]
pub enum MoneyOp {
    /// Before the request leaves. The id is the worker's: asking again answers the same.
    Reserve {
        call: CallId,
        budget: BudgetId,
        at: RunRef,
        model: String,
        step: Option<String>,
        /// The most that it can cost.
        worst: PicoUsd,
    },
    /// After it.
    End { call: CallId, budget: BudgetId, at: RunRef, end: CallEnd },
}

/// How a call ended.
#[derive(Clone, Debug)]
pub enum CallEnd {
    /// Answered. The answer is journalled while the run still holds its job.
    Settled { usage: Box<CallUsage>, journal: Option<JournalLine> },
    /// Nobody knows: a timeout, a broken connection. Counts at its worst case until somebody settles it.
    Unconfirmed,
    /// The request never left.
    Released,
}

/// Answer to a [`MoneyOp`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MoneyAnswer {
    /// The request may leave.
    Reserved,
    /// No room now, but calls in flight will free some: ask again when one is settled.
    Wait,
    /// No room, and nothing in flight: the tree is closed. The job saves what it has and ends.
    Refused,
    /// The run no longer holds its job: it may not make calls.
    Stale,
    /// Booked. `journaled`: the answer is kept for the next run. `excess`: it cost more than was reserved; the tree is
    /// closed.
    Settled {
        journaled: bool,
        excess: bool,
    },
    Unconfirmed,
    Released,
    /// The call had ended before; nothing was changed.
    AlreadyEnded,
    /// There is no such call or budget.
    Unknown,
}

crate::row! {
    /// A budget. `spent` includes what is unconfirmed, at its worst case.
    pub struct Budget {
        pub id: BudgetId,
        pub parent_id: Option<BudgetId>,
        pub cap: PicoUsd,
        pub reserved: PicoUsd,
        pub spent: PicoUsd,
        pub closed: bool,
    }
}

/// Reserves, settles, releases. Answers in the batch's order.
pub fn reserve_and_settle<'a>(
    tx: &'a mut Tx,
    batch: &'a [MoneyOp],
    now: Timestamp,
) -> BoxFuture<'a, Result<Vec<MoneyAnswer>, StoreError>> {
    Box::pin(async move {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        // a run that has ended reserves nothing, so that all its calls were known to whoever ended it
        let fenced = batch.iter().filter_map(|op| match op {
            MoneyOp::Reserve { at, .. } => Some(*at),
            MoneyOp::End { at, end: CallEnd::Settled { journal: Some(_), .. }, .. } => Some(*at),
            MoneyOp::End { .. } => None,
        });
        let live = hold_runs(tx, fenced).await?;
        let budgets = write::lock_budgets(tx, batch).await?;
        let calls = write::read_calls(tx, batch).await?;
        let mut plan = plan::Plan::new(budgets, calls, live, !tx.lacks(Guard::Reservation));
        let answers = plan.decide(batch);
        write::write(tx, &plan, now).await?;
        Ok(answers)
    })
}

/// Counts what is owed already against budgets and those above them. Gives which of them are closed: those that it takes above
/// a cap, their own or one above, and those that were.
pub(super) async fn spend(
    tx: &mut Tx,
    amounts: &BTreeMap<BudgetId, PicoUsd>,
) -> Result<HashSet<BudgetId>, StoreError> {
    let budgets = write::lock_chains(tx, amounts.keys().map(|id| id.0).collect()).await?;
    let mut plan = plan::Plan::new(budgets, Vec::new(), HashSet::new(), true);
    let closed = plan.spend(amounts);
    write::write_budgets(tx, &plan).await?;
    Ok(closed)
}

/// A budget that is no job's: a sweep's, an owner's month. False when it is there already.
pub async fn open_budget(
    tx: &mut Tx,
    id: BudgetId,
    budget: NewBudget,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let sql = "INSERT INTO budgets (id, parent_id, cap, counts_compute, counts_storage, created_at)
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
    let NewBudget { cap, parent, counts } = budget;
    Ok(execute!(tx, sql, id, parent, cap, counts.compute, counts.storage, now)? == 1)
}

/// Where a budget stands.
pub async fn budget(conn: &mut Conn, id: BudgetId) -> Result<Option<Budget>, StoreError> {
    let sql = "SELECT id, parent_id, cap, reserved, spent, closed FROM budgets WHERE id = $1";
    fetch_optional!(conn, Budget, sql, id)
}
