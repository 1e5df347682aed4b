//! The engine's statements: set-based, a batch at a time. A function takes the transaction and a batch, and gives one
//! answer an item, in the batch's order. Commit before you believe an answer.
//!
//! Locks are taken in this order, and by ascending key within a table (parents by descending: children before their
//! parents): `running`, `parents`, `jobs`, `scheduled`, `ready`, `budgets`. Whatever puts a job in line again
//! holds its `jobs` row, so that a cancel either finds it there or is seen by whoever puts it there.

mod approve;
mod cancel;
mod charge;
mod checkpoint;
mod children;
mod claim;
mod end;
mod events;
mod jobs;
mod leases;
mod line;
mod money;
mod reopen;
mod rescue;
mod retention;
mod schedule;
mod submit;
mod workers;

pub use approve::{Approval, approve, expire_approvals, reject};
pub use cancel::{CancelAnswer, Stopped, cancel, cancels_since, poll_cancelled, stop_children};
pub use charge::{StorageUse, use_storage};
pub use checkpoint::{
    Checkpoint, JournalLine, Part, Progress, SaveAnswer, checkpoint, journal, parts_page, progress, save,
    saved,
};
pub use children::{Added, Child, NewChild, add_children, children_page};
pub use claim::{
    Caps, CheckpointState, ClaimRequest, Claimed, Cursor, LineKey, SUSPECT_AFTER, below_marks, claim,
};
pub use end::{Closing, End, EndRun, Ended, EndedRun, Output, end_runs};
pub use events::{Event, NewEvent, append_events, events_page};
pub use leases::{Lease, REMOTE_POISON_AFTER, lapse, leases, renew, sweep_leases};
pub use money::{Budget, CallEnd, CallUsage, MoneyAnswer, MoneyOp, budget, open_budget, reserve_and_settle};
pub use reopen::{Reopened, discard, reopen};
pub use rescue::{Rescued, rescue};
pub use retention::{Deleted, OldJobs, delete_trees, forget_saves, old_jobs, old_trees, undiscarded, vacuum};
pub use schedule::{Due, schedule_due};
pub use submit::{NewBudget, NewJob, Submitted, submit};
pub use workers::{
    Beat, Observations, WorkerKind, beat, boot, bury, forget_worker, forgotten_workers, held_runs,
    installation, leave, live_beats, register_worker, sweep_workers,
};

use windrow_core::{JobSeq, RunNo};

/// A run of a job: the fencing token that every write of a run carries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RunRef {
    pub job: JobSeq,
    pub run: RunNo,
}

/// What became of a write that carries a fencing token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fenced {
    /// Written.
    Applied,
    /// The run no longer holds its job: nothing was written, and the run should stop.
    Stale,
}

/// How many rows one transaction of background work moves at most.
pub const CHUNK: i64 = 500;
