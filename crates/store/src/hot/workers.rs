//! Worker processes: their beats, and how a rescuer judges them.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use sqlx::AssertSqlSafe;
use uuid::Uuid;
use windrow_core::{JobSeq, RunNo, Timestamp, WorkerId};

use super::RunRef;
use crate::fault::Guard;
use crate::{Conn, ListOf, StoreError, Tx, execute, fetch_all, fetch_one, fetch_optional, json_ints};

/// How a worker's death is found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WorkerKind {
    /// By its beats (and, in an embedded database, by the boot epoch).
    Process,
    /// By the leases of its runs: it is somebody's program that speaks the worker protocol.
    Remote,
}

impl WorkerKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Remote => "remote",
        }
    }
}

/// Answer to a beat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Beat {
    Alive,
    /// Buried: stop all runs, throw their output away, register anew.
    Dead,
}

/// A new worker, alive.
pub async fn register_worker(
    tx: &mut Tx,
    name: &str,
    kind: WorkerKind,
    now: Timestamp,
) -> Result<WorkerId, StoreError> {
    let sql = "INSERT INTO workers (name, kind, state, epoch, registered_at)
         SELECT $1, $2, 'live', coalesce((SELECT boot_epoch FROM installation WHERE one = 1), 0), $3 RETURNING id";
    fetch_one!(tx, scalar i64, sql, name, kind.as_str(), now).map(WorkerId)
}

/// Removes a worker that holds nothing any more: while it holds a run, a rescuer must find it.
pub async fn forget_worker(tx: &mut Tx, worker: WorkerId) -> Result<(), StoreError> {
    execute!(tx, "DELETE FROM workers WHERE id = $1", worker).map(drop)
}

/// Workers that ended before `before`, in the order of their ids after `after`, and that nothing names any more; with the last
/// id that was looked at, none when that was all.
///
/// Reads all of `runs` when there are any, so that it belongs on a reader and not often.
pub async fn forgotten_workers(
    conn: &mut Conn,
    after: WorkerId,
    before: Timestamp,
    limit: u32,
) -> Result<(Vec<WorkerId>, Option<WorkerId>), StoreError> {
    let ended =
        "SELECT id FROM workers WHERE id > $1 AND state <> 'live' AND ended_at < $2 ORDER BY id LIMIT $3";
    let ended = fetch_all!(conn, scalar i64, ended, after, before, limit)?;
    let Some(last) = ended.last().copied() else { return Ok((Vec::new(), None)) };
    let member = conn.dialect().member("worker_id", "$1", ListOf::Int);
    let named = format!(
        "SELECT worker_id FROM running WHERE {member} UNION SELECT worker_id FROM runs WHERE {member}"
    );
    let named = fetch_all!(conn, scalar i64, AssertSqlSafe(named), json_ints(ended.iter().copied()))?;
    let free = ended.into_iter().filter(|id| !named.contains(id)).map(WorkerId).collect();
    Ok((free, Some(WorkerId(last))))
}

/// Removes workers that [`forgotten_workers`] gave, unless something names them after all; gives how many.
pub async fn sweep_workers(tx: &mut Tx, workers: &[WorkerId]) -> Result<u64, StoreError> {
    let member = tx.dialect().member("id", "$1", ListOf::Int);
    let sql = format!(
        "DELETE FROM workers WHERE {member} AND state <> 'live'
           AND NOT EXISTS (SELECT 1 FROM running r WHERE r.worker_id = workers.id)"
    );
    execute!(tx, AssertSqlSafe(sql), json_ints(workers.iter().map(|worker| worker.0)))
}

/// One sign of life. Sent outside the batcher, so that no job can delay it.
pub async fn beat(conn: &mut Conn, worker: WorkerId) -> Result<Beat, StoreError> {
    let sql = "UPDATE workers SET beat_no = beat_no + 1 WHERE id = $1 AND state = 'live'";
    Ok(if execute!(conn, sql, worker)? == 1 { Beat::Alive } else { Beat::Dead })
}

/// The beats of all processes that are taken for alive.
pub async fn live_beats(conn: &mut Conn) -> Result<Vec<(WorkerId, i64)>, StoreError> {
    let sql = "SELECT id, beat_no FROM workers WHERE state = 'live' AND kind = 'process' ORDER BY id";
    let rows = fetch_all!(conn, (i64, i64), sql)?;
    Ok(rows.into_iter().map(|(id, beat_no)| (WorkerId(id), beat_no)).collect())
}

/// Declares a worker dead if it has not beaten since it was seen. Its runs are moved by [`super::rescue`].
pub async fn bury(tx: &mut Tx, worker: WorkerId, seen: i64, now: Timestamp) -> Result<bool, StoreError> {
    let sql = if tx.lacks(Guard::BeatNo) {
        "UPDATE workers SET state = 'dead', ended_at = $3 WHERE id = $1 AND $2 = $2 AND state = 'live'"
    } else {
        "UPDATE workers SET state = 'dead', ended_at = $3 WHERE id = $1 AND beat_no = $2 AND state = 'live'"
    };
    Ok(execute!(tx, sql, worker, seen, now)? == 1)
}

