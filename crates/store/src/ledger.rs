//! The ledger as people look at it, and its sums.

use windrow_core::{BudgetId, CallId, JobId, JobSeq, LedgerKind, OwnerId, PicoUsd, RunNo, Timestamp};

use crate::{Conn, Dialect, StoreError, Tx, execute, fetch_all, fetch_one, fetch_optional};

crate::row! {
    /// What one call cost, or the difference that a correction made.
    pub struct LedgerRow {
        pub seq: i64,
        pub entry: String,
        pub kind: LedgerKind,
        pub call_id: Option<CallId>,
        pub job_id: JobId,
        pub run: RunNo,
        pub step: Option<String>,
        pub model: Option<String>,
        pub input_tokens: u64,
        pub output_tokens: u64,
        pub cached_tokens: u64,
        pub cost: PicoUsd,
        pub price_version: Option<String>,
        pub provider_request_id: Option<String>,
        pub duration_us: Option<u64>,
        /// Of storage rows.
        pub puts: Option<u64>,
        pub gets: Option<u64>,
        pub at: Timestamp,
    }
}

crate::row! {
    /// Sums over ledger rows.
    #[derive(PartialEq, Eq)]
    pub struct Sums {
        pub calls: u64,
        pub input_tokens: u64,
        pub output_tokens: u64,
        pub cached_tokens: u64,
        pub cost: PicoUsd,
    }
}

crate::row! {
    /// Sums of one group.
    pub struct Rollup {
        pub key: String,
        pub calls: u64,
        pub input_tokens: u64,
        pub output_tokens: u64,
        pub cached_tokens: u64,
        pub cost: PicoUsd,
    }
}

crate::row! {
    /// A call that left and was never answered.
    pub struct Unconfirmed {
        pub id: CallId,
        pub budget_id: BudgetId,
        pub job_id: JobId,
        pub job_seq: JobSeq,
        pub owner_id: OwnerId,
        pub run: RunNo,
        pub model: Option<String>,
        pub step: Option<String>,
        pub worst: PicoUsd,
        pub reserved_at: Timestamp,
    }
}

/// What sums are grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupBy {
    Day,
    Workload,
    /// Calls of models only.
    Model,
    Kind,
}

/// The job and all its descendants.
const TREE: &str = "WITH RECURSIVE tree(seq) AS (
        SELECT seq FROM jobs WHERE seq = $1
        UNION ALL SELECT j.seq FROM jobs j JOIN tree ON j.parent_seq = tree.seq
    )";

/// Rows of a job's tree in order of booking, after `after`, at most `limit`. The caller has checked whose job it is.
pub async fn of_tree(
    conn: &mut Conn,
    root: JobSeq,
    after: Option<i64>,
    limit: u32,
) -> Result<Vec<LedgerRow>, StoreError> {
    let sql = format!(
        "{TREE} SELECT l.seq, l.entry, l.kind, l.call_id, j.id AS job_id, l.run, l.step, l.model, l.input_tokens,
             l.output_tokens, l.cached_tokens, l.cost, l.price_version, l.provider_request_id, l.duration_us, l.puts,
             l.gets, l.at
         FROM ledger l JOIN jobs j ON j.seq = l.job_seq
         WHERE l.job_seq IN (SELECT seq FROM tree) AND ($2 IS NULL OR l.seq > $2) ORDER BY l.seq LIMIT $3"
    );
    fetch_all!(conn, LedgerRow, sqlx::AssertSqlSafe(sql), root, after, limit)
}

/// What a job's tree has cost so far, exactly: the sums up to the watermark and the rows after it.
pub async fn sums_of_tree(conn: &mut Conn, root: JobSeq) -> Result<Sums, StoreError> {
    let sql = format!(
        "{TREE}, all_of_it AS (
             SELECT t.calls, t.input_tokens, t.output_tokens, t.cached_tokens, t.cost FROM job_rollups t WHERE t.job_seq = $1
             UNION ALL
             SELECT CASE WHEN l.kind = 'model' AND l.entry <> 'correction' THEN 1 ELSE 0 END, l.input_tokens, l.output_tokens, l.cached_tokens, l.cost
             FROM ledger l
             WHERE l.seq > (SELECT seq FROM ledger_watermark) AND l.job_seq IN (SELECT seq FROM tree)
         )
         SELECT {SUMS} FROM all_of_it"
    );
    fetch_one!(conn, Sums, sqlx::AssertSqlSafe(sql), root)
}

