//! Claim: fair picks from `ready` into `running`.
//!
//! Within a priority, claims go round-robin over the (workload, owner) pairs that have something in line, from where
//! the process's cursor stands. The pairs are found by jumping along the key of `ready` from pair to pair; of each pair
//! the first few rows are picked. On PostgreSQL a busy pair has thousands of dead index entries in front of its first
//! row: a low-water mark a pair keeps picks off them ([`below_marks`] finds what comes in there).

mod caps;
mod cursor;
mod pairs;
mod pick;
mod sqlite;

pub use caps::Caps;
pub use cursor::{Cursor, LineKey, below_marks};

use std::time::Duration;

use windrow_core::{BudgetId, JobId, JobSeq, OwnerId, Priority, RunNo, Timestamp, WorkerId};

use super::RunRef;
use crate::{Dialect, StoreError, Tx};
use caps::Headroom;
use pairs::{Pair, Pairs, Way, find_pairs};
use pick::pick;

/// Who claims what.
#[derive(Clone, Debug)]
pub struct ClaimRequest {
    pub worker: WorkerId,
    /// The names of workloads that the process can run.
    pub workloads: Vec<String>,
    /// How many runs at most.
    pub slots: usize,
    pub caps: Caps,
    /// Whether the runs are held by leases (remote workers), not by the worker's beats.
    pub leased: bool,
}

impl ClaimRequest {
    /// Whether its picks stand for themselves: no lock of a cap must hold on after them, and no lease is granted with them.
    pub(crate) fn is_plain(&self) -> bool {
        !self.leased && self.caps.is_none()
    }
}

/// What a run goes on from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckpointState {
    pub schema_version: i64,
    /// JSON text.
    pub state: String,
}

/// A run that this worker now holds: everything it needs to start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claimed {
    pub at: RunRef,
    pub id: JobId,
    pub owner: OwnerId,
    pub workload: String,
    /// JSON text.
    pub spec: String,
    pub spec_version: i64,
    pub priority: Priority,
    /// Attempts burnt by earlier runs.
    pub attempts: u32,
    /// Runs lost in a row without progress.
    pub lost: u32,
    /// Three or more lost runs: it must go alone into a child process.
    pub suspect: bool,
    /// What its calls are reserved against; none: no priced calls.
    pub budget: Option<BudgetId>,
    pub parent: Option<JobSeq>,
    pub child_key: Option<String>,
    pub request_id: Option<String>,
    pub traceparent: Option<String>,
    /// When the job was submitted, and when it became due.
    pub submitted_at: Timestamp,
    pub due_at: Timestamp,
    pub started_at: Timestamp,
    pub checkpoint: Option<CheckpointState>,
    /// Whether somebody asked for its cancel before it was claimed.
    pub cancel_requested: bool,
}

/// Lost runs in a row from which a job is a suspect.
pub const SUSPECT_AFTER: u32 = 3;

crate::row! {
    struct ClaimedRow {
        job_seq: JobSeq,
        run: RunNo,
        id: JobId,
        owner_id: OwnerId,
        workload: String,
        spec: String,
        spec_version: i64,
        priority: Priority,
        attempts: u32,
        lost: u32,
        budget_id: Option<BudgetId>,
        parent_seq: Option<JobSeq>,
        child_key: Option<String>,
        request_id: Option<String>,
        traceparent: Option<String>,
        created_at: Timestamp,
        due_at: Timestamp,
        cancel_requested_at: Option<Timestamp>,
        checkpoint_version: Option<i64>,
        checkpoint_state: Option<String>,
    }
}

impl ClaimedRow {
    fn into_claimed(self, now: Timestamp) -> Claimed {
        let state = |schema_version| CheckpointState {
            schema_version,
            state: self.checkpoint_state.clone().unwrap_or_default(),
        };
        Claimed {
            at: RunRef { job: self.job_seq, run: self.run },
            checkpoint: self.checkpoint_version.map(state),
            id: self.id,
            owner: self.owner_id,
            workload: self.workload,
            spec: self.spec,
            spec_version: self.spec_version,
            priority: self.priority,
            attempts: self.attempts,
            lost: self.lost,
            suspect: self.lost >= SUSPECT_AFTER,
            budget: self.budget_id,
            parent: self.parent_seq,
            child_key: self.child_key,
            request_id: self.request_id,
            traceparent: self.traceparent,
            submitted_at: self.created_at,
            due_at: self.due_at,
            started_at: now,
            cancel_requested: self.cancel_requested_at.is_some(),
        }
    }
}

