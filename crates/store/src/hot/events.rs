//! What can't be derived from the other tables about a job's life, numbered within the job.

use windrow_core::{JobSeq, OwnerId, RunNo, Timestamp};

use super::jobs::{Hold, heads};
use crate::{Col, Conn, Sql, StoreError, Tx, fetch_all, json_rows};

/// A line to append. `submitted`, `started` and `ended` are no events: they come from the rows of jobs and runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewEvent {
    pub job: JobSeq,
    /// The run that says so; 0 for what a person did.
    pub run: RunNo,
    pub kind: String,
    /// JSON text.
    pub payload: String,
    pub schema_version: i64,
}

crate::row! {
    /// A line of a job's history.
    pub struct Event {
        pub job_seq: JobSeq,
        /// From 1 within the job, without holes.
        pub n: i64,
        pub owner_id: OwnerId,
        pub run: RunNo,
        pub kind: String,
        pub payload: String,
        pub schema_version: i64,
        pub trace_id: Option<String>,
        pub at: Timestamp,
    }
}

/// Appends events in the batch's order; gives each its number, none where the job doesn't exist.
pub async fn append_events(
    tx: &mut Tx,
    batch: &[NewEvent],
    now: Timestamp,
) -> Result<Vec<Option<i64>>, StoreError> {
    static APPEND: Sql = Sql::new(|dialect| {
        let columns = [
            ("job_seq", Col::Int),
            ("run", Col::Int),
            ("type", Col::Text),
            ("payload", Col::Text),
            ("schema_version", Col::Int),
        ];
        let rows = dialect.rows("$1", "i", &columns);
        format!(
            "INSERT INTO events (job_seq, n, owner_id, run, type, payload, schema_version, trace_id, at)
             SELECT i.job_seq,
                    coalesce((SELECT max(e.n) FROM events e WHERE e.job_seq = i.job_seq), 0)
                    + row_number() OVER (PARTITION BY i.job_seq ORDER BY i.ord),
                    j.owner_id, i.run, i.type, i.payload, i.schema_version,
                    substr(j.traceparent, 4, 32), $2
             FROM {rows} CROSS JOIN jobs j WHERE j.seq = i.job_seq
             RETURNING job_seq, n"
        )
    });
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    // the numbers are made under the jobs' locks
    heads(tx, batch.iter().map(|event| event.job), Hold::Alone).await?;
    let rows: Vec<_> =
        batch.iter().map(|e| (e.job.0, e.run.0, &e.kind, &e.payload, e.schema_version)).collect();
    let mut made = fetch_all!(tx, (i64, i64), APPEND.of(tx.dialect()), json_rows(&rows), now)?;
    made.sort_unstable_by(|a, b| b.cmp(a));
    let mut numbers = Vec::with_capacity(batch.len());
    for event in batch {
        let at = made.iter().rposition(|(job, _)| *job == event.job.0);
        numbers.push(at.map(|at| made.remove(at).1));
    }
    Ok(numbers)
}

/// Events of a job after number `after`.
pub async fn events_page(
    conn: &mut Conn,
    job: JobSeq,
    after: i64,
    limit: i64,
) -> Result<Vec<Event>, StoreError> {
    let sql =
        "SELECT job_seq, n, owner_id, run, type AS kind, payload, schema_version, trace_id, at FROM events
         WHERE job_seq = $1 AND n > $2 ORDER BY n LIMIT $3";
    fetch_all!(conn, Event, sql, job, after, limit)
}