const SUMS: &str = "CAST(coalesce(sum(calls), 0) AS bigint) AS calls,
    CAST(coalesce(sum(input_tokens), 0) AS bigint) AS input_tokens,
    CAST(coalesce(sum(output_tokens), 0) AS bigint) AS output_tokens,
    CAST(coalesce(sum(cached_tokens), 0) AS bigint) AS cached_tokens,
    CAST(coalesce(sum(cost), 0) AS bigint) AS cost";

/// An owner's sums by day, workload, model or kind, over days of the form `YYYY-MM-DD`, both included; as of the watermark.
pub async fn rollups(
    conn: &mut Conn,
    owner: OwnerId,
    by: GroupBy,
    since: Option<&str>,
    until: Option<&str>,
) -> Result<Vec<Rollup>, StoreError> {
    let column = match by {
        GroupBy::Day => "day",
        GroupBy::Workload => "workload",
        GroupBy::Model => "model",
        GroupBy::Kind => "kind",
    };
    let which = if by == GroupBy::Model { "AND kind = 'model'" } else { "" };
    let sql = format!(
        "SELECT {column} AS key, {SUMS} FROM ledger_rollups
         WHERE owner_id = $1 AND ($2 IS NULL OR day >= $2) AND ($3 IS NULL OR day <= $3) {which}
         GROUP BY {column} ORDER BY {column}"
    );
    fetch_all!(conn, Rollup, sqlx::AssertSqlSafe(sql), owner, since, until)
}

/// Adds up to `limit` rows after the watermark to the sums; how many there were. Run it until it gives 0.
///
/// On PostgreSQL numbers are given out before commits, so a row below the watermark could still appear: `high` comes from
/// [`settled_up_to`], which has waited for every writer.
pub async fn roll_up(tx: &mut Tx, high: i64, limit: u32) -> Result<u64, StoreError> {
    let lock = tx.dialect().for_update();
    let watermark = format!("SELECT seq FROM ledger_watermark WHERE one = 1{lock}");
    let low = fetch_one!(tx, scalar i64, sqlx::AssertSqlSafe(watermark))?;
    let top = "SELECT max(seq) FROM (SELECT seq FROM ledger WHERE seq > $1 AND seq <= $2 ORDER BY seq LIMIT $3) AS next";
    let Some(top) = fetch_one!(tx, scalar Option<i64>, top, low, high, limit)? else { return Ok(0) };
    let day = tx.dialect().pick(
        "strftime('%Y-%m-%d', at / 1000000, 'unixepoch')",
        "to_char(to_timestamp(at / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
    );
    let one = "CASE WHEN kind = 'model' AND entry <> 'correction' THEN 1 ELSE 0 END";
    let by_day = format!(
        "INSERT INTO ledger_rollups (owner_id, workload, kind, model, day, calls, input_tokens, output_tokens, cached_tokens, cost)
         SELECT owner_id, workload, kind, coalesce(model, ''), {day}, sum({one}), CAST(sum(input_tokens) AS bigint),
             CAST(sum(output_tokens) AS bigint), CAST(sum(cached_tokens) AS bigint), CAST(sum(cost) AS bigint)
         FROM ledger WHERE seq > $1 AND seq <= $2 GROUP BY 1, 2, 3, 4, 5
         ON CONFLICT (owner_id, workload, kind, model, day) DO UPDATE SET {ADDED}",
        ADDED = added("ledger_rollups")
    );
    execute!(tx, sqlx::AssertSqlSafe(by_day), low, top)?;
    // each job's rows count for the job and for all above it
    let by_job = format!(
        "INSERT INTO job_rollups (job_seq, calls, input_tokens, output_tokens, cached_tokens, cost)
         WITH RECURSIVE own AS (
             SELECT job_seq, sum({one}) AS calls, sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens,
                 sum(cached_tokens) AS cached_tokens, sum(cost) AS cost
             FROM ledger WHERE seq > $1 AND seq <= $2 GROUP BY job_seq
         ), up(job_seq, origin) AS (
             SELECT job_seq, job_seq FROM own
             UNION ALL SELECT j.parent_seq, up.origin FROM up JOIN jobs j ON j.seq = up.job_seq WHERE j.parent_seq IS NOT NULL
         )
         SELECT up.job_seq, CAST(sum(own.calls) AS bigint), CAST(sum(own.input_tokens) AS bigint),
             CAST(sum(own.output_tokens) AS bigint), CAST(sum(own.cached_tokens) AS bigint), CAST(sum(own.cost) AS bigint)
         FROM up JOIN own ON own.job_seq = up.origin GROUP BY up.job_seq
         ON CONFLICT (job_seq) DO UPDATE SET {ADDED}",
        ADDED = added("job_rollups")
    );
    execute!(tx, sqlx::AssertSqlSafe(by_job), low, top)?;
    execute!(tx, "UPDATE ledger_watermark SET seq = $1 WHERE one = 1", top)?;
    let count = "SELECT count(*) FROM ledger WHERE seq > $1 AND seq <= $2";
    let count = fetch_one!(tx, scalar i64, count, low, top)?;
    Ok(u64::try_from(count).unwrap_or(0))
}

