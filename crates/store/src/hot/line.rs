//! Places in line: into `ready` and `scheduled`, and out of them by the whole key.

use windrow_core::{JobSeq, OwnerId, Priority, RunNo, Timestamp};

use super::jobs::{Head, LastRun};
use crate::{Col, Notes, Sql, StoreError, Tx, execute, fetch_all, json_rows};

/// A job's place in line for its next run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) priority: Priority,
    pub(super) workload: String,
    pub(super) owner: OwnerId,
    pub(super) run_at: Timestamp,
    pub(super) job: JobSeq,
    /// The number that the next run gets.
    pub(super) run: RunNo,
    /// Attempts burnt so far.
    pub(super) attempts: i64,
    /// Runs lost in a row without progress.
    pub(super) lost: i64,
}

impl Place {
    /// Where a queued job must be, by its own row and the end of its last run.
    pub(super) fn of(head: &Head, last: Option<&LastRun>) -> Self {
        let (run, attempts, lost) = next_run(head, last);
        let run_at = match (last, head.reopened_at) {
            (Some(last), Some(at)) if head.reopened_run >= last.run => at,
            (Some(last), _) => last.retry_at.unwrap_or(head.run_at),
            (None, _) => head.run_at,
        };
        let (priority, workload, owner) = (head.priority, head.workload.clone(), head.owner_id);
        Self { priority, workload, owner, run_at, job: head.seq, run, attempts, lost }
    }
}

/// Number, burnt attempts and lost runs in a row that a job's next run starts with.
pub(super) fn next_run(head: &Head, last: Option<&LastRun>) -> (RunNo, i64, i64) {
    match last {
        None => (RunNo(1), 0, 0),
        Some(last) if head.reopened_run >= last.run => (last.run.next(), 0, 0),
        Some(last) => (last.run.next(), last.attempts, last.lost),
    }
}

const COLUMNS: &[(&str, Col)] = &[
    ("priority", Col::Int),
    ("workload", Col::Text),
    ("owner_id", Col::Int),
    ("run_at", Col::Int),
    ("job_seq", Col::Int),
    ("run", Col::Int),
    ("attempts", Col::Int),
    ("lost", Col::Int),
];

type Row<'a> = (i16, &'a str, i64, i64, i64, i64, i64, i64);

fn row(place: &Place) -> Row<'_> {
    let Place { priority, workload, owner, run_at, job, run, attempts, lost } = place;
    (priority.rank(), workload, owner.0, run_at.as_micros(), job.0, run.0, *attempts, *lost)
}

/// Puts jobs in line: due ones in `ready`, the others in `scheduled`. The caller has in this transaction inserted the
/// job, deleted its `running`, `parents` or `scheduled` row, or won a conditional update of its `jobs` row: nothing else
/// keeps a job from being in line twice.
pub(super) async fn enqueue(tx: &mut Tx, places: &[Place], now: Timestamp) -> Result<(), StoreError> {
    static SCHEDULED: Sql = Sql::new(|dialect| {
        let rows = dialect.rows("$1", "i", COLUMNS);
        format!(
            "INSERT INTO scheduled (run_at, job_seq, priority, workload, owner_id, run, attempts, lost)
             SELECT run_at, job_seq, priority, workload, owner_id, run, attempts, lost FROM {rows}"
        )
    });
    let (due, later): (Vec<Row<'_>>, Vec<Row<'_>>) =
        places.iter().map(row).partition(|(_, _, _, run_at, ..)| *run_at <= now.as_micros());
    put(tx, &due).await?;
    if !later.is_empty() {
        tx.note(Notes { later: true, ..Notes::default() });
        execute!(tx, SCHEDULED.of(tx.dialect()), json_rows(&later))?;
    }
    Ok(())
}

/// The same for jobs that wait for nothing any more, whatever their places say: the time of day may have gone back since.
pub(super) async fn enqueue_due(tx: &mut Tx, places: &[Place]) -> Result<(), StoreError> {
    put(tx, &places.iter().map(row).collect::<Vec<_>>()).await
}

async fn put(tx: &mut Tx, due: &[Row<'_>]) -> Result<(), StoreError> {
    static READY: Sql = Sql::new(|dialect| {
        let rows = dialect.rows("$1", "i", COLUMNS);
        format!(
            "INSERT INTO ready (priority, workload, owner_id, run_at, job_seq, run, attempts, lost)
             SELECT priority, workload, owner_id, run_at, job_seq, run, attempts, lost FROM {rows}"
        )
    });
    if !due.is_empty() {
        tx.note(Notes { work: true, ..Notes::default() });
        execute!(tx, READY.of(tx.dialect()), json_rows(due))?;
    }
    Ok(())
}

/// Takes jobs out of line; gives those that were in it. Whoever is not there was just claimed.
pub(super) async fn dequeue(tx: &mut Tx, places: &[Place]) -> Result<Vec<JobSeq>, StoreError> {
    // `scheduled` first: a job that the scheduler has just moved is in `ready` by the time of the second statement
    static SCHEDULED: Sql = Sql::new(|dialect| {
        let rows = dialect.rows("$1", "i", COLUMNS);
        format!(
            "DELETE FROM scheduled WHERE (run_at, job_seq) IN (SELECT i.run_at, i.job_seq FROM {rows}) RETURNING job_seq"
        )
    });
    static READY: Sql = Sql::new(|dialect| {
        let rows = dialect.rows("$1", "i", COLUMNS);
        format!(
            "DELETE FROM ready WHERE (priority, workload, owner_id, run_at, job_seq) IN
             (SELECT i.priority, i.workload, i.owner_id, i.run_at, i.job_seq FROM {rows}) RETURNING job_seq"
        )
    });
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let rows = json_rows(&places.iter().map(row).collect::<Vec<_>>());
    let mut gone = fetch_all!(tx, scalar i64, SCHEDULED.of(tx.dialect()), rows.clone())?;
    if gone.len() < places.len() {
        gone.extend(fetch_all!(tx, scalar i64, READY.of(tx.dialect()), rows)?);
    }
    Ok(gone.into_iter().map(JobSeq).collect())
}