/// A worker ends in order. What it still held is moved like a dead one's.
pub async fn leave(tx: &mut Tx, worker: WorkerId, now: Timestamp) -> Result<(), StoreError> {
    let sql = "UPDATE workers SET state = 'left', ended_at = $2 WHERE id = $1 AND state = 'live'";
    execute!(tx, sql, worker, now).map(drop)
}

/// The start of the process that owns an embedded database: raises the boot epoch and buries the workers of the epochs
/// before, so that their runs are retaken at once. Gives the installation's id and the new epoch.
pub async fn boot(tx: &mut Tx, new_installation: Uuid, now: Timestamp) -> Result<(Uuid, i64), StoreError> {
    let ensure =
        "INSERT INTO installation (one, id, boot_epoch) VALUES (1, $1, 0) ON CONFLICT (one) DO NOTHING";
    execute!(tx, ensure, new_installation)?;
    let raise = "UPDATE installation SET boot_epoch = boot_epoch + 1 WHERE one = 1 RETURNING id, boot_epoch";
    let (id, epoch) = fetch_one!(tx, (Uuid, i64), raise)?;
    let bury = "UPDATE workers SET state = 'dead', ended_at = $2
         WHERE state = 'live' AND kind = 'process' AND epoch < $1";
    execute!(tx, bury, epoch, now)?;
    Ok((id, epoch))
}

/// This installation's id, made at the first call.
pub async fn installation(tx: &mut Tx, new_installation: Uuid) -> Result<Uuid, StoreError> {
    let find = "SELECT id FROM installation WHERE one = 1";
    if let Some(id) = fetch_optional!(tx, scalar Uuid, find)? {
        return Ok(id);
    }
    let ensure =
        "INSERT INTO installation (one, id, boot_epoch) VALUES (1, $1, 0) ON CONFLICT (one) DO NOTHING";
    execute!(tx, ensure, new_installation)?;
    fetch_one!(tx, scalar Uuid, find)
}

/// The runs that a worker holds.
pub async fn held_runs(conn: &mut Conn, worker: WorkerId) -> Result<Vec<RunRef>, StoreError> {
    let sql = "SELECT job_seq, run FROM running WHERE worker_id = $1 ORDER BY job_seq";
    let rows = fetch_all!(conn, (i64, i64), sql, worker)?;
    Ok(rows.into_iter().map(|(job, run)| RunRef { job: JobSeq(job), run: RunNo(run) }).collect())
}

/// What a rescuer has seen of counters that a living holder raises (workers' beats, leases' renewals), by its own
/// monotonic clock: the clocks of other machines play no part.
#[derive(Clone, Debug)]
pub struct Observations<K> {
    lapse: Duration,
    tick: Duration,
    last_read: Option<Duration>,
    seen: HashMap<K, (i64, Duration)>,
}

impl<K: Eq + Hash + Copy> Observations<K> {
    /// `lapse`: how long a counter may stand still. `tick`: how often it is read; a read that comes more than twice so
    /// late starts the observation anew, for then this process may have been asleep while others were not.
    pub fn new(lapse: Duration, tick: Duration) -> Self {
        Self { lapse, tick, last_read: None, seen: HashMap::new() }
    }

    /// A read failed: nothing is known about the time since the last one.
    pub fn failed(&mut self) {
        self.last_read = None;
        self.seen.clear();
    }

    /// Takes what a successful read at `at` (monotonic) gave, and answers which counters have stood still too long, with
    /// the value that was seen.
    pub fn read(&mut self, counters: &[(K, i64)], at: Duration) -> Vec<(K, i64)> {
        let late = self.last_read.is_some_and(|last| at.saturating_sub(last) > self.tick * 2);
        if late {
            self.seen.clear();
        }
        self.last_read = Some(at);
        let before = std::mem::take(&mut self.seen);
        let mut lapsed = Vec::new();
        for (key, count) in counters {
            let since = match before.get(key) {
                Some((seen, since)) if seen == count => *since,
                _ => at,
            };
            if at.saturating_sub(since) >= self.lapse {
                lapsed.push((*key, *count));
            }
            self.seen.insert(*key, (*count, since));
        }
        lapsed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn watch() -> Observations<char> {
        Observations::new(S(7), S(1))
    }

    #[test]
    fn a_counter_that_stands_still_for_seven_seconds_has_lapsed() {
        let mut seen = watch();
        for at in 0..7 {
            assert_eq!(seen.read(&[('a', 1), ('b', i64::try_from(at).unwrap())], S(at)), []);
        }
        assert_eq!(seen.read(&[('a', 1), ('b', 7)], S(7)), [('a', 1)]);
    }

    #[test]
    fn a_failed_or_late_read_starts_anew() {
        let mut seen = watch();
        (0..7).for_each(|at| drop(seen.read(&[('a', 1)], S(at))));
        seen.failed();
        assert_eq!(seen.read(&[('a', 1)], S(7)), []);

        let mut seen = watch();
        (0..6).for_each(|at| drop(seen.read(&[('a', 1)], S(at))));
        assert_eq!(seen.read(&[('a', 1)], S(60)), [], "this process slept");
        assert_eq!(seen.read(&[('a', 1)], S(61)), []);
    }
}
