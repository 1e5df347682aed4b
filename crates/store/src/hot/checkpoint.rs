//! What a run saves on its way: checkpoints with parts, chunks, progress, the journal of paid answers.

use std::collections::HashSet;

use windrow_core::{CallId, JobSeq, RunNo, Timestamp};

use super::children::hold_run;
use super::money::{CallUsage, ledger_free_calls};
use super::{Fenced, RunRef};
use crate::fault::Guard;
use crate::{Col, Conn, Sql, StoreError, Tx, execute, fetch_all, fetch_one, json_rows};

crate::row! {
    /// An object that holds the records `first..=last` of a job's output. Its object was put before this row is written.
    pub struct Part {
        pub first: i64,
        pub last: i64,
        pub key: String,
        /// 32 bytes.
        pub sha256: Vec<u8>,
        /// Bytes.
        pub size: i64,
    }
}

/// What a run saves so that the next one goes on from here.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    pub at: RunRef,
    pub schema_version: i64,
    /// JSON text, replaced as a whole.
    pub state: String,
    /// Parts that were put since the last checkpoint.
    pub parts: Vec<Part>,
    /// Journal keys of the calls whose answers the state and the parts now cover.
    pub covered: Vec<String>,
    /// Calls of price zero since the last checkpoint.
    pub free_calls: Vec<(CallId, CallUsage)>,
}

const RUN: &[(&str, Col)] = &[("job_seq", Col::Int), ("run", Col::Int)];

/// Holds the runs' `running` rows; gives those that are there.
pub(super) async fn hold_runs(
    tx: &mut Tx,
    runs: impl IntoIterator<Item = RunRef>,
) -> Result<HashSet<RunRef>, StoreError> {
    static HOLD: Sql = Sql::new(|dialect| {
        let rows = dialect.rows("$1", "i", RUN);
        let held = dialect.pick(
            "running r WHERE r.job_seq = i.job_seq AND r.run = i.run",
            // a lock keeps the subquery one that is looked up row by row, whatever ANALYZE has seen
            "LATERAL (SELECT * FROM running r WHERE r.job_seq = i.job_seq AND r.run = i.run FOR SHARE) r",
        );
        format!("SELECT r.job_seq, r.run FROM {rows} CROSS JOIN {held}")
    });
    let runs: HashSet<(i64, i64)> = runs.into_iter().map(|at| (at.job.0, at.run.0)).collect();
    let mut runs: Vec<_> = runs.into_iter().collect();
    runs.sort_unstable();
    if runs.is_empty() {
        return Ok(HashSet::new());
    }
    let held = fetch_all!(tx, (i64, i64), HOLD.of(tx.dialect()), json_rows(&runs))?;
    Ok(held.into_iter().map(|(job, run)| RunRef { job: JobSeq(job), run: RunNo(run) }).collect())
}

fn fenced(held: &HashSet<RunRef>, at: RunRef) -> Fenced {
    if held.contains(&at) { Fenced::Applied } else { Fenced::Stale }
}

/// Saves checkpoints, each with its parts, and deletes the journal lines that they cover.
pub async fn checkpoint(
    tx: &mut Tx,
    batch: &[Checkpoint],
    now: Timestamp,
) -> Result<Vec<Fenced>, StoreError> {
    static STATE: Sql = Sql::new(|dialect| {
        let rows = dialect.rows(
            "$1",
            "i",
            &[("job_seq", Col::Int), ("run", Col::Int), ("schema_version", Col::Int), ("state", Col::Text)],
        );
        format!(
            "INSERT INTO checkpoints (job_seq, run, schema_version, state, at)
             SELECT job_seq, run, schema_version, state, $2 FROM {rows} WHERE TRUE
             ON CONFLICT (job_seq) DO UPDATE SET run = excluded.run, schema_version = excluded.schema_version,
                 state = excluded.state, at = excluded.at"
        )
    });
    let held = hold_runs(tx, batch.iter().map(|saved| saved.at)).await?;
    let live: Vec<&Checkpoint> = batch.iter().filter(|saved| held.contains(&saved.at)).collect();
    // of several checkpoints of one run in a batch the last one stands
    let mut newest = HashSet::new();
    let states: Vec<_> = live
        .iter()
        .rev()
        .filter(|saved| newest.insert(saved.at.job))
        .map(|saved| (saved.at.job.0, saved.at.run.0, saved.schema_version, &saved.state))
        .collect();
    if !states.is_empty() {
        execute!(tx, STATE.of(tx.dialect()), json_rows(&states), now)?;
    }
    insert_parts(tx, &live).await?;
    cover(tx, &live).await?;
    for saved in &live {
        ledger_free_calls(tx, saved.at, &saved.free_calls, now).await?;
    }
    Ok(batch.iter().map(|saved| fenced(&held, saved.at)).collect())
}

