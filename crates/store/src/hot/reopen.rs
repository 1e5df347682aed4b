//! A person's second chance for a job, and a person's last word on a dead letter.

use futures::future::BoxFuture;
use windrow_core::{JobSeq, JobStatus, PicoUsd, Timestamp};

use super::end::lock_parents;
use super::jobs::{Head, Hold, heads, last_runs, statuses};
use super::line::{Place, enqueue};
use crate::{Col, Sql, StoreError, Tx, execute, fetch_all, fetch_one, json_rows};

/// What became of a retry by a person.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reopened {
    /// It is queued again, and so many of its children with it.
    Reopened {
        children: usize,
    },
    /// It has this status, from which nothing is retried.
    NotEnded(JobStatus),
    /// It is a child: its root is to be retried.
    Child,
    /// Children of its last run still run; try again when they have stopped.
    Settling,
    NotFound,
}

/// Puts a failed, cancelled or budget-exceeded job in line again, with its children that did not complete. Attempts
/// start anew, run numbers go on, checkpoints and journals are kept. `cap` raises the tree's budget; a lower one changes
/// nothing.
pub fn reopen(
    tx: &mut Tx,
    job: JobSeq,
    cap: Option<PicoUsd>,
    now: Timestamp,
) -> BoxFuture<'_, Result<Reopened, StoreError>> {
    Box::pin(async move {
        lock_parents(tx, [job]).await?;
        let Some(head) = heads(tx, [job], Hold::Alone).await?.pop() else { return Ok(Reopened::NotFound) };
        if head.parent_seq.is_some() {
            return Ok(Reopened::Child);
        }
        let status = statuses(tx, [job]).await?.remove(&job).unwrap_or(JobStatus::Queued);
        let never_approved = head.needs_approval && head.approved_at.is_none();
        if !status.may_become(JobStatus::Queued) || !status.is_final() || never_approved {
            return Ok(Reopened::NotEnded(status));
        }
        if children_run(tx, job).await? {
            return Ok(Reopened::Settling);
        }
        if let Some(budget) = head.budget_id {
            let sql = "UPDATE budgets SET closed = FALSE, cap = CASE WHEN $2 > cap THEN $2 ELSE cap END WHERE id = $1";
            execute!(tx, sql, budget, cap)?;
        }
        reopen_each(tx, &[&head], now).await?;
        Ok(Reopened::Reopened { children: reopen_children(tx, job, now).await? })
    })
}

/// Whether some job of the tree still counts open children: they were flagged, and have not yet noticed.
async fn children_run(tx: &mut Tx, root: JobSeq) -> Result<bool, StoreError> {
    let sql = "WITH RECURSIVE tree(seq) AS (
             SELECT seq FROM jobs WHERE seq = $1
             UNION ALL SELECT j.seq FROM tree t JOIN jobs j ON j.parent_seq = t.seq)
         SELECT count(*) FROM tree t JOIN parents p ON p.job_seq = t.seq";
    Ok(fetch_one!(tx, scalar i64, sql, root)? > 0)
}

/// Conditional on the last run, so that a second retry of the same end does nothing.
async fn reopen_each(tx: &mut Tx, jobs: &[&Head], now: Timestamp) -> Result<Vec<JobSeq>, StoreError> {
    static WIN: Sql = Sql::new(|dialect| {
        let rows = dialect.rows("$1", "i", &[("seq", Col::Int), ("run", Col::Int)]);
        format!(
            "UPDATE jobs SET reopened_run = i.run, reopened_at = $2, cancel_requested_at = NULL, discarded_at = NULL
             FROM {rows} WHERE jobs.seq = i.seq AND jobs.reopened_run < i.run RETURNING jobs.seq"
        )
    });
    let last = last_runs(tx, jobs.iter().map(|head| head.seq)).await?;
    let rows: Vec<(i64, i64)> =
        jobs.iter().filter_map(|head| Some((head.seq.0, last.get(&head.seq)?.run.0))).collect();
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let won: Vec<i64> = fetch_all!(tx, scalar i64, WIN.of(tx.dialect()), json_rows(&rows), now)?;
    let mut places = Vec::with_capacity(won.len());
    for head in jobs.iter().filter(|head| won.contains(&head.seq.0)) {
        let run = last.get(&head.seq).map_or(head.reopened_run, |last| last.run);
        let reopened = Head { reopened_run: run, reopened_at: Some(now), ..(*head).clone() };
        places.push(Place::of(&reopened, last.get(&head.seq)));
    }
    enqueue(tx, &places, now).await?;
    Ok(won.into_iter().map(JobSeq).collect())
}

/// Level by level: the children that did not complete are queued, and counted as open by their parent, which holds
/// itself until it has run again.
async fn reopen_children(tx: &mut Tx, root: JobSeq, now: Timestamp) -> Result<usize, StoreError> {
    static CHILDREN: Sql = Sql::new(|dialect| {
        let rows = dialect.rows("$1", "i", &[("seq", Col::Int)]);
        format!("SELECT j.seq FROM {rows} CROSS JOIN jobs j WHERE j.parent_seq = i.seq ORDER BY j.seq")
    });
    static COUNT: Sql = Sql::new(|dialect| {
        let rows = dialect.rows("$1", "i", &[("seq", Col::Int), ("open", Col::Int)]);
        format!("INSERT INTO parents (job_seq, open, held) SELECT i.seq, i.open, TRUE FROM {rows}")
    });
    let (mut level, mut total) = (vec![(root.0,)], 0);
    while !level.is_empty() {
        let seqs = fetch_all!(tx, scalar i64, CHILDREN.of(tx.dialect()), json_rows(&level))?;
        let children = heads(tx, seqs.into_iter().map(JobSeq), Hold::Alone).await?;
        let status = statuses(tx, children.iter().map(|head| head.seq)).await?;
        let dead = |head: &&Head| {
            status.get(&head.seq).is_some_and(|s| s.is_final() && s.may_become(JobStatus::Queued))
        };
        let again: Vec<&Head> = children.iter().filter(dead).collect();
        let won = reopen_each(tx, &again, now).await?;
        let open: Vec<(i64, i64)> = level
            .iter()
            .map(|(seq,)| (*seq, again.iter().filter(|head| head.parent_seq == Some(JobSeq(*seq))).count()))
            .filter(|(_, count)| *count > 0)
            .map(|(seq, count)| (seq, i64::try_from(count).unwrap_or(i64::MAX).saturating_add(1)))
            .collect();
        if !open.is_empty() {
            execute!(tx, COUNT.of(tx.dialect()), json_rows(&open))?;
        }
        total += won.len();
        level = won.into_iter().map(|seq| (seq.0,)).collect();
    }
    Ok(total)
}

/// A person has decided that a failed job is not worth another try. False when it isn't failed, or was discarded before.
pub async fn discard(tx: &mut Tx, job: JobSeq, now: Timestamp) -> Result<bool, StoreError> {
    if heads(tx, [job], Hold::Alone).await?.is_empty() {
        return Ok(false);
    }
    if statuses(tx, [job]).await?.get(&job) != Some(&JobStatus::Failed) {
        return Ok(false);
    }
    let sql = "UPDATE jobs SET discarded_at = $2 WHERE seq = $1 AND discarded_at IS NULL";
    Ok(execute!(tx, sql, job, now)? == 1)
}
