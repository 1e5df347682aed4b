//! The statement that moves rows from `ready` to `running`.

use std::collections::HashMap;

use windrow_core::{OwnerId, Priority, Timestamp};

use super::pairs::Pair;
use super::{ClaimRequest, ClaimedRow};
use crate::{Arm, Col, Dialect, ListOf, Sql, StoreError, Tx, execute, fetch_all, json_ints, json_rows};

/// Rows that another claim has locked are passed over. `ctid` is safe to delete by: the row is locked, and rows of
/// `ready` are never updated.
const PICK_POSTGRES: &str = "
WITH pair AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])
        AS p(workload, owner_id, mark_at, mark_job, share)
    WHERE NOT EXISTS (SELECT 1 FROM disabled_owners d WHERE d.owner_id = p.owner_id)
), picked AS MATERIALIZED (
    SELECT r.* FROM pair p CROSS JOIN LATERAL (
        SELECT r.ctid AS place, r.job_seq, r.run, r.owner_id, r.workload, r.run_at, r.attempts, r.lost
        FROM ready r
        WHERE r.priority = $6 AND r.workload = p.workload AND r.owner_id = p.owner_id
          AND (r.run_at, r.job_seq) >= (p.mark_at, p.mark_job)
        ORDER BY r.run_at, r.job_seq LIMIT p.share FOR UPDATE SKIP LOCKED) r
    LIMIT $7
), gone AS (
    DELETE FROM ready WHERE ctid = ANY (ARRAY(SELECT place FROM picked))
), started AS (
    INSERT INTO running (job_seq, run, worker_id, owner_id, workload, started_at, attempts, lost)
    SELECT job_seq, run, $8, owner_id, workload, $9, attempts, lost FROM picked
)
SELECT p.job_seq, p.run, j.id, p.owner_id, p.workload, j.spec, j.spec_version, j.priority, p.attempts, p.lost,
       j.budget_id, j.parent_seq, j.child_key, j.request_id, j.traceparent, j.created_at, p.run_at AS due_at,
       j.cancel_requested_at, c.schema_version AS checkpoint_version, c.state AS checkpoint_state
FROM picked p JOIN jobs j ON j.seq = p.job_seq LEFT JOIN checkpoints c ON c.job_seq = p.job_seq";

/// The first `$3` rows of each pair: all whose key is not above that of the last of them. Without a LATERAL join that
/// key comes from two scalar subqueries, and without outer columns in an OFFSET it is the largest share for all.
static PICK_SQLITE: Sql = Sql::new(|dialect| {
    let pairs = dialect.rows("$1", "p", &[("workload", Col::Text), ("owner_id", Col::Int)]);
    let last = |column: &str| {
        format!(
            "coalesce((SELECT s.{column} FROM ready s
             WHERE s.priority = $2 AND s.workload = p.workload AND s.owner_id = p.owner_id
             ORDER BY s.run_at, s.job_seq LIMIT 1 OFFSET $3 - 1), 9223372036854775807)"
        )
    };
    format!(
        "WITH pair AS MATERIALIZED (
             SELECT p.ord, p.workload, p.owner_id, {} AS last_at, {} AS last_job FROM {pairs}
             WHERE NOT EXISTS (SELECT 1 FROM disabled_owners d WHERE d.owner_id = p.owner_id)
         )
         SELECT r.job_seq, r.run, r.owner_id, r.workload, r.run_at, r.attempts, r.lost
         FROM pair p CROSS JOIN ready r
         WHERE r.priority = $2 AND r.workload = p.workload AND r.owner_id = p.owner_id
           AND (r.run_at, r.job_seq) <= (p.last_at, p.last_job)
         ORDER BY p.ord, r.run_at, r.job_seq",
        last("run_at"),
        last("job_seq")
    )
});

/// Picks each pair's share, at most `wanted` in all. The rows stand in the pairs' order, each pair's by (run_at, job).
pub(super) async fn pick(
    tx: &mut Tx,
    request: &ClaimRequest,
    priority: Priority,
    pairs: &[Pair],
    wanted: usize,
    now: Timestamp,
) -> Result<Vec<ClaimedRow>, StoreError> {
    if pairs.iter().all(|pair| pair.limit == 0) {
        return Ok(Vec::new());
    }
    let limit = i64::try_from(wanted).unwrap_or(i64::MAX);
    let mut rows = match tx.dialect() {
        Dialect::Postgres => pick_postgres(tx, request, priority, pairs, limit, now).await?,
        Dialect::Sqlite => pick_sqlite(tx, request, priority, pairs, limit, now).await?,
    };
    let place: HashMap<(&str, OwnerId), usize> =
        pairs.iter().enumerate().map(|(i, pair)| ((pair.workload.as_str(), pair.owner), i)).collect();
    rows.sort_by_key(|row| {
        (place.get(&(row.workload.as_str(), row.owner_id)).copied(), row.due_at, row.job_seq)
    });
    Ok(rows)
}

