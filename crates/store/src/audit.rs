//! The audit log: append-only, which triggers of the database enforce.

use windrow_core::Timestamp;

use crate::{Conn, StoreError, Tx, execute, fetch_all};

/// A line to be written, in the transaction of what it tells about.
#[derive(Clone, Debug)]
pub struct NewEntry<'a> {
    pub at: Timestamp,
    /// The subject of who did it.
    pub actor: &'a str,
    pub action: &'a str,
    pub target: &'a str,
    /// JSON.
    pub before: Option<String>,
    /// JSON.
    pub after: Option<String>,
    pub reason: &'a str,
    pub request_id: Option<&'a str>,
}

crate::row! {
    /// A line that was written.
    pub struct Entry {
        pub id: i64,
        pub at: Timestamp,
        pub actor: String,
        pub action: String,
        pub target: String,
        pub state_before: Option<String>,
        pub state_after: Option<String>,
        pub reason: String,
        pub request_id: Option<String>,
    }
}

/// Which lines to list.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter<'a> {
    pub actor: Option<&'a str>,
    pub action: Option<&'a str>,
    pub target: Option<&'a str>,
    pub request_id: Option<&'a str>,
}

pub async fn append(tx: &mut Tx, entry: NewEntry<'_>) -> Result<(), StoreError> {
    let sql =
        "INSERT INTO audit_log (at, actor, action, target, state_before, state_after, reason, request_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let NewEntry { at, actor, action, target, before, after, reason, request_id } = entry;
    execute!(tx, sql, at, actor, action, target, before, after, reason, request_id).map(drop)
}

/// Newest first, before `before`, at most `limit`.
pub async fn list(
    conn: &mut Conn,
    filter: &AuditFilter<'_>,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<Entry>, StoreError> {
    let sql = "SELECT id, at, actor, action, target, state_before, state_after, reason, request_id
         FROM audit_log
         WHERE ($1 IS NULL OR actor = $1) AND ($2 IS NULL OR action = $2) AND ($3 IS NULL OR target = $3)
           AND ($4 IS NULL OR request_id = $4) AND ($5 IS NULL OR id < $5)
         ORDER BY id DESC LIMIT $6";
    let AuditFilter { actor, action, target, request_id } = filter;
    fetch_all!(conn, Entry, sql, *actor, *action, *target, *request_id, before, limit)
}
