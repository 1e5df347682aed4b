//! What rows say about objects in storage: what the reconciler asks before it removes one.

use std::collections::HashSet;

use crate::{Conn, ListOf, StoreError, artifacts, fetch_all, json_texts, uploads};

/// Which of these object keys some row of the platform's names. Workloads name further ones in tables of their own.
pub async fn named(conn: &mut Conn, keys: &[String]) -> Result<HashSet<String>, StoreError> {
    let mut named: HashSet<String> = uploads::named(conn, keys).await?.into_iter().collect();
    named.extend(artifacts::named(conn, keys).await?);
    let listed = conn.dialect().member("key", "$1", ListOf::Text);
    let sql = format!("SELECT key FROM parts WHERE {listed}");
    let keys = json_texts(keys.iter().map(String::as_str));
    named.extend(fetch_all!(conn, scalar String, sqlx::AssertSqlSafe(sql), keys)?);
    Ok(named)
}
