//! Jobs as people look at them: one, a page, a tree. What claims and completions do is in `hot`.

mod made;

use windrow_core::{
    BudgetId, ErrorClass, JobId, JobSeq, JobStatus, OwnerId, PicoUsd, Priority, RunNo, RunOutcome, Timestamp,
};

use crate::{Conn, ListOf, StoreError, fetch_all, fetch_one, fetch_optional, json_texts};

crate::row! {
    /// A job with all that its body shows.
    pub struct JobRow {
        pub seq: JobSeq,
        pub id: JobId,
        pub owner_id: OwnerId,
        pub workload: String,
        pub spec: String,
        pub spec_version: u32,
        pub priority: Priority,
        pub run_at: Timestamp,
        pub parent_id: Option<JobId>,
        pub child_key: Option<String>,
        pub budget_id: Option<BudgetId>,
        pub request_id: Option<String>,
        pub traceparent: Option<String>,
        pub estimate: Option<PicoUsd>,
        pub created_at: Timestamp,
        pub approved_at: Option<Timestamp>,
        pub cancel_requested_at: Option<Timestamp>,
        pub reopened_run: RunNo,
        pub reopened_at: Option<Timestamp>,
        pub status: JobStatus,
        /// While it runs.
        pub running_run: Option<RunNo>,
        pub running_since: Option<Timestamp>,
        pub running_attempts: Option<u32>,
        pub running_lost: Option<u32>,
        /// Of the run that ended last.
        pub last_run: Option<RunNo>,
        pub last_outcome: Option<RunOutcome>,
        pub last_ended_at: Option<Timestamp>,
        pub retry_at: Option<Timestamp>,
        pub attempts: Option<u32>,
        pub lost: Option<u32>,
        pub class: Option<ErrorClass>,
        pub code: Option<String>,
        pub error: Option<String>,
        pub user_fault: Option<bool>,
        pub first_started_at: Option<Timestamp>,
        pub stage: Option<String>,
        /// Of its children together, while it waits for them.
        pub done: Option<u64>,
        pub total: Option<u64>,
        pub progress_at: Option<Timestamp>,
        /// Of the tree; with its root only.
        pub cap: Option<PicoUsd>,
        pub reserved: Option<PicoUsd>,
        pub spent: Option<PicoUsd>,
        pub counts_compute: Option<bool>,
        pub counts_storage: Option<bool>,
        pub output: Option<String>,
        pub output_version: Option<u32>,
        /// Of the job and its descendants, up to the ledger's watermark.
        pub input_tokens: Option<u64>,
        pub output_tokens: Option<u64>,
        pub cached_tokens: Option<u64>,
        pub cost: Option<PicoUsd>,
    }
}

const SELECT: &str = "SELECT j.seq, j.id, j.owner_id, j.workload, j.spec, j.spec_version, j.priority, j.run_at,
    p.id AS parent_id, j.child_key, j.budget_id, j.request_id, j.traceparent, j.estimate, j.created_at, j.approved_at,
    j.cancel_requested_at, j.reopened_run, j.reopened_at, s.status,
    r.run AS running_run, r.started_at AS running_since, r.attempts AS running_attempts, r.lost AS running_lost,
    l.run AS last_run, l.outcome AS last_outcome, l.ended_at AS last_ended_at, l.retry_at, l.attempts, l.lost,
    l.class, l.code, l.error, l.user_fault,
    (SELECT min(f.started_at) FROM runs f WHERE f.job_seq = j.seq) AS first_started_at,
    g.stage, g.total, g.at AS progress_at,
    CASE WHEN s.status = 'waiting' THEN (SELECT CAST(COALESCE(sum(h.done), 0) AS bigint)
        FROM jobs c JOIN progress h ON h.job_seq = c.seq WHERE c.parent_seq = j.seq) ELSE g.done END AS done,
    CASE WHEN j.parent_seq IS NULL THEN b.cap END AS cap,
    CASE WHEN j.parent_seq IS NULL THEN b.reserved END AS reserved,
    CASE WHEN j.parent_seq IS NULL THEN b.spent END AS spent, b.counts_compute, b.counts_storage, o.output, o.schema_version AS output_version,
    t.input_tokens, t.output_tokens, t.cached_tokens, t.cost
    FROM jobs j
    JOIN job_status s ON s.job_seq = j.seq
    LEFT JOIN jobs p ON p.seq = j.parent_seq
    LEFT JOIN running r ON r.job_seq = j.seq
    LEFT JOIN runs l ON l.job_seq = j.seq AND l.run = (SELECT max(m.run) FROM runs m WHERE m.job_seq = j.seq)
    LEFT JOIN progress g ON g.job_seq = j.seq
    LEFT JOIN budgets b ON b.id = j.budget_id
    LEFT JOIN results o ON o.job_seq = j.seq
    LEFT JOIN job_rollups t ON t.job_seq = j.seq";