/// Takes up to `slots` jobs out of line, high priority first, and makes their runs this worker's. `tick` is the
/// monotonic clock. When the transaction is not committed after all, call [`Cursor::forget`]. On PostgreSQL whatever
/// stands below a mark is left: see [`below_marks`].
pub async fn claim(
    tx: &mut Tx,
    request: &ClaimRequest,
    cursor: &mut Cursor,
    now: Timestamp,
    tick: Duration,
) -> Result<Vec<Claimed>, StoreError> {
    let mut claimed = Vec::new();
    if request.workloads.is_empty() {
        return Ok(claimed);
    }
    cursor.expire(tick);
    let mut headroom = Headroom::new(&request.caps);
    // one walk for all priorities: on an idle worker two of three find nothing
    let found = find(tx, request, cursor, &Priority::ALL, request.slots).await?;
    for (priority, pairs) in Priority::ALL.into_iter().zip(found) {
        let mut round = Round { request, priority, cursor: &mut *cursor, headroom: &mut headroom, now, tick };
        round.run(tx, pairs, &mut claimed).await?;
        if claimed.len() >= request.slots {
            break;
        }
    }
    cursor.set_came_short(claimed.len() < request.slots);
    if request.leased && !claimed.is_empty() {
        super::leases::grant(tx, claimed.iter().map(|claimed| claimed.at)).await?;
    }
    Ok(claimed)
}

/// The pairs of each of these priorities, as far as one walk finds them.
async fn find(
    tx: &mut Tx,
    request: &ClaimRequest,
    cursor: &Cursor,
    priorities: &[Priority],
    wanted: usize,
) -> Result<Vec<Option<Pairs>>, StoreError> {
    let way = |priority: &Priority| cursor.way(*priority, &request.workloads, wanted);
    let ways: Vec<Way> = priorities.iter().map(way).collect();
    let found = find_pairs(tx, &ways, wanted).await?;
    let start = |(priority, found): (&Priority, Option<Pairs>)| {
        let start = |found: Pairs| Pairs { pairs: cursor.start_anywhere(*priority, found.pairs), ..found };
        found.map(start)
    };
    Ok(priorities.iter().zip(found).map(start).collect())
}

/// The claims of one priority.
struct Round<'a, 'c> {
    request: &'a ClaimRequest,
    priority: Priority,
    cursor: &'a mut Cursor,
    headroom: &'a mut Headroom<'c>,
    now: Timestamp,
    tick: Duration,
}

impl Round<'_, '_> {
    /// Shares the free slots among the pairs, round after round, until they are full or nothing is left. `first` are the
    /// pairs of the first round, if they are known.
    async fn run(
        &mut self,
        tx: &mut Tx,
        mut first: Option<Pairs>,
        claimed: &mut Vec<Claimed>,
    ) -> Result<(), StoreError> {
        let mut blocked = 0;
        loop {
            let wanted = self.request.slots.saturating_sub(claimed.len());
            if wanted == 0 {
                return Ok(());
            }
            let Pairs { mut pairs, are_all } = match first.take() {
                Some(first) => first,
                None => {
                    let found =
                        find(tx, self.request, self.cursor, &[self.priority], wanted + blocked).await?;
                    found.into_iter().flatten().next().unwrap_or_default()
                }
            };
            let found = pairs.iter().filter(|pair| !pair.is_empty()).count();
            self.headroom.read(tx, &pairs).await?;
            pairs.retain(|pair| self.headroom.has_room(pair));
            let shares = pairs.iter().filter(|pair| !pair.is_empty()).count();
            let mut learnt = found.saturating_sub(shares) > blocked;
            blocked = found.saturating_sub(shares);
            let taken = self.pick(tx, &mut pairs, wanted, claimed).await?;
            learnt |= pairs.iter().filter(|pair| !pair.is_empty()).count() < shares;
            let dry = are_all && pairs.iter().all(Pair::is_exhausted);
            // pairs behind those that turned out empty, or that a cap holds back, come before second helpings
            let has_more = !dry && (taken > 0 || learnt);
            if taken >= wanted || !has_more {
                return Ok(());
            }
        }
    }

    async fn pick(
        &mut self,
        tx: &mut Tx,
        pairs: &mut [Pair],
        wanted: usize,
        claimed: &mut Vec<Claimed>,
    ) -> Result<usize, StoreError> {
        self.headroom.share(pairs, wanted);
        let rows = pick(tx, self.request, self.priority, pairs, wanted, self.now).await?;
        for row in &rows {
            self.headroom.take(&row.workload, row.owner_id);
        }
        let time = (tx.dialect() == Dialect::Postgres).then_some((self.now, self.tick));
        self.cursor.took(self.priority, pairs, &rows, rows.len() >= wanted, time);
        let taken = rows.len();
        claimed.extend(rows.into_iter().map(|row| row.into_claimed(self.now)));
        Ok(taken)
    }
}
