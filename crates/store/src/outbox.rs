//! What is to be told to the outside, written in the transaction of what it tells about. Told at least once: whoever takes
//! a row has a while to tell it and to say so, then it is due again.

use std::time::Duration;

use windrow_core::{JobSeq, Timestamp};

use crate::{Conn, ListOf, Sql, StoreError, Tx, execute, fetch_all, fetch_one, json_ints};

crate::row! {
    /// A row that was taken.
    pub struct Outgoing {
        pub id: i64,
        pub job_seq: JobSeq,
        /// JSON.
        pub payload: String,
        /// This one included.
        pub attempts: u32,
    }
}

/// Takes rows of a topic that are due, oldest first, at most `limit`; they are due again after `lease`.
pub async fn take(
    tx: &mut Tx,
    topic: &str,
    now: Timestamp,
    lease: Duration,
    limit: u32,
) -> Result<Vec<Outgoing>, StoreError> {
    let lock = tx.dialect().for_update_skip_locked();
    let sql = format!(
        "UPDATE outbox SET due_at = $3, attempts = attempts + 1 WHERE id IN
             (SELECT id FROM outbox WHERE topic = $1 AND due_at <= $2 ORDER BY due_at, id LIMIT $4{lock})
         RETURNING id, job_seq, payload, attempts"
    );
    fetch_all!(tx, Outgoing, sqlx::AssertSqlSafe(sql), topic, now, now.plus(lease), limit)
}

/// Whether a row of a topic is due.
pub async fn is_due(conn: &mut Conn, topic: &str, now: Timestamp) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM outbox WHERE topic = $1 AND due_at <= $2)";
    fetch_one!(conn, scalar bool, sql, topic, now)
}

/// It has been told, or never will be.
pub async fn remove(tx: &mut Tx, id: i64) -> Result<(), StoreError> {
    execute!(tx, "DELETE FROM outbox WHERE id = $1", id).map(drop)
}

/// It is to be told later.
pub async fn postpone(tx: &mut Tx, id: i64, due_at: Timestamp) -> Result<(), StoreError> {
    execute!(tx, "UPDATE outbox SET due_at = $2 WHERE id = $1", id, due_at).map(drop)
}

/// They were taken and not told after all: they are to be told later, and this time does not count.
pub async fn defer(tx: &mut Tx, ids: &[i64], due_at: Timestamp) -> Result<(), StoreError> {
    static PUT: Sql = Sql::new(|d| {
        let member = d.member("id", "$1", ListOf::Int);
        format!("UPDATE outbox SET due_at = $2, attempts = attempts - 1 WHERE {member}")
    });
    execute!(tx, PUT.of(tx.dialect()), json_ints(ids.iter().copied()), due_at).map(drop)
}

/// How many rows of a topic wait.
pub async fn waiting(conn: &mut Conn, topic: &str) -> Result<i64, StoreError> {
    fetch_one!(conn, scalar i64, "SELECT count(*) FROM outbox WHERE topic = $1", topic)
}