/// Which jobs to list.
#[derive(Clone, Debug, Default)]
pub struct JobFilter<'a> {
    /// Empty: all.
    pub statuses: &'a [JobStatus],
    pub workload: Option<&'a str>,
    /// Submitted at or after.
    pub since: Option<Timestamp>,
    /// Submitted before.
    pub until: Option<Timestamp>,
    /// Whether jobs that jobs made are listed too.
    pub children: bool,
}

crate::row! {
    /// Enough of a job to act on it.
    pub struct Head {
        pub seq: JobSeq,
        pub id: JobId,
        pub owner_id: OwnerId,
        pub workload: String,
        pub parent_seq: Option<JobSeq>,
        pub status: JobStatus,
    }
}

pub async fn get(conn: &mut Conn, owner: OwnerId, id: JobId) -> Result<Option<JobRow>, StoreError> {
    let sql = format!("{SELECT} WHERE j.owner_id = $1 AND j.id = $2");
    fetch_optional!(conn, JobRow, sqlx::AssertSqlSafe(sql), owner, id)
}

/// The owner and the id of a job that the platform itself acts on.
pub async fn owner_of(conn: &mut Conn, job: JobSeq) -> Result<Option<(OwnerId, JobId)>, StoreError> {
    let row = fetch_optional!(conn, (i64, uuid::Uuid), "SELECT owner_id, id FROM jobs WHERE seq = $1", job)?;
    Ok(row.map(|(owner, id)| (OwnerId(owner), JobId(id))))
}

/// The owner's job, without what only its body shows.
pub async fn head(conn: &mut Conn, owner: OwnerId, id: JobId) -> Result<Option<Head>, StoreError> {
    let sql = "SELECT j.seq, j.id, j.owner_id, j.workload, j.parent_seq, s.status
         FROM jobs j JOIN job_status s ON s.job_seq = j.seq WHERE j.owner_id = $1 AND j.id = $2";
    fetch_optional!(conn, Head, sql, owner, id)
}

/// Anybody's job: for admin endpoints, which are audited.
pub async fn head_of_anybody(conn: &mut Conn, id: JobId) -> Result<Option<Head>, StoreError> {
    let sql = "SELECT j.seq, j.id, j.owner_id, j.workload, j.parent_seq, s.status
         FROM jobs j JOIN job_status s ON s.job_seq = j.seq WHERE j.id = $1";
    fetch_optional!(conn, Head, sql, id)
}

/// An owner's jobs, newest first, before the job `before`, at most `limit`.
pub async fn list(
    conn: &mut Conn,
    owner: OwnerId,
    filter: &JobFilter<'_>,
    before: Option<JobSeq>,
    limit: u32,
) -> Result<Vec<JobRow>, StoreError> {
    let in_statuses = conn.dialect().member("s.status", "$3", ListOf::Text);
    let narrow = narrowing(filter.statuses);
    let sql = format!(
        "{SELECT} WHERE j.owner_id = $1 AND ($2 OR {in_statuses}) {narrow}
         AND ($4 IS NULL OR j.workload = $4) AND ($5 IS NULL OR j.created_at >= $5)
         AND ($6 IS NULL OR j.created_at < $6) AND ($7 OR j.parent_seq IS NULL) AND ($8 IS NULL OR j.seq < $8)
         ORDER BY j.seq DESC LIMIT $9"
    );
    let JobFilter { statuses, workload, since, until, children } = *filter;
    let texts = json_texts(statuses.iter().map(|status| status.as_str()));
    let all = statuses.is_empty();
    fetch_all!(
        conn,
        JobRow,
        sqlx::AssertSqlSafe(sql),
        owner,
        all,
        texts,
        workload,
        since,
        until,
        children,
        before,
        limit
    )
}

/// A condition that the wanted statuses imply and an index answers: without it a filter that few jobs pass walks through
/// all jobs of an owner. The view stays the only place that decides a status.
fn narrowing(statuses: &[JobStatus]) -> &'static str {
    let all = |wanted: fn(&JobStatus) -> bool| !statuses.is_empty() && statuses.iter().all(wanted);
    if all(|status| status.is_final()) {
        "AND j.seq IN (SELECT n.job_seq FROM runs n WHERE n.owner_id = $1
             AND n.outcome IN ('completed', 'failed', 'budget_exceeded', 'cancelled', 'rejected'))"
    } else if all(|status| matches!(status, JobStatus::Running | JobStatus::Waiting)) {
        "AND j.seq IN (SELECT n.job_seq FROM running n WHERE n.owner_id = $1
             UNION ALL SELECT n.job_seq FROM parents n WHERE NOT n.held)"
    } else if all(|status| *status == JobStatus::PendingApproval) {
        "AND j.needs_approval AND j.approved_at IS NULL"
    } else {
        ""
    }
}