async fn pick_postgres(
    tx: &mut Tx,
    request: &ClaimRequest,
    priority: Priority,
    pairs: &[Pair],
    limit: i64,
    now: Timestamp,
) -> Result<Vec<ClaimedRow>, StoreError> {
    let pairs: Vec<&Pair> = pairs.iter().filter(|pair| pair.limit > 0).collect();
    let mark = |pair: &&Pair| pair.mark.map_or((i64::MIN, i64::MIN), |m| (m.run_at.as_micros(), m.job.0));
    let sql = sqlx::SqlSafeStr::into_sql_str(PICK_POSTGRES);
    let Arm::Postgres(conn) = tx.arm(&sql)? else { unreachable!("asked for by dialect") };
    sqlx::query_as(sql)
        .bind(pairs.iter().map(|pair| pair.workload.as_str()).collect::<Vec<_>>())
        .bind(pairs.iter().map(|pair| pair.owner.0).collect::<Vec<_>>())
        .bind(pairs.iter().map(|pair| mark(pair).0).collect::<Vec<_>>())
        .bind(pairs.iter().map(|pair| mark(pair).1).collect::<Vec<_>>())
        .bind(pairs.iter().map(|pair| pair.limit).collect::<Vec<_>>())
        .bind(i64::from(priority.rank()))
        .bind(limit)
        .bind(request.worker.0)
        .bind(now.as_micros())
        .fetch_all(conn)
        .await
        .map_err(|error| StoreError::from_sqlx(PICK_POSTGRES, error))
}

crate::row! {
    struct ReadyRow {
        job_seq: i64,
        run: i64,
        owner_id: i64,
        workload: String,
        run_at: i64,
        attempts: i64,
        lost: i64,
    }
}

const READY: &[(&str, Col)] = &[
    ("job_seq", Col::Int),
    ("run", Col::Int),
    ("owner_id", Col::Int),
    ("workload", Col::Text),
    ("run_at", Col::Int),
    ("attempts", Col::Int),
    ("lost", Col::Int),
];

async fn pick_sqlite(
    tx: &mut Tx,
    request: &ClaimRequest,
    priority: Priority,
    pairs: &[Pair],
    limit: i64,
    now: Timestamp,
) -> Result<Vec<ClaimedRow>, StoreError> {
    static GONE: Sql = Sql::new(|dialect| {
        let rows = dialect.rows("$1", "i", READY);
        format!(
            "DELETE FROM ready WHERE (priority, workload, owner_id, run_at, job_seq) IN
             (SELECT $2, i.workload, i.owner_id, i.run_at, i.job_seq FROM {rows})"
        )
    });
    static STARTED: Sql = Sql::new(|dialect| {
        let rows = dialect.rows("$1", "i", READY);
        format!(
            "INSERT INTO running (job_seq, run, worker_id, owner_id, workload, started_at, attempts, lost)
             SELECT job_seq, run, $2, owner_id, workload, $3, attempts, lost FROM {rows}"
        )
    });
    static JOBS: Sql = Sql::new(|dialect| {
        let seqs = dialect.list("$1", ListOf::Int);
        format!(
            "SELECT r.job_seq, r.run, j.id, r.owner_id, r.workload, j.spec, j.spec_version, j.priority, r.attempts,
                    r.lost, j.budget_id, j.parent_seq, j.child_key, j.request_id, j.traceparent, j.created_at,
                    j.run_at AS due_at, j.cancel_requested_at, c.schema_version AS checkpoint_version,
                    c.state AS checkpoint_state
             FROM ({seqs}) AS i CROSS JOIN running r ON r.job_seq = i.value CROSS JOIN jobs j ON j.seq = r.job_seq
             LEFT JOIN checkpoints c ON c.job_seq = r.job_seq"
        )
    });
    let pairs: Vec<&Pair> = pairs.iter().filter(|pair| pair.limit > 0).collect();
    let keys: Vec<_> = pairs.iter().map(|pair| (pair.workload.as_str(), pair.owner.0)).collect();
    let largest = pairs.iter().map(|pair| pair.limit).max().unwrap_or(0);
    let dialect = Dialect::Sqlite;
    let mut picked = fetch_all!(tx, ReadyRow, PICK_SQLITE.of(dialect), json_rows(&keys), priority, largest)?;
    let mut left: HashMap<(String, i64), i64> =
        pairs.iter().map(|pair| ((pair.workload.clone(), pair.owner.0), pair.limit)).collect();
    picked.retain(|row| {
        let share = left.get_mut(&(row.workload.clone(), row.owner_id));
        share.is_some_and(|share| {
            *share -= 1;
            *share >= 0
        })
    });
    picked.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    if picked.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<_> = picked
        .iter()
        .map(|r| (r.job_seq, r.run, r.owner_id, r.workload.as_str(), r.run_at, r.attempts, r.lost))
        .collect();
    let rows = json_rows(&rows);
    execute!(tx, GONE.of(dialect), rows.clone(), priority)?;
    execute!(tx, STARTED.of(dialect), rows, request.worker, now)?;
    let seqs = json_ints(picked.iter().map(|row| row.job_seq));
    let mut claimed = fetch_all!(tx, ClaimedRow, JOBS.of(dialect), seqs)?;
    let due: HashMap<i64, i64> = picked.iter().map(|row| (row.job_seq, row.run_at)).collect();
    for row in &mut claimed {
        row.due_at = due.get(&row.job_seq.0).map_or(row.due_at, |at| Timestamp::from_micros(*at));
    }
    Ok(claimed)
}