/// A part that is there already is the same part (its reply was lost), or an error: its range was saved before.
async fn insert_parts(tx: &mut Tx, live: &[&Checkpoint]) -> Result<(), StoreError> {
    const COLUMNS: &[(&str, Col)] = &[
        ("job_seq", Col::Int),
        ("first", Col::Int),
        ("last", Col::Int),
        ("key", Col::Text),
        ("sha256", Col::Bytes),
        ("size", Col::Int),
        ("run", Col::Int),
    ];
    static INSERT: Sql = Sql::new(|dialect| {
        let rows = dialect.rows("$1", "i", COLUMNS);
        format!(
            "INSERT INTO parts (job_seq, first, last, key, sha256, size, run)
             SELECT job_seq, first, last, key, sha256, size, run FROM {rows} WHERE TRUE
             ON CONFLICT (job_seq, first) DO NOTHING"
        )
    });
    static SAME: Sql = Sql::new(|dialect| {
        let rows = dialect.rows("$1", "i", COLUMNS);
        format!(
            "SELECT count(*) FROM {rows} CROSS JOIN parts p WHERE p.job_seq = i.job_seq AND p.first = i.first
             AND p.last = i.last AND p.key = i.key"
        )
    });
    let mut rows = Vec::new();
    for saved in live {
        for part in &saved.parts {
            let (range, sha) = ((part.first, part.last), hex::encode(&part.sha256));
            rows.push((saved.at.job.0, range.0, range.1, &part.key, sha, part.size, saved.at.run.0));
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    let (count, rows) = (rows.len(), json_rows(&rows));
    let inserted = execute!(tx, INSERT.of(tx.dialect()), rows.clone())?;
    if usize::try_from(inserted) == Ok(count) {
        return Ok(());
    }
    let same = fetch_one!(tx, scalar i64, SAME.of(tx.dialect()), rows)?;
    if usize::try_from(same) == Ok(count) {
        return Ok(());
    }
    let jobs = live.iter().map(|saved| saved.at.job.to_string()).collect::<Vec<_>>().join(", ");
    Err(StoreError::invariant("parts", "first", jobs, "a range was saved before, under another key"))
}

async fn cover(tx: &mut Tx, live: &[&Checkpoint]) -> Result<(), StoreError> {
    static DELETE: Sql = Sql::new(|dialect| {
        let rows = dialect.rows("$1", "i", &[("job_seq", Col::Int), ("key", Col::Text)]);
        format!("DELETE FROM call_journal WHERE (job_seq, key) IN (SELECT i.job_seq, i.key FROM {rows})")
    });
    let keys: Vec<(i64, &String)> =
        live.iter().flat_map(|saved| saved.covered.iter().map(|key| (saved.at.job.0, key))).collect();
    if keys.is_empty() {
        return Ok(());
    }
    execute!(tx, DELETE.of(tx.dialect()), json_rows(&keys)).map(drop)
}

/// Parts of a job by range, from the one that starts after `after` on (-1 for the first).
pub async fn parts_page(
    conn: &mut Conn,
    job: JobSeq,
    after: i64,
    limit: i64,
) -> Result<Vec<Part>, StoreError> {
    let sql = "SELECT first, last, key, sha256, size FROM parts
         WHERE job_seq = $1 AND first > $2 ORDER BY first LIMIT $3";
    fetch_all!(conn, Part, sql, job, after, limit)
}

/// What became of [`save`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SaveAnswer {
    /// The chunk is new: write its rows in this transaction.
    Write,
    /// This run or an earlier one wrote it.
    Already,
    Stale,
}

/// Claims chunk `n` of a job's output, once across its runs; the workload's rows go into the same transaction.
pub async fn save(tx: &mut Tx, at: RunRef, n: i64) -> Result<SaveAnswer, StoreError> {
    if hold_run(tx, at).await? == Fenced::Stale {
        return Ok(SaveAnswer::Stale);
    }
    let sql = "INSERT INTO saves (job_seq, n, run) VALUES ($1, $2, $3) ON CONFLICT (job_seq, n) DO NOTHING";
    let new = execute!(tx, sql, at.job, n, at.run)? == 1;
    Ok(if new { SaveAnswer::Write } else { SaveAnswer::Already })
}

/// The chunks of a job's output that were written, ascending.
pub async fn saved(conn: &mut Conn, job: JobSeq) -> Result<Vec<i64>, StoreError> {
    fetch_all!(conn, scalar i64, "SELECT n FROM saves WHERE job_seq = $1 ORDER BY n", job)
}

/// How far a run is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Progress {
    pub at: RunRef,
    pub stage: Option<String>,
    pub done: i64,
    pub total: Option<i64>,
}