/// A job's children in the order of their keys' making, after the job `after`, at most `limit`.
pub async fn children(
    conn: &mut Conn,
    owner: OwnerId,
    parent: JobSeq,
    after: Option<JobSeq>,
    limit: u32,
) -> Result<Vec<JobRow>, StoreError> {
    let sql = format!(
        "{SELECT} WHERE j.owner_id = $1 AND j.parent_seq = $2 AND ($3 IS NULL OR j.seq > $3) ORDER BY j.seq LIMIT $4"
    );
    fetch_all!(conn, JobRow, sqlx::AssertSqlSafe(sql), owner, parent, after, limit)
}

/// The job at the root of the tree that a job is in; itself when no job made it.
pub async fn root(conn: &mut Conn, job: JobSeq) -> Result<JobSeq, StoreError> {
    let sql = "WITH RECURSIVE up(seq, parent_seq) AS (
             SELECT seq, parent_seq FROM jobs WHERE seq = $1
             UNION ALL SELECT j.seq, j.parent_seq FROM jobs j JOIN up ON j.seq = up.parent_seq
         ) SELECT seq FROM up WHERE parent_seq IS NULL";
    let root = fetch_optional!(conn, scalar i64, sql, job)?;
    root.map(JobSeq).ok_or_else(|| StoreError::invariant("jobs", "parent_seq", job, "no root above it"))
}

/// The id of a job's root.
pub async fn root_id(conn: &mut Conn, job: JobSeq) -> Result<JobId, StoreError> {
    let root = root(conn, job).await?;
    let (id,) = fetch_one!(conn, (uuid::Uuid,), "SELECT id FROM jobs WHERE seq = $1", root)?;
    Ok(JobId(id))
}

/// Jobs that a request submitted, oldest first, at most `limit`; of all owners when `owner` is none. `ids` bounds the
/// search to job ids made around the request's own time, when that is known.
pub async fn of_request(
    conn: &mut Conn,
    owner: Option<OwnerId>,
    request_id: &str,
    ids: Option<(JobId, JobId)>,
    limit: u32,
) -> Result<Vec<JobRow>, StoreError> {
    let sql = format!(
        "{SELECT} WHERE j.request_id = $1 AND ($2 IS NULL OR j.owner_id = $2)
         AND ($3 IS NULL OR (j.id >= $3 AND j.id <= $4)) AND j.parent_seq IS NULL ORDER BY j.seq LIMIT $5"
    );
    let (from, to) = (ids.map(|(from, _)| from), ids.map(|(_, to)| to));
    fetch_all!(conn, JobRow, sqlx::AssertSqlSafe(sql), request_id, owner, from, to, limit)
}

crate::row! {
    /// The job that an owner's idempotency key made.
    pub struct Keyed {
        pub key: String,
        pub id: JobId,
        pub request_hash: Vec<u8>,
    }
}

/// Which of an owner's idempotency keys were used, and for what.
pub async fn of_keys(conn: &mut Conn, owner: OwnerId, keys: &[&str]) -> Result<Vec<Keyed>, StoreError> {
    let listed = conn.dialect().member("idempotency_key", "$2", ListOf::Text);
    let sql = format!(
        "SELECT idempotency_key AS key, id, request_hash FROM jobs
         WHERE owner_id = $1 AND idempotency_key IS NOT NULL AND {listed}"
    );
    fetch_all!(conn, Keyed, sqlx::AssertSqlSafe(sql), owner, json_texts(keys.iter().copied()))
}

/// When each workload last completed a job, among the newest `window` jobs of all: nobody who only asks how things are may
/// have the database walk through all there are.
pub async fn last_successes(conn: &mut Conn, window: i64) -> Result<Vec<(String, Timestamp)>, StoreError> {
    let sql = "SELECT j.workload, max(r.ended_at) FROM jobs j
         JOIN runs r ON r.job_seq = j.seq AND r.outcome = 'completed'
         WHERE j.seq > (SELECT coalesce(max(seq), 0) FROM jobs) - $1 GROUP BY j.workload";
    let found = fetch_all!(conn, (String, i64), sql, window)?;
    Ok(found.into_iter().map(|(workload, at)| (workload, Timestamp::from_micros(at))).collect())
}

/// How many jobs are in a status that is not final: what a test's end asks for.
pub async fn open_jobs(conn: &mut Conn) -> Result<Vec<Head>, StoreError> {
    let sql = "SELECT j.seq, j.id, j.owner_id, j.workload, j.parent_seq, s.status
         FROM jobs j JOIN job_status s ON s.job_seq = j.seq
         WHERE s.status IN ('pending_approval', 'queued', 'running', 'waiting') ORDER BY j.seq LIMIT 20";
    fetch_all!(conn, Head, sql)
}
