//! What the end of children does to their parents, level by level up the tree.

use std::collections::{BTreeMap, HashMap};

use windrow_core::{JobError, JobSeq, JobStatus, RunOutcome, Timestamp};

use super::parents::{delete_parents, lock_parents, write_parents};
use super::unrun::{Unrun, after};
use super::{Closing, ParentRow, close_unrun};
use crate::hot::jobs::{Head, Hold, heads, last_runs};
use crate::hot::line::{Place, enqueue_due};
use crate::{StoreError, Tx, fetch_one, fetch_optional};

/// Counts down from a parent's open children.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::hot) struct ChildEnd {
    pub(in crate::hot) parent: JobSeq,
    pub(in crate::hot) outcome: ChildOutcome,
}

/// What a count down is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::hot) enum ChildOutcome {
    Completed,
    BudgetExceeded,
    /// Failed, cancelled or rejected: the parent can't be completed.
    Dead,
    /// No child: the parent itself lets go of its hold.
    Hold,
}

impl ChildEnd {
    pub(in crate::hot) fn of(parent: JobSeq, outcome: RunOutcome) -> Self {
        let outcome = match outcome {
            RunOutcome::Completed => ChildOutcome::Completed,
            RunOutcome::BudgetExceeded => ChildOutcome::BudgetExceeded,
            _ => ChildOutcome::Dead,
        };
        Self { parent, outcome }
    }
}

/// Counts the ends; a parent whose last child ended is put in line, failed or cancelled, which may end its own parent.
pub(in crate::hot) async fn settle_parents(
    tx: &mut Tx,
    ends: Vec<ChildEnd>,
    closing: &mut Closing,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut ends = ends;
    while !ends.is_empty() {
        let mut by_parent: BTreeMap<JobSeq, Vec<ChildOutcome>> = BTreeMap::new();
        for end in &ends {
            by_parent.entry(end.parent).or_default().push(end.outcome);
        }
        let mut rows = lock_parents(tx, by_parent.keys().copied()).await?;
        let (mut kept, mut over, mut free) = (Vec::new(), Vec::new(), Vec::new());
        for row in &mut rows {
            count(row, &by_parent[&row.job_seq], closing);
            if row.is_over() {
                over.push(row.job_seq);
            } else if row.open <= 0 && !row.held {
                over.push(row.job_seq);
                free.push(&*row);
            } else {
                kept.push(&*row);
            }
        }
        write_parents(tx, &kept).await?;
        delete_parents(tx, &over).await?;
        ends = if free.is_empty() { Vec::new() } else { go_on(tx, &free, closing, now).await? };
    }
    Ok(())
}

fn count(row: &mut ParentRow, outcomes: &[ChildOutcome], closing: &mut Closing) {
    for outcome in outcomes {
        row.open -= 1;
        match outcome {
            ChildOutcome::Completed => {}
            ChildOutcome::Hold => row.held = false,
            ChildOutcome::BudgetExceeded => row.stop("budget"),
            ChildOutcome::Dead => {
                row.dead += 1;
                row.stop("dead");
            }
        }
    }
    closing.stopping |= row.stopping.is_some() && !row.stop_done;
}

/// Parents that waited, and wait for nothing any more. Gives the ends that their own parents are to count.
async fn go_on(
    tx: &mut Tx,
    free: &[&ParentRow],
    closing: &mut Closing,
    now: Timestamp,
) -> Result<Vec<ChildEnd>, StoreError> {
    let above = lock_parents(tx, free.iter().filter_map(|row| row.parent_seq)).await?;
    let above: HashMap<JobSeq, &ParentRow> = above.iter().map(|row| (row.job_seq, row)).collect();
    let by_seq: HashMap<JobSeq, &ParentRow> = free.iter().map(|row| (row.job_seq, *row)).collect();
    let heads = heads(tx, by_seq.keys().copied(), Hold::Share).await?;
    let last = last_runs(tx, by_seq.keys().copied()).await?;
    let (mut places, mut unrun) = (Vec::new(), Vec::new());
    for head in &heads {
        let stop = head.parent_seq.and_then(|seq| above.get(&seq)?.verdict_on_children());
        match verdict(head, by_seq[&head.seq], stop) {
            Some(mut end) => {
                if end.outcome == RunOutcome::Failed {
                    if let Some((code, why)) = first_failure(tx, head.seq).await? {
                        end.error.message.push_str(&format!("; the first of them: {code}: {why}"));
                    }
                    end.dead_letter = has_dead_letter(tx, head.seq).await?;
                }
                let status = end.outcome.final_status().unwrap_or(JobStatus::Failed);
                closing.parents_ended.push((head.seq, status));
                unrun.push((head, last.get(&head.seq), end));
            }
            None => {
                places.push(Place::of(head, last.get(&head.seq)));
                closing.woken.push(head.seq);
                closing.requeued = true;
            }
        }
    }
    enqueue_due(tx, &places).await?;
    let closed = close_unrun(tx, &unrun, &[], closing, now).await?;
    after(tx, &closed, closing, now).await
}

/// Why the first child that failed by itself did: code and message.
async fn first_failure(tx: &mut Tx, parent: JobSeq) -> Result<Option<(String, String)>, StoreError> {
    let sql = "SELECT coalesce(r.code, ''), coalesce(r.error, '')
         FROM jobs j JOIN runs r ON r.job_seq = j.seq
         WHERE j.parent_seq = $1 AND r.outcome = 'failed' AND r.code <> 'sibling_failed'
           AND r.run > j.reopened_run
         ORDER BY j.seq, r.run DESC LIMIT 1";
    fetch_optional!(tx, (String, String), sql, parent)
}

/// Whether a child is a dead letter: its parent is what a person decides on.
async fn has_dead_letter(tx: &mut Tx, parent: JobSeq) -> Result<bool, StoreError> {
    let sql = "SELECT count(*) FROM jobs j JOIN runs r ON r.job_seq = j.seq
         WHERE j.parent_seq = $1 AND r.dead_letter AND r.run > j.reopened_run";
    Ok(fetch_one!(tx, scalar i64, sql, parent)? > 0)
}

fn verdict(head: &Head, row: &ParentRow, stop: Option<Unrun>) -> Option<Unrun> {
    if head.cancel_requested_at.is_some() {
        return Some(Unrun::new(RunOutcome::Cancelled, JobError::cancelled()));
    }
    if row.dead > 0 {
        let message = format!("{} of the job's children did not complete", row.dead);
        let error = JobError::permanent("child_failed", message);
        return Some(Unrun::new(RunOutcome::Failed, error));
    }
    stop
}
