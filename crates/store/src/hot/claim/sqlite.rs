//! The same on SQLite: the one writer takes row by row.

use rusqlite::params;
use windrow_core::{Priority, Timestamp};

use super::pairs::{DISABLED, Pair};
use super::{ClaimRequest, ClaimedRow};
use crate::direct::{Direct, Text, at};
use crate::{StoreError, Tx};

const FIRST: Text = "
SELECT job_seq, run, run_at, attempts, lost FROM ready WHERE priority = ?1 AND workload = ?2 AND owner_id = ?3
ORDER BY run_at, job_seq LIMIT ?4";

const GONE: Text = "
DELETE FROM ready WHERE priority = ?1 AND workload = ?2 AND owner_id = ?3 AND (run_at, job_seq) <= (?4, ?5)";

const STARTED: Text = "
INSERT INTO running (job_seq, run, worker_id, owner_id, workload, started_at, attempts, lost)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";

const JOB: Text = "
SELECT j.id, j.spec, j.spec_version, j.priority, j.budget_id, j.parent_seq, j.child_key, j.request_id, j.traceparent,
       j.created_at, j.cancel_requested_at, c.schema_version, c.state
FROM jobs j LEFT JOIN checkpoints c ON c.job_seq = j.seq WHERE j.seq = ?1";

/// Picks each pair's share, at most `limit` in all, in the pairs' order.
pub(super) async fn pick_sqlite(
    tx: &mut Tx,
    request: &ClaimRequest,
    priority: Priority,
    pairs: &[Pair],
    limit: usize,
    now: Timestamp,
) -> Result<Vec<ClaimedRow>, StoreError> {
    let texts = [DISABLED, FIRST, GONE, STARTED, JOB];
    tx.direct(&texts, |direct| Picker { direct, request, priority, now }.pick(pairs, limit)).await
}

/// A row of `ready`.
struct Ready {
    job_seq: i64,
    run: i64,
    run_at: i64,
    attempts: i64,
    lost: i64,
}

struct Picker<'a, 'c> {
    direct: &'a Direct<'c>,
    request: &'a ClaimRequest,
    priority: Priority,
    now: Timestamp,
}

impl Picker<'_, '_> {
    fn pick(&self, pairs: &[Pair], limit: usize) -> Result<Vec<ClaimedRow>, StoreError> {
        let mut disabled = self.direct.prepare(DISABLED)?;
        let mut first = self.direct.prepare(FIRST)?;
        let mut gone = self.direct.prepare(GONE)?;
        let mut claimed = Vec::new();
        let mut picked = Vec::new();
        for pair in pairs.iter().filter(|pair| pair.limit > 0) {
            let left = i64::try_from(limit - picked.len()).unwrap_or(i64::MAX);
            if left == 0 {
                break;
            }
            if disabled.first(params![pair.owner.0], |_| Ok(()))?.is_some() {
                continue;
            }
            let (rank, share) = (self.priority.rank(), pair.limit.min(left));
            let rows = first.all(params![rank, pair.workload, pair.owner.0, share], |row| {
                Ok(Ready {
                    job_seq: at(row, 0)?,
                    run: at(row, 1)?,
                    run_at: at(row, 2)?,
                    attempts: at(row, 3)?,
                    lost: at(row, 4)?,
                })
            })?;
            let Some(last) = rows.last() else { continue };
            gone.run(params![rank, pair.workload, pair.owner.0, last.run_at, last.job_seq])?;
            picked.extend(rows.into_iter().map(|row| (pair, row)));
        }
        let mut started = self.direct.prepare(STARTED)?;
        let mut job = self.direct.prepare(JOB)?;
        for (pair, row) in picked {
            let Some(found) = job.first(params![row.job_seq], |job| claimed_row(pair, &row, job))? else {
                // it leaves the line with those that were claimed: it would stand in the way of all that come after it
                let (job, run) = (row.job_seq, row.run);
                tracing::error!(
                    table = "ready",
                    column = "job_seq",
                    id = job,
                    run,
                    "no job has this number; the row is dropped"
                );
                continue;
            };
            claimed.push(found);
            started.run(params![
                row.job_seq,
                row.run,
                self.request.worker.0,
                pair.owner.0,
                pair.workload,
                self.now.as_micros(),
                row.attempts,
                row.lost
            ])?;
        }
        Ok(claimed)
    }
}

fn claimed_row(pair: &Pair, ready: &Ready, job: &rusqlite::Row<'_>) -> Result<ClaimedRow, StoreError> {
    let count = |value: i64| u32::try_from(value).unwrap_or(u32::MAX);
    Ok(ClaimedRow {
        job_seq: windrow_core::JobSeq(ready.job_seq),
        run: windrow_core::RunNo(ready.run),
        id: at(job, 0)?,
        owner_id: pair.owner,
        workload: pair.workload.clone(),
        spec: at(job, 1)?,
        spec_version: at(job, 2)?,
        priority: at(job, 3)?,
        attempts: count(ready.attempts),
        lost: count(ready.lost),
        budget_id: at(job, 4)?,
        parent_seq: at(job, 5)?,
        child_key: at(job, 6)?,
        request_id: at(job, 7)?,
        traceparent: at(job, 8)?,
        created_at: at(job, 9)?,
        due_at: Timestamp::from_micros(ready.run_at),
        cancel_requested_at: at(job, 10)?,
        checkpoint_version: at(job, 11)?,
        checkpoint_state: at(job, 12)?,
    })
}
