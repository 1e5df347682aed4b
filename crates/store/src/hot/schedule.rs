//! The scheduler's move of due rows from `scheduled` to `ready`.

use windrow_core::Timestamp;

use super::CHUNK;
use crate::{Arm, Dialect, Notes, StoreError, Tx, execute, fetch_one};

/// What one move did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Due {
    /// How many jobs may now be claimed that could not before.
    pub moved: u64,
    /// When the next row is due; earlier than now when there are more.
    pub next: Option<Timestamp>,
}

const MOVE_POSTGRES: &str = "
WITH due AS MATERIALIZED (
    SELECT ctid AS place, priority, workload, owner_id, run_at, job_seq, run, attempts, lost
    FROM scheduled WHERE run_at <= $1 ORDER BY run_at, job_seq LIMIT $2 FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM scheduled WHERE ctid = ANY (ARRAY(SELECT place FROM due))
)
INSERT INTO ready (priority, workload, owner_id, run_at, job_seq, run, attempts, lost)
SELECT priority, workload, owner_id, run_at, job_seq, run, attempts, lost FROM due";

/// Moves up to 500 rows that are due.
pub async fn schedule_due(tx: &mut Tx, now: Timestamp) -> Result<Due, StoreError> {
    let moved = match tx.dialect() {
        Dialect::Postgres => {
            let sql = sqlx::SqlSafeStr::into_sql_str(MOVE_POSTGRES);
            let Arm::Postgres(conn) = tx.arm(&sql)? else { unreachable!("asked for by dialect") };
            let done = sqlx::query(sql).bind(now.as_micros()).bind(CHUNK).execute(conn).await;
            done.map_err(|error| StoreError::from_sqlx(MOVE_POSTGRES, error))?.rows_affected()
        }
        Dialect::Sqlite => move_sqlite(tx, now).await?,
    };
    tx.note(Notes { work: moved > 0, ..Notes::default() });
    let sql = "SELECT (SELECT run_at FROM scheduled ORDER BY run_at, job_seq LIMIT 1)";
    let next = fetch_one!(tx, scalar Option<i64>, sql)?.map(Timestamp::from_micros);
    Ok(Due { moved, next })
}

async fn move_sqlite(tx: &mut Tx, now: Timestamp) -> Result<u64, StoreError> {
    let insert = "INSERT INTO ready (priority, workload, owner_id, run_at, job_seq, run, attempts, lost)
         SELECT priority, workload, owner_id, run_at, job_seq, run, attempts, lost FROM scheduled
         WHERE run_at <= $1 ORDER BY run_at, job_seq LIMIT $2";
    let moved = execute!(tx, insert, now, CHUNK)?;
    if moved > 0 {
        let delete = "DELETE FROM scheduled WHERE (run_at, job_seq) IN
             (SELECT run_at, job_seq FROM scheduled WHERE run_at <= $1 ORDER BY run_at, job_seq LIMIT $2)";
        execute!(tx, delete, now, CHUNK)?;
    }
    Ok(moved)
}
