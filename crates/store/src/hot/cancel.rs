//! Cancel of a job and its tree, and the stop of a parent's unclaimed children.

use std::collections::HashSet;

use futures::future::BoxFuture;
use windrow_core::{JobError, JobSeq, JobStatus, RunOutcome, Timestamp};

use super::CHUNK;
use super::end::{
    Closing, ParentRow, Unrun, after, close_unrun, lock_parents, settle_parents, write_parents,
};
use super::jobs::{Head, Hold, heads, last_runs, statuses};
use super::line::{Place, dequeue};
use crate::{ListOf, Notes, Sql, StoreError, Tx, execute, fetch_all, fetch_optional, json_ints};

/// What became of a request to cancel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CancelAnswer {
    /// It was not running: it has ended.
    Cancelled,
    /// It runs, or waits for children that do: it ends when they notice.
    Asked,
    /// It had ended before.
    AlreadyEnded(JobStatus),
    NotFound,
}

/// Cancels a job. Of its children the queued ones are ended by [`stop_children`], which must be called while
/// [`Closing::stopping`] says so; running ones are flagged by it.
pub fn cancel(
    tx: &mut Tx,
    job: JobSeq,
    now: Timestamp,
) -> BoxFuture<'_, Result<(CancelAnswer, Closing), StoreError>> {
    Box::pin(async move {
        let mut closing = Closing::default();
        let mut parents = lock_parents(tx, [job]).await?;
        let Some(head) = heads(tx, [job], Hold::Alone).await?.pop() else {
            return Ok((CancelAnswer::NotFound, closing));
        };
        let status = status_of(tx, job).await?;
        if status.is_final() {
            return Ok((CancelAnswer::AlreadyEnded(status), closing));
        }
        flag(tx, [job], now).await?;
        if matches!(status, JobStatus::PendingApproval | JobStatus::Queued) {
            let unrun = Unrun::new(RunOutcome::Cancelled, JobError::cancelled());
            if end_queued(tx, &[&head], &unrun, &parents, &mut closing, now).await? == 1 {
                tx.tell_ends(&closing.unrun).await?;
                return Ok((CancelAnswer::Cancelled, closing));
            }
        }
        if let Some(row) = parents.first_mut() {
            row.stop("cancel");
            write_parents(tx, &[row]).await?;
            closing.stopping = true;
        }
        Ok((CancelAnswer::Asked, closing))
    })
}

async fn status_of(tx: &mut Tx, job: JobSeq) -> Result<JobStatus, StoreError> {
    let missing = || StoreError::invariant("jobs", "seq", job, "the view job_status has no such row");
    statuses(tx, [job]).await?.remove(&job).ok_or_else(missing)
}

/// Asks runs to stop; the first time counts.
async fn flag(tx: &mut Tx, jobs: impl IntoIterator<Item = JobSeq>, now: Timestamp) -> Result<(), StoreError> {
    static FLAG: Sql = Sql::new(|d| {
        let member = d.member("seq", "$1", ListOf::Int);
        format!("UPDATE jobs SET cancel_requested_at = $2 WHERE cancel_requested_at IS NULL AND {member}")
    });
    let list = json_ints(jobs.into_iter().map(|seq| seq.0));
    tx.note(Notes { cancel: true, ..Notes::default() });
    execute!(tx, FLAG.of(tx.dialect()), list, now).map(drop)
}

/// Ends jobs that are in line or wait for approval, without a run; gives how many. The caller holds their `jobs` rows;
/// those that are in no line were just claimed.
async fn end_queued(
    tx: &mut Tx,
    jobs: &[&Head],
    unrun: &Unrun,
    parents: &[ParentRow],
    closing: &mut Closing,
    now: Timestamp,
) -> Result<usize, StoreError> {
    let last = last_runs(tx, jobs.iter().map(|head| head.seq)).await?;
    let unapproved = |head: &Head| head.needs_approval && head.approved_at.is_none();
    let queued = jobs.iter().filter(|head| !unapproved(head));
    let places: Vec<Place> = queued.map(|head| Place::of(head, last.get(&head.seq))).collect();
    let gone: HashSet<JobSeq> = dequeue(tx, &places).await?.into_iter().collect();
    let ended: Vec<_> = jobs
        .iter()
        .filter(|head| unapproved(head) || gone.contains(&head.seq))
        .map(|head| (*head, last.get(&head.seq), unrun.clone()))
        .collect();
    let parents: Vec<JobSeq> = parents.iter().map(|row| row.job_seq).collect();
    let closed = close_unrun(tx, &ended, &parents, closing, now).await?;
    let ends = after(tx, &closed, closing, now).await?;
    settle_parents(tx, ends, closing, now).await?;
    Ok(closed.len())
}

