//! Ends after which a job may run again: a retry, a release, a lost worker, an await. Whether it does is decided under
//! locks: a cancel or a stop of its parent that came meanwhile ends it now.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use windrow_core::{BudgetId, JobError, JobSeq, JobStatus, RunNo, RunOutcome, Timestamp};

use super::close::close_runs;
use super::parents::lock_parents;
use super::settle::{ChildEnd, ChildOutcome};
use super::unrun::after;
use super::{Closing, End, EndRun, EndedRun, ParentRow, RunRef, Verdict, lost_error};
use crate::hot::charge::{Worked, charge_runs};
use crate::hot::jobs::{Head, Hold, heads, last_runs};
use crate::hot::line::{Place, enqueue};
use crate::{Col, ListOf, Sql, StoreError, Tx, fetch_all, json_ints, json_rows};

crate::row! {
    struct Held {
        job_seq: JobSeq,
        run: RunNo,
        parent_seq: Option<JobSeq>,
        budget_id: Option<BudgetId>,
        started_at: Timestamp,
        lost: i64,
        progressed: bool,
    }
}

pub(super) async fn requeue(
    tx: &mut Tx,
    batch: &[&EndRun],
    closing: &mut Closing,
    answers: &mut HashMap<RunRef, EndedRun>,
    children: &mut Vec<ChildEnd>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let held = lock_running(tx, batch).await?;
    let ends: HashMap<RunRef, &EndRun> = batch.iter().map(|end| (end.at, *end)).collect();
    let awaiting = |row: &Held| matches!(ends[&at(row)].end, End::Await).then_some(row.job_seq);
    let rows = held.iter().flat_map(|row| [row.parent_seq, awaiting(row)].into_iter().flatten());
    let rows: Vec<JobSeq> = rows.collect();
    let mut parents = lock_parents(tx, rows.iter().copied()).await?;
    let heads = heads(tx, held.iter().map(|row| row.job_seq), Hold::Share).await?;
    let heads: HashMap<JobSeq, &Head> = heads.iter().map(|head| (head.seq, head)).collect();
    let worked = held.iter().map(|row| Worked {
        at: at(row),
        parent: row.parent_seq,
        budget: row.budget_id,
        started_at: Some(row.started_at),
        lost: matches!(ends[&at(row)].end, End::Lost { .. }),
    });
    let closed = charge_runs(tx, &worked.collect::<Vec<_>>(), now).await?;
    let spent = spent(tx, &held, &closed).await?;
    if !closed.is_empty() {
        parents = lock_parents(tx, rows).await?;
    }
    let parents: HashMap<JobSeq, &ParentRow> = parents.iter().map(|row| (row.job_seq, row)).collect();

    let mut verdicts = Vec::with_capacity(held.len());
    for row in &held {
        let head = heads.get(&row.job_seq).ok_or_else(|| {
            StoreError::invariant("running", "job_seq", row.job_seq, "there is no such row in jobs")
        })?;
        let above = row.parent_seq.and_then(|seq| parents.get(&seq).copied());
        verdicts.push(decide(ends[&at(row)], row, head, (above, spent.contains(&row.job_seq)), now));
    }
    let closed = close_runs(tx, &verdicts, now).await?;
    children.extend(after(tx, &closed, closing, now).await?);

    let last = last_runs(tx, closed.iter().map(|run| run.at.job)).await?;
    let mut places = Vec::new();
    for run in &closed {
        let status = match run.outcome {
            RunOutcome::Awaited if parents.contains_key(&run.at.job) => {
                children.push(ChildEnd { parent: run.at.job, outcome: ChildOutcome::Hold });
                JobStatus::Waiting
            }
            outcome => outcome.final_status().unwrap_or(JobStatus::Queued),
        };
        if status == JobStatus::Queued {
            places.push(Place::of(heads[&run.at.job], last.get(&run.at.job)));
        }
        answers.insert(run.at, EndedRun { outcome: run.outcome, status });
    }
    closing.requeued |= places.iter().any(|place| place.run_at <= now);
    enqueue(tx, &places, now).await
}

fn at(row: &Held) -> RunRef {
    RunRef { job: row.job_seq, run: row.run }
}