/// Notes how far runs are; a stale run's word is dropped.
pub async fn progress(tx: &mut Tx, batch: &[Progress], now: Timestamp) -> Result<(), StoreError> {
    static UPSERT: Sql = Sql::new(|dialect| {
        let columns = [
            ("job_seq", Col::Int),
            ("run", Col::Int),
            ("stage", Col::Text),
            ("done", Col::Int),
            ("total", Col::Int),
        ];
        let rows = dialect.rows("$1", "i", &columns);
        format!(
            "INSERT INTO progress (job_seq, run, stage, done, total, at)
             SELECT job_seq, run, stage, done, total, $2 FROM {rows} WHERE TRUE
             ON CONFLICT (job_seq) DO UPDATE SET run = excluded.run, stage = excluded.stage, done = excluded.done,
                 total = excluded.total, at = excluded.at"
        )
    });
    let held = hold_runs(tx, batch.iter().map(|progress| progress.at)).await?;
    // of several in a batch the last one stands; one statement can't touch a row twice
    let mut newest = HashSet::new();
    let rows: Vec<_> = batch
        .iter()
        .rev()
        .filter(|p| held.contains(&p.at))
        .filter(|p| newest.insert(p.at.job))
        .map(|p| (p.at.job.0, p.at.run.0, &p.stage, p.done, p.total))
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    execute!(tx, UPSERT.of(tx.dialect()), json_rows(&rows), now).map(drop)
}

crate::row! {
    /// An answer that was paid for and that no checkpoint covers yet.
    pub struct JournalLine {
        /// Record, step and re-ask.
        pub key: String,
        /// SHA-256 of the request: an answer to another request is not one to this.
        pub request_hash: Vec<u8>,
        /// JSON text.
        pub output: String,
    }
}

/// Journal lines of a job by key, from the one after `after` on ("" for the first).
pub async fn journal(
    conn: &mut Conn,
    job: JobSeq,
    after: &str,
    limit: i64,
) -> Result<Vec<JournalLine>, StoreError> {
    if conn.lacks(Guard::Journal) {
        return Ok(Vec::new());
    }
    let sql = "SELECT key, request_hash, output FROM call_journal
         WHERE job_seq = $1 AND key > $2 ORDER BY key LIMIT $3";
    fetch_all!(conn, JournalLine, sql, job, after, limit)
}
