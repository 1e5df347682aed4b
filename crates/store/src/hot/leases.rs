//! Leases of remote workers: a run is theirs while they renew it.

use std::collections::HashSet;

use windrow_core::{JobSeq, RunNo, Timestamp};

use super::end::{Closing, End, EndRun, end_runs};
use super::{Fenced, RunRef};
use crate::{Col, Conn, Sql, StoreError, Tx, execute, fetch_all, json_rows};

/// A lease and how often it was renewed.
pub type Lease = (RunRef, i64);

/// Lost runs in a row without progress after which a remote job is poison: no child process of ours can be asked.
pub const REMOTE_POISON_AFTER: i64 = 4;

const RUN: &[(&str, Col)] = &[("job_seq", Col::Int), ("run", Col::Int)];

pub(super) async fn grant(tx: &mut Tx, runs: impl Iterator<Item = RunRef>) -> Result<(), StoreError> {
    static GRANT: Sql = Sql::new(|dialect| {
        let rows = dialect.rows("$1", "i", RUN);
        format!(
            "INSERT INTO leases (job_seq, run) SELECT job_seq, run FROM {rows} WHERE TRUE
             ON CONFLICT (job_seq) DO UPDATE SET run = excluded.run, renewals = 0"
        )
    });
    let rows: Vec<_> = runs.map(|at| (at.job.0, at.run.0)).collect();
    execute!(tx, GRANT.of(tx.dialect()), json_rows(&rows)).map(drop)
}

/// A heartbeat of a remote worker for its runs.
pub async fn renew(tx: &mut Tx, runs: &[RunRef]) -> Result<Vec<Fenced>, StoreError> {
    static RENEW: Sql = Sql::new(|dialect| {
        let rows = dialect.rows("$1", "i", RUN);
        format!(
            "UPDATE leases SET renewals = renewals + 1
             WHERE (job_seq, run) IN (SELECT i.job_seq, i.run FROM {rows})
               AND EXISTS (SELECT 1 FROM running r WHERE r.job_seq = leases.job_seq AND r.run = leases.run)
             RETURNING job_seq, run"
        )
    });
    if runs.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<_> = runs.iter().map(|at| (at.job.0, at.run.0)).collect();
    let held = fetch_all!(tx, (i64, i64), RENEW.of(tx.dialect()), json_rows(&rows))?;
    let held: HashSet<(i64, i64)> = held.into_iter().collect();
    let answer =
        |at: &RunRef| if held.contains(&(at.job.0, at.run.0)) { Fenced::Applied } else { Fenced::Stale };
    Ok(runs.iter().map(answer).collect())
}

/// All leases whose runs still hold their jobs: what a rescuer observes.
pub async fn leases(conn: &mut Conn) -> Result<Vec<Lease>, StoreError> {
    let sql = "SELECT l.job_seq, l.run, l.renewals FROM leases l
         JOIN running r ON r.job_seq = l.job_seq AND r.run = l.run ORDER BY l.job_seq";
    let rows = fetch_all!(conn, (i64, i64, i64), sql)?;
    let lease = |(job, run, renewals)| (RunRef { job: JobSeq(job), run: RunNo(run) }, renewals);
    Ok(rows.into_iter().map(lease).collect())
}

/// Ends a run whose lease has not been renewed since it was seen.
pub async fn lapse(tx: &mut Tx, lease: Lease, now: Timestamp) -> Result<Closing, StoreError> {
    let (at, seen) = lease;
    let sql = "DELETE FROM leases WHERE job_seq = $1 AND run = $2 AND renewals = $3";
    if execute!(tx, sql, at.job, at.run, seen)? == 0 {
        return Ok(Closing::default());
    }
    let end = End::Lost { poison_after: Some(REMOTE_POISON_AFTER) };
    end_runs(tx, &[EndRun { at, end }], now).await
}

/// Forgets leases of runs that have ended.
pub async fn sweep_leases(tx: &mut Tx) -> Result<u64, StoreError> {
    let sql = "DELETE FROM leases WHERE NOT EXISTS
         (SELECT 1 FROM running r WHERE r.job_seq = leases.job_seq AND r.run = leases.run)";
    execute!(tx, sql)
}
