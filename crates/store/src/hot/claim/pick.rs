//! The statement that moves rows from `ready` to `running`.

use std::collections::HashMap;

use windrow_core::{OwnerId, Priority, Timestamp};

use super::pairs::Pair;
use super::sqlite::pick_sqlite;
use super::{ClaimRequest, ClaimedRow};
use crate::{Arm, Dialect, StoreError, Tx};

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
    let mut rows = match tx.dialect() {
        Dialect::Postgres => pick_postgres(tx, request, priority, pairs, wanted, now).await?,
        Dialect::Sqlite => pick_sqlite(tx, request, priority, pairs, wanted, now).await?,
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
    limit: usize,
    now: Timestamp,
) -> Result<Vec<ClaimedRow>, StoreError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
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
