//! Ends without a run, and what follows the end of any job.

use std::collections::HashMap;

use windrow_core::{JobError, JobSeq, JobStatus, RunOutcome, Timestamp};

use super::close::Closed;
use super::parents::{delete_parents, lock_parents, write_parents};
use super::{ChildEnd, Closing, ParentRow, RunRef};
use crate::hot::jobs::{Head, LastRun};
use crate::hot::line::next_run;
use crate::hot::money::abandon_calls;
use crate::{Col, Sql, StoreError, Tx, UnrunEnd, execute, json_rows};

/// A job that ends without a run: cancelled or stopped while queued, rejected, or a parent that its children end.
#[derive(Clone, Debug)]
pub(in crate::hot) struct Unrun {
    pub(in crate::hot) outcome: RunOutcome,
    pub(in crate::hot) error: JobError,
    /// Whether it waits for a person.
    pub(in crate::hot) dead_letter: bool,
}

impl Unrun {
    /// An end that asks nothing of anybody.
    pub(in crate::hot) const fn new(outcome: RunOutcome, error: JobError) -> Self {
        Self { outcome, error, dead_letter: false }
    }
}

static INSERT_UNRUN: Sql = Sql::new(|dialect| {
    let rows = dialect.rows(
        "$1",
        "i",
        &[
            ("job_seq", Col::Int),
            ("run", Col::Int),
            ("owner_id", Col::Int),
            ("outcome", Col::Text),
            ("attempts", Col::Int),
            ("lost", Col::Int),
            ("class", Col::Text),
            ("code", Col::Text),
            ("error", Col::Text),
            ("dead_letter", Col::Bool),
        ],
    );
    format!(
        "INSERT INTO runs (job_seq, run, owner_id, outcome, ended_at, attempts, lost, class, code, error, dead_letter)
         SELECT job_seq, run, owner_id, outcome, $2, attempts, lost, class, code, error, dead_letter FROM {rows}"
    )
});

/// Writes the `runs` row of jobs that end without a run. Gives them as [`after`] wants them.
pub(in crate::hot) async fn close_unrun(
    tx: &mut Tx,
    jobs: &[(&Head, Option<&LastRun>, Unrun)],
    parents: &[JobSeq],
    closing: &mut Closing,
    now: Timestamp,
) -> Result<Vec<Closed>, StoreError> {
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let mut rows = Vec::with_capacity(jobs.len());
    let mut closed = Vec::with_capacity(jobs.len());
    for (head, last, unrun) in jobs {
        let (run, attempts, lost) = next_run(head, *last);
        let error = &unrun.error;
        let texts = (error.class.as_str(), error.code.as_ref(), error.message.as_str());
        if let Some(status) = unrun.outcome.final_status() {
            let at = RunRef { job: head.seq, run };
            closing.unrun.push(UnrunEnd { at, workload: head.workload.clone(), status });
        }
        let outcome = unrun.outcome.as_str();
        let ids = (head.seq.0, run.0, head.owner_id.0);
        rows.push((
            ids.0,
            ids.1,
            ids.2,
            outcome,
            attempts,
            lost,
            texts.0,
            texts.1,
            texts.2,
            unrun.dead_letter,
        ));
        closed.push(Closed {
            at: RunRef { job: head.seq, run },
            outcome: unrun.outcome,
            id: head.id,
            parent: head.parent_seq,
            budget: head.budget_id,
            webhook_url: head.webhook_url.clone(),
            is_parent: parents.contains(&head.seq),
            started_at: None,
        });
    }
    execute!(tx, INSERT_UNRUN.of(tx.dialect()), json_rows(&rows), now)?;
    Ok(closed)
}

/// What follows ends that were written: calls in flight count as unconfirmed, children that were not waited for are
/// stopped, webhooks are to be told. Gives the ends that parents are to count.
pub(in crate::hot) async fn after(
    tx: &mut Tx,
    closed: &[Closed],
    closing: &mut Closing,
    now: Timestamp,
) -> Result<Vec<ChildEnd>, StoreError> {
    let finals: HashMap<JobSeq, JobStatus> =
        closed.iter().filter_map(|run| Some((run.at.job, run.outcome.final_status()?))).collect();
    stop_own_children(
        tx,
        closed.iter().filter(|run| run.is_parent && finals.contains_key(&run.at.job)),
        closing,
    )
    .await?;
    tell_webhooks(tx, closed, &finals, now).await?;
    let priced: Vec<RunRef> = closed.iter().filter(|run| run.budget.is_some()).map(|run| run.at).collect();
    abandon_calls(tx, &priced, now).await?;
    let ends = closed.iter().filter(|run| finals.contains_key(&run.at.job));
    Ok(ends.filter_map(|run| Some(ChildEnd::of(run.parent?, run.outcome))).collect())
}

async fn stop_own_children(
    tx: &mut Tx,
    ended: impl Iterator<Item = &Closed>,
    closing: &mut Closing,
) -> Result<(), StoreError> {
    let mut rows = lock_parents(tx, ended.map(|run| run.at.job)).await?;
    for row in &mut rows {
        row.stop("ended");
    }
    let (over, kept): (Vec<&ParentRow>, Vec<&ParentRow>) = rows.iter().partition(|row| row.is_over());
    closing.stopping |= !kept.is_empty();
    write_parents(tx, &kept).await?;
    delete_parents(tx, &over.iter().map(|row| row.job_seq).collect::<Vec<_>>()).await
}

/// One outbox row a final status of a job that asked for it. What is sent is read when it is sent.
async fn tell_webhooks(
    tx: &mut Tx,
    closed: &[Closed],
    finals: &HashMap<JobSeq, JobStatus>,
    now: Timestamp,
) -> Result<(), StoreError> {
    static INSERT: Sql = Sql::new(|dialect| {
        let rows = dialect.rows("$1", "i", &[("job_seq", Col::Int), ("payload", Col::Text)]);
        format!(
            "INSERT INTO outbox (topic, job_seq, payload, due_at, created_at)
             SELECT 'webhook', job_seq, payload, $2, $2 FROM {rows}"
        )
    });
    let mut rows = Vec::new();
    for run in closed {
        let (Some(url), Some(status)) = (&run.webhook_url, finals.get(&run.at.job)) else { continue };
        let payload = serde_json::json!({
            "schema_version": 1, "url": url, "job": run.id, "run": run.at.run, "status": status,
        });
        rows.push((run.at.job.0, payload.to_string()));
    }
    if rows.is_empty() {
        return Ok(());
    }
    execute!(tx, INSERT.of(tx.dialect()), json_rows(&rows), now).map(drop)
}