fn added(table: &str) -> String {
    ["calls", "input_tokens", "output_tokens", "cached_tokens", "cost"]
        .map(|column| format!("{column} = {table}.{column} + excluded.{column}"))
        .join(", ")
}

/// The number up to which no ledger row can appear any more. On PostgreSQL it waits until all transactions that write the
/// ledger now have ended, at most 200 ms ([`StoreError::Busy`]: try again later), and holds up new ones that long.
pub async fn settled_up_to(tx: &mut Tx) -> Result<i64, StoreError> {
    if tx.dialect() == Dialect::Postgres {
        tx.raw("SET LOCAL lock_timeout = '200ms'").await?;
        tx.raw("LOCK TABLE ledger IN SHARE MODE").await?;
    }
    fetch_one!(tx, scalar i64, "SELECT coalesce(max(seq), 0) FROM ledger")
}

/// Whether there are rows that are not in the sums yet.
pub async fn behind(conn: &mut Conn) -> Result<bool, StoreError> {
    let sql =
        "SELECT EXISTS (SELECT 1 FROM ledger WHERE seq > (SELECT seq FROM ledger_watermark WHERE one = 1))";
    fetch_one!(conn, scalar bool, sql)
}

/// Deletes rows booked before `before` that are in the sums, oldest first, at most `limit`.
pub async fn delete_old(tx: &mut Tx, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
    let sql = "DELETE FROM ledger WHERE seq IN (SELECT seq FROM ledger WHERE at < $1
         AND seq <= (SELECT seq FROM ledger_watermark) ORDER BY at LIMIT $2)";
    execute!(tx, sql, before, limit)
}

/// Deletes sums of jobs that are gone, at most `limit`.
pub async fn delete_orphans(tx: &mut Tx, limit: u32) -> Result<u64, StoreError> {
    let sql = "DELETE FROM job_rollups WHERE job_seq IN (SELECT t.job_seq FROM job_rollups t
         WHERE NOT EXISTS (SELECT 1 FROM jobs j WHERE j.seq = t.job_seq) LIMIT $1)";
    execute!(tx, sql, limit)
}

const UNCONFIRMED: &str =
    "SELECT c.id, c.budget_id, j.id AS job_id, c.job_seq, j.owner_id, c.run, l.model, l.step, c.worst, c.reserved_at
    FROM calls c JOIN jobs j ON j.seq = c.job_seq
    LEFT JOIN ledger l ON l.call_id = c.id AND l.entry = 'unconfirmed'
    WHERE c.state = 'unconfirmed'";

/// Calls that were booked at their worst case, in the order of their ids, after `after`; of all owners.
pub async fn unconfirmed(
    conn: &mut Conn,
    after: Option<CallId>,
    limit: u32,
) -> Result<Vec<Unconfirmed>, StoreError> {
    let sql = format!("{UNCONFIRMED} AND ($1 IS NULL OR c.id > $1) ORDER BY c.id LIMIT $2");
    fetch_all!(conn, Unconfirmed, sqlx::AssertSqlSafe(sql), after, limit)
}

/// One of them.
pub async fn unconfirmed_call(conn: &mut Conn, id: CallId) -> Result<Option<Unconfirmed>, StoreError> {
    let sql = format!("{UNCONFIRMED} AND c.id = $1");
    fetch_optional!(conn, Unconfirmed, sqlx::AssertSqlSafe(sql), id)
}