async fn lock_running(tx: &mut Tx, batch: &[&EndRun]) -> Result<Vec<Held>, StoreError> {
    static LOCK: Sql = Sql::new(|dialect| {
        let rows = dialect.rows("$1", "i", &[("job_seq", Col::Int), ("run", Col::Int)]);
        let held = dialect.pick(
            "running r CROSS JOIN jobs j WHERE r.job_seq = i.job_seq AND r.run = i.run AND j.seq = r.job_seq",
            // a lock keeps the subquery one that is looked up row by row, whatever ANALYZE has seen
            "LATERAL (SELECT * FROM running r WHERE r.job_seq = i.job_seq AND r.run = i.run FOR UPDATE) r
             JOIN jobs j ON j.seq = r.job_seq",
        );
        format!(
            "SELECT r.job_seq, r.run, j.parent_seq, j.budget_id, r.started_at, r.lost,
                    EXISTS (SELECT 1 FROM checkpoints c WHERE c.job_seq = r.job_seq AND c.run = r.run)
                    OR EXISTS (SELECT 1 FROM call_journal k WHERE k.job_seq = r.job_seq AND k.run = r.run) AS progressed
             FROM {rows} CROSS JOIN {held}"
        )
    });
    let refs: HashSet<(i64, i64)> = batch.iter().map(|end| (end.at.job.0, end.at.run.0)).collect();
    let mut refs: Vec<_> = refs.into_iter().collect();
    refs.sort_unstable();
    fetch_all!(tx, Held, LOCK.of(tx.dialect()), json_rows(&refs))
}

/// Which of the jobs must not run again because their tree's budget is closed. One that has made children may, to put
/// together what they made.
async fn spent(
    tx: &mut Tx,
    held: &[Held],
    closed: &HashSet<BudgetId>,
) -> Result<HashSet<JobSeq>, StoreError> {
    static PARENTS: Sql = Sql::new(|d| {
        let member = d.member("parent_seq", "$1", ListOf::Int);
        format!("SELECT DISTINCT parent_seq FROM jobs WHERE parent_seq IS NOT NULL AND {member}")
    });
    let over = held.iter().filter(|row| row.budget_id.is_some_and(|id| closed.contains(&id)));
    let mut over: HashSet<JobSeq> = over.map(|row| row.job_seq).collect();
    if !over.is_empty() {
        let list = json_ints(over.iter().map(|seq| seq.0));
        for parent in fetch_all!(tx, scalar i64, PARENTS.of(tx.dialect()), list)? {
            over.remove(&JobSeq(parent));
        }
    }
    Ok(over)
}

fn decide<'a>(
    end: &'a EndRun,
    row: &Held,
    head: &Head,
    (above, spent): (Option<&ParentRow>, bool),
    now: Timestamp,
) -> Verdict<'a> {
    if head.cancel_requested_at.is_some() {
        let error = Some(Cow::Owned(JobError::cancelled()));
        return Verdict { error, ..Verdict::new(end.at, RunOutcome::Cancelled) };
    }
    if let Some(stop) = above.and_then(ParentRow::verdict_on_children) {
        return Verdict { error: Some(Cow::Owned(stop.error)), ..Verdict::new(end.at, stop.outcome) };
    }
    if spent && !matches!(end.end, End::Await) {
        let error =
            Some(Cow::Owned(JobError::budget("the work of the job's tree has cost more than its budget")));
        return Verdict { error, ..Verdict::new(end.at, RunOutcome::BudgetExceeded) };
    }
    // its old place in line, but never one in the future: a clock may have gone back
    let again =
        |outcome| Verdict { retry_at: Some(row.started_at.min(now)), ..Verdict::new(end.at, outcome) };
    match &end.end {
        End::Retry { at, error } => Verdict {
            retry_at: Some(*at),
            burnt: true,
            error: Some(Cow::Borrowed(error)),
            ..Verdict::new(end.at, RunOutcome::Retried)
        },
        End::Lost { poison_after } if !row.progressed && poison_after.is_some_and(|n| row.lost + 1 >= n) => {
            Verdict {
                error: Some(Cow::Owned(poison_error(row.lost + 1))),
                dead_letter: true,
                lost: Some(1),
                ..Verdict::new(end.at, RunOutcome::Failed)
            }
        }
        End::Lost { .. } => Verdict {
            error: Some(Cow::Owned(lost_error())),
            lost: Some(i64::from(!row.progressed)),
            ..again(RunOutcome::Lost)
        },
        End::Await => Verdict { retry_at: Some(now), ..Verdict::new(end.at, RunOutcome::Awaited) },
        _ => Verdict { lost: None, ..again(RunOutcome::Released) },
    }
}

fn poison_error(lost: i64) -> JobError {
    let message = format!("{lost} runs in a row took their worker down without progress");
    JobError::permanent("poison", message)
}