/// Which of these jobs somebody asked to cancel: what a process asks about its own runs.
pub async fn poll_cancelled(conn: &mut crate::Conn, jobs: &[JobSeq]) -> Result<Vec<JobSeq>, StoreError> {
    static POLL: Sql = Sql::new(|d| {
        let member = d.member("seq", "$1", ListOf::Int);
        format!("SELECT seq FROM jobs WHERE cancel_requested_at IS NOT NULL AND {member} ORDER BY seq")
    });
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let list = json_ints(jobs.iter().map(|seq| seq.0));
    let rows = fetch_all!(conn, scalar i64, POLL.of(conn.dialect()), list)?;
    Ok(rows.into_iter().map(JobSeq).collect())
}

/// The jobs that somebody asked to cancel since then, by the clock of whoever asked; also those that have ended.
pub async fn cancels_since(conn: &mut crate::Conn, since: Timestamp) -> Result<Vec<JobSeq>, StoreError> {
    // the index has the second condition
    let sql = "SELECT seq FROM jobs WHERE cancel_requested_at >= $1 AND cancel_requested_at IS NOT NULL";
    Ok(fetch_all!(conn, scalar i64, sql, since)?.into_iter().map(JobSeq).collect())
}

/// What one call of [`stop_children`] did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Stopped {
    /// Children that were ended.
    pub ended: usize,
    /// Running children that were asked to stop.
    pub asked: usize,
    /// Whether to call it again.
    pub more: bool,
    pub closing: Closing,
}

/// Stops up to 500 children of one parent whose children are to be stopped: queued ones end; when the parent was
/// cancelled or has ended, running ones are flagged and waiting ones stop their own children.
pub fn stop_children(tx: &mut Tx, now: Timestamp) -> BoxFuture<'_, Result<Stopped, StoreError>> {
    Box::pin(async move {
        static NEXT: Sql = Sql::new(|d| {
            let lock = d.for_update_skip_locked();
            format!(
                "SELECT job_seq FROM parents WHERE stopping IS NOT NULL AND NOT stop_done ORDER BY job_seq LIMIT 1{lock}"
            )
        });
        let mut stopped = Stopped::default();
        let Some(parent) = fetch_optional!(tx, scalar i64, NEXT.of(tx.dialect()))?.map(JobSeq) else {
            return Ok(stopped);
        };
        let stop_after =
            fetch_optional!(tx, scalar i64, "SELECT stop_after FROM parents WHERE job_seq = $1", parent)?;
        let page = "SELECT seq FROM jobs WHERE parent_seq = $1 AND seq > $2 ORDER BY seq LIMIT $3";
        let page = fetch_all!(tx, scalar i64, page, parent, stop_after.unwrap_or(0), CHUNK)?;
        let page: Vec<JobSeq> = page.into_iter().map(JobSeq).collect();
        // children that are parents themselves come first in the order of locks
        let mut rows = lock_parents(tx, page.iter().copied().chain([parent])).await?;
        let Some(mut row) = rows.pop().filter(|row| row.job_seq == parent) else {
            return Ok(stopped);
        };
        row.stop_after = page.last().map_or(row.stop_after, |seq| seq.0);
        row.stop_done = page.len() < usize::try_from(CHUNK).unwrap_or(usize::MAX);
        write_parents(tx, &[&row]).await?;
        if let Some(verdict) = row.verdict_on_children() {
            let hard = matches!(row.stopping.as_deref(), Some("cancel" | "ended"));
            stop_page(tx, &page, &mut rows, &verdict, hard, &mut stopped, now).await?;
            tx.tell_ends(&stopped.closing.unrun).await?;
        }
        stopped.more = true;
        Ok(stopped)
    })
}

async fn stop_page(
    tx: &mut Tx,
    page: &[JobSeq],
    parents: &mut [ParentRow],
    verdict: &Unrun,
    hard: bool,
    stopped: &mut Stopped,
    now: Timestamp,
) -> Result<(), StoreError> {
    let heads = heads(tx, page.iter().copied(), Hold::Alone).await?;
    let status = statuses(tx, page.iter().copied()).await?;
    let is = |head: &Head, what| status.get(&head.seq) == Some(&what);
    if hard {
        let open: Vec<JobSeq> = heads
            .iter()
            .map(|head| head.seq)
            .filter(|seq| status.get(seq).is_some_and(|s| !s.is_final()))
            .collect();
        flag(tx, open.iter().copied(), now).await?;
        let mut waiting = Vec::new();
        for row in parents.iter_mut().filter(|row| open.contains(&row.job_seq)) {
            row.stop("cancel");
            waiting.push(&*row);
        }
        write_parents(tx, &waiting).await?;
        stopped.closing.stopping |= !waiting.is_empty();
        stopped.asked = heads.iter().filter(|head| is(head, JobStatus::Running)).count();
    }
    let queued: Vec<&Head> = heads.iter().filter(|head| is(head, JobStatus::Queued)).collect();
    stopped.ended = end_queued(tx, &queued, verdict, parents, &mut stopped.closing, now).await?;
    Ok(())
}
