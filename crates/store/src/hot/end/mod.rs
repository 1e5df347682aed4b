//! The end of runs: the fence, the outcome, what happens to the job and to its parent.

mod close;
mod parents;
mod requeue;
mod settle;
mod sqlite;
mod unrun;

pub(super) use parents::{ParentRow, lock_parents, write_parents};
pub(super) use settle::{ChildEnd, settle_parents};
pub(super) use unrun::{Unrun, after, close_unrun};

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use close::{Closed, close_runs};
use futures::future::BoxFuture;
use windrow_core::{ErrorClass, JobError, JobSeq, JobStatus, RunOutcome, Timestamp};

use super::RunRef;
use super::charge::{Worked, charge_runs};
use crate::{StoreError, Tx, UnrunEnd};

/// What a completed job gives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Output {
    pub schema_version: i64,
    /// JSON text.
    pub json: String,
}

/// How a run ends.
#[derive(Clone, PartialEq, Debug)]
pub enum End {
    Complete(Option<Output>),
    /// The budget has no room; what was made so far is kept.
    BudgetExceeded {
        output: Option<Output>,
        error: JobError,
    },
    /// Failed and worth another attempt, not before `at`. The caller has asked the retry policy.
    Retry {
        at: Timestamp,
        error: JobError,
    },
    /// Failed for good. `dead_letter`: it ran out of attempts or is poison, and waits for a person.
    Fail {
        error: JobError,
        dead_letter: bool,
    },
    Cancel,
    /// Given back by a worker that stops: no attempt burnt.
    Release,
    /// Waits for its children: no attempt burnt.
    Await,
    /// The worker died: no attempt burnt, counts as lost unless the run made progress. The `poison_after`-th loss in a
    /// row makes the job a dead letter; none where a child process will find out (engine: suspects).
    Lost {
        poison_after: Option<i64>,
    },
}

/// The end of one run.
#[derive(Clone, PartialEq, Debug)]
pub struct EndRun {
    pub at: RunRef,
    pub end: End,
}

/// What came of an end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ended {
    /// The run no longer held its job: nothing was written, its output is to be thrown away.
    Stale,
    Ended(EndedRun),
}

/// An end that was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndedRun {
    /// May differ from what was asked: a retry of a job that was cancelled meanwhile is `cancelled`.
    pub outcome: RunOutcome,
    /// The job's status now.
    pub status: JobStatus,
}

/// What else happened in the transaction that ended runs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Closing {
    /// One answer an item, in the batch's order.
    pub ended: Vec<Ended>,
    /// Parents that are in line again, because their last child ended.
    pub woken: Vec<JobSeq>,
    /// Parents that ended because of their children.
    pub parents_ended: Vec<(JobSeq, JobStatus)>,
    /// Whether children of some parent are now to be stopped: call [`super::stop_children`] until nothing is left.
    pub stopping: bool,
    /// Whether jobs were put in line that may be claimed at once.
    pub requeued: bool,
    /// All jobs that ended without a run, those parents too.
    pub unrun: Vec<UnrunEnd>,
}

/// One row for `runs`, decided.
#[derive(Clone, PartialEq, Debug)]
struct Verdict<'a> {
    at: RunRef,
    outcome: RunOutcome,
    retry_at: Option<Timestamp>,
    /// Whether it counts as a failed attempt.
    burnt: bool,
    /// Lost runs in a row: 1 counts one more, 0 starts anew, none leaves them as they are.
    lost: Option<i64>,
    error: Option<Cow<'a, JobError>>,
    dead_letter: bool,
    output: Option<&'a Output>,
}

impl<'a> Verdict<'a> {
    fn new(at: RunRef, outcome: RunOutcome) -> Self {
        Self {
            at,
            outcome,
            retry_at: None,
            burnt: false,
            lost: Some(0),
            error: None,
            dead_letter: false,
            output: None,
        }
    }

    /// Of an end after which the job does not run again; none when it might.
    fn of_final(end: &'a EndRun) -> Option<Self> {
        let verdict = |outcome| Self::new(end.at, outcome);
        Some(match &end.end {
            End::Complete(output) => Self { output: output.as_ref(), ..verdict(RunOutcome::Completed) },
            End::BudgetExceeded { output, error } => Self {
                output: output.as_ref(),
                error: Some(Cow::Borrowed(error)),
                ..verdict(RunOutcome::BudgetExceeded)
            },
            End::Fail { error, dead_letter } => Self {
                burnt: true,
                error: Some(Cow::Borrowed(error)),
                dead_letter: *dead_letter,
                ..verdict(RunOutcome::Failed)
            },
            End::Cancel => {
                Self { error: Some(Cow::Owned(JobError::cancelled())), ..verdict(RunOutcome::Cancelled) }
            }
            End::Retry { .. } | End::Release | End::Await | End::Lost { .. } => return None,
        })
    }
}

/// Ends runs. A run that lost its job is answered [`Ended::Stale`]; the rest of the batch is not touched by that.
pub fn end_runs<'a>(
    tx: &'a mut Tx,
    batch: &'a [EndRun],
    now: Timestamp,
) -> BoxFuture<'a, Result<Closing, StoreError>> {
    Box::pin(async move {
        let mut closing = Closing::default();
        let mut answers: HashMap<RunRef, EndedRun> = HashMap::with_capacity(batch.len());
        // of several ends of one run the first counts
        let mut seen = HashSet::with_capacity(batch.len());
        let first: Vec<&EndRun> = batch.iter().filter(|end| seen.insert(end.at)).collect();
        let finals: Vec<Verdict<'_>> = first.iter().filter_map(|end| Verdict::of_final(end)).collect();
        let closed = close_runs(tx, &finals, now).await?;
        let again: Vec<&EndRun> = first.into_iter().filter(|end| Verdict::of_final(end).is_none()).collect();
        // mostly nothing has a price, and then nothing is to be gathered for it
        if !tx.prices().is_zero() {
            charge_runs(tx, &closed.iter().map(worked).collect::<Vec<_>>(), now).await?;
        }
        let mut children = after(tx, &closed, &mut closing, now).await?;
        for run in &closed {
            let status = run.outcome.final_status().unwrap_or(JobStatus::Queued);
            answers.insert(run.at, EndedRun { outcome: run.outcome, status });
        }
        if !again.is_empty() {
            requeue::requeue(tx, &again, &mut closing, &mut answers, &mut children, now).await?;
        }
        settle_parents(tx, children, &mut closing, now).await?;
        for (run, answer) in &mut answers {
            if answer.status == JobStatus::Waiting {
                answer.status = status_after(&closing, run.job);
            }
        }
        tx.tell_ends(&closing.unrun).await?;
        closing.ended =
            batch.iter().map(|end| answers.remove(&end.at).map_or(Ended::Stale, Ended::Ended)).collect();
        Ok(closing)
    })
}

fn worked(run: &Closed) -> Worked {
    Worked { at: run.at, parent: run.parent, budget: run.budget, started_at: run.started_at, lost: false }
}

/// A run that awaits children which have all ended already doesn't wait.
fn status_after(closing: &Closing, job: JobSeq) -> JobStatus {
    if closing.woken.contains(&job) {
        return JobStatus::Queued;
    }
    let ended = closing.parents_ended.iter().find(|(seq, _)| *seq == job);
    ended.map_or(JobStatus::Waiting, |(_, status)| *status)
}

fn lost_error() -> JobError {
    JobError::new(ErrorClass::Lost, "worker_lost", "the worker died or lost its lease")
}
