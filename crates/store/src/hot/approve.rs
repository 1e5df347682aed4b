//! Approval: a job that needs a person's yes has no row in `ready` until it has it.

use futures::future::BoxFuture;
use windrow_core::{ErrorClass, JobError, JobSeq, RunOutcome, Timestamp};

use super::CHUNK;
use super::end::{Closing, Unrun, after, close_unrun, settle_parents};
use super::jobs::{Head, Hold, heads, last_runs};
use super::line::{Place, enqueue};
use crate::{StoreError, Tx, execute, fetch_all};

/// What became of a person's decision.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Approval {
    /// It is queued, or rejected, as asked.
    Done,
    /// It does not wait for approval (any more).
    NotPending,
    NotFound,
}

/// Queues a job that waits for approval. In the same transaction the caller checks budget and prices again and writes
/// the audit log.
pub async fn approve(tx: &mut Tx, job: JobSeq, now: Timestamp) -> Result<Approval, StoreError> {
    let Some(head) = pending(tx, job).await? else { return Ok(Approval::NotFound) };
    let Some(head) = head else { return Ok(Approval::NotPending) };
    let sql = "UPDATE jobs SET approved_at = $2 WHERE seq = $1 AND approved_at IS NULL";
    if execute!(tx, sql, job, now)? == 0 {
        return Ok(Approval::NotPending);
    }
    enqueue(tx, &[Place::of(&head, None)], now).await?;
    Ok(Approval::Done)
}

/// Ends a job that waits for approval as `rejected`, with the reason.
pub async fn reject(
    tx: &mut Tx,
    job: JobSeq,
    reason: &str,
    now: Timestamp,
) -> Result<(Approval, Closing), StoreError> {
    let mut closing = Closing::default();
    let Some(head) = pending(tx, job).await? else { return Ok((Approval::NotFound, closing)) };
    let Some(head) = head else { return Ok((Approval::NotPending, closing)) };
    close_rejected(tx, &[&head], "rejected", reason, &mut closing, now).await?;
    Ok((Approval::Done, closing))
}

/// Rejects up to 500 jobs that were submitted before `before` and that nobody has approved; gives how many.
pub fn expire_approvals(
    tx: &mut Tx,
    before: Timestamp,
    now: Timestamp,
) -> BoxFuture<'_, Result<(usize, Closing), StoreError>> {
    Box::pin(async move {
        let sql = "SELECT j.seq FROM jobs j
         WHERE j.needs_approval AND j.approved_at IS NULL AND j.created_at < $1
           AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.job_seq = j.seq)
         ORDER BY j.created_at LIMIT $2";
        let seqs: Vec<JobSeq> =
            fetch_all!(tx, scalar i64, sql, before, CHUNK)?.into_iter().map(JobSeq).collect();
        let mut closing = Closing::default();
        let heads = heads(tx, seqs.iter().copied(), Hold::Alone).await?;
        let ended = last_runs(tx, seqs).await?;
        let open: Vec<&Head> = heads
            .iter()
            .filter(|head| head.approved_at.is_none() && !ended.contains_key(&head.seq))
            .collect();
        let reason = "nobody approved the job in time";
        close_rejected(tx, &open, "approval_expired", reason, &mut closing, now).await?;
        Ok((open.len(), closing))
    })
}

/// The job, held, if it waits for approval; the outer none when there is no such job.
async fn pending(tx: &mut Tx, job: JobSeq) -> Result<Option<Option<Head>>, StoreError> {
    let Some(head) = heads(tx, [job], Hold::Alone).await?.pop() else { return Ok(None) };
    let ended = last_runs(tx, [job]).await?.contains_key(&job);
    let waits = head.needs_approval && head.approved_at.is_none() && !ended;
    Ok(Some(waits.then_some(head)))
}

async fn close_rejected(
    tx: &mut Tx,
    jobs: &[&Head],
    code: &'static str,
    reason: &str,
    closing: &mut Closing,
    now: Timestamp,
) -> Result<(), StoreError> {
    let unrun = || Unrun::new(RunOutcome::Rejected, JobError::new(ErrorClass::Permanent, code, reason));
    let rows: Vec<_> = jobs.iter().map(|head| (*head, None, unrun())).collect();
    let closed = close_unrun(tx, &rows, &[], closing, now).await?;
    let ends = after(tx, &closed, closing, now).await?;
    settle_parents(tx, ends, closing, now).await?;
    tx.tell_ends(&closing.unrun).await
}
