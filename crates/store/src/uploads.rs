//! Uploads: `pending → stored | rejected | expired`, each conditional on `pending`.

use windrow_core::{OwnerId, Timestamp, UploadId, UploadStatus};

use crate::{Conn, ListOf, StoreError, Tx, execute, fetch_all, fetch_optional, json_texts};

crate::row! {
    /// An object that a user is putting, or has put, through a presigned URL.
    pub struct Upload {
        pub id: UploadId,
        pub owner_id: OwnerId,
        pub status: UploadStatus,
        pub purpose: String,
        pub filename: String,
        pub content_type: String,
        /// In bytes, as announced; of the object, once stored.
        pub size: u64,
        /// Lower-case hex: announced until it is stored, then of the bytes.
        pub sha256: Option<String>,
        pub object_key: String,
        /// Of the version that was verified; readers ask with If-Match.
        pub etag: Option<String>,
        pub detected_type: Option<String>,
        pub problem: Option<String>,
        pub created_at: Timestamp,
        /// Of the URL.
        pub expires_at: Timestamp,
        /// The latest time at which it may still be completed.
        pub complete_by: Timestamp,
        pub ended_at: Option<Timestamp>,
    }
}

crate::row! {
    /// An object that nothing may use any more.
    pub struct DeadObject {
        pub id: UploadId,
        pub object_key: String,
    }
}

/// What was found out about an object when it was verified.
#[derive(Clone, Debug)]
pub struct Verified<'a> {
    pub etag: Option<&'a str>,
    /// Lower-case hex.
    pub sha256: &'a str,
    /// A media type.
    pub detected_type: &'a str,
}

/// Stores a new upload; its status must be `pending`.
pub async fn insert(tx: &mut Tx, upload: &Upload) -> Result<(), StoreError> {
    let sql = "INSERT INTO uploads (id, owner_id, status, purpose, filename, content_type, size, sha256, object_key,
             created_at, expires_at, complete_by)
         VALUES ($1, $2, 'pending', $3, $4, $5, $6, $7, $8, $9, $10, $11)";
    execute!(
        tx,
        sql,
        upload.id,
        upload.owner_id,
        &upload.purpose,
        &upload.filename,
        &upload.content_type,
        upload.size,
        upload.sha256.as_deref(),
        &upload.object_key,
        upload.created_at,
        upload.expires_at,
        upload.complete_by
    )
    .map(drop)
}

pub async fn get(conn: &mut Conn, owner: OwnerId, id: UploadId) -> Result<Option<Upload>, StoreError> {
    let sql = "SELECT id, owner_id, status, purpose, filename, content_type, size, sha256, object_key, etag,
             detected_type, problem, created_at, expires_at, complete_by, ended_at
         FROM uploads WHERE owner_id = $1 AND id = $2";
    fetch_optional!(conn, Upload, sql, owner, id)
}

/// The upload if its object may be used: stored, and the owner's own.
pub async fn stored(conn: &mut Conn, owner: OwnerId, id: UploadId) -> Result<Option<Upload>, StoreError> {
    Ok(get(conn, owner, id).await?.filter(|upload| upload.status == UploadStatus::Stored))
}

/// The version of an upload's object that was verified: what a reader must ask for. None for other objects.
pub async fn verified_etag(conn: &mut Conn, object_key: &str) -> Result<Option<String>, StoreError> {
    let sql = "SELECT etag FROM uploads WHERE object_key = $1 AND status = 'stored'";
    Ok(fetch_optional!(conn, scalar Option<String>, sql, object_key)?.flatten())
}

/// The upload that a signed link names. The link is the permission: no owner is asked for.
pub async fn of_link(conn: &mut Conn, id: UploadId) -> Result<Option<Upload>, StoreError> {
    let sql = "SELECT id, owner_id, status, purpose, filename, content_type, size, sha256, object_key, etag,
             detected_type, problem, created_at, expires_at, complete_by, ended_at
         FROM uploads WHERE id = $1";
    fetch_optional!(conn, Upload, sql, id)
}

/// Newest first, before `before`, at most `limit`.
pub async fn list(
    conn: &mut Conn,
    owner: OwnerId,
    before: Option<UploadId>,
    limit: u32,
) -> Result<Vec<Upload>, StoreError> {
    let sql = "SELECT id, owner_id, status, purpose, filename, content_type, size, sha256, object_key, etag,
             detected_type, problem, created_at, expires_at, complete_by, ended_at
         FROM uploads WHERE owner_id = $1 AND ($2 IS NULL OR id < $2) ORDER BY id DESC LIMIT $3";
    fetch_all!(conn, Upload, sql, owner, before, limit)
}

/// `pending → stored`; false when it is not pending any more.
pub async fn store(
    tx: &mut Tx,
    owner: OwnerId,
    id: UploadId,
    verified: &Verified<'_>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let sql =
        "UPDATE uploads SET status = 'stored', etag = $3, sha256 = $4, detected_type = $5, ended_at = $6
         WHERE owner_id = $1 AND id = $2 AND status = 'pending' AND complete_by >= $6";
    let Verified { etag, sha256, detected_type } = *verified;
    Ok(execute!(tx, sql, owner, id, etag, sha256, detected_type, now)? == 1)
}

/// `pending → rejected`; false when it is not pending any more.
pub async fn reject(
    tx: &mut Tx,
    owner: OwnerId,
    id: UploadId,
    problem: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let sql = "UPDATE uploads SET status = 'rejected', problem = $3, ended_at = $4
         WHERE owner_id = $1 AND id = $2 AND status = 'pending'";
    Ok(execute!(tx, sql, owner, id, problem, now)? == 1)
}

/// `pending → expired` for all that can't be completed any more; at most `limit`, returns how many.
pub async fn expire(tx: &mut Tx, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
    let lock = tx.dialect().for_update_skip_locked();
    let sql = format!(
        "UPDATE uploads SET status = 'expired', ended_at = $1 WHERE status = 'pending' AND id IN
             (SELECT id FROM uploads WHERE status = 'pending' AND complete_by < $1
              ORDER BY complete_by LIMIT $2{lock})"
    );
    execute!(tx, sqlx::AssertSqlSafe(sql), now, limit)
}

/// Objects of rejected and expired uploads that ended before `before`, oldest first.
pub async fn dead_objects(
    conn: &mut Conn,
    before: Timestamp,
    limit: u32,
) -> Result<Vec<DeadObject>, StoreError> {
    let sql = "SELECT id, object_key FROM uploads
         WHERE status IN ('rejected', 'expired') AND object_deleted_at IS NULL AND ended_at < $1
         ORDER BY ended_at LIMIT $2";
    fetch_all!(conn, DeadObject, sql, before, limit)
}

/// Notes that a dead upload's object is gone from storage.
pub async fn object_deleted(tx: &mut Tx, id: UploadId, now: Timestamp) -> Result<(), StoreError> {
    let sql = "UPDATE uploads SET object_deleted_at = $2 WHERE id = $1 AND status IN ('rejected', 'expired')";
    execute!(tx, sql, id, now).map(drop)
}

/// Stored uploads in the order of their ids, for the reconciler, which reports those whose object is gone.
pub async fn stored_after(
    conn: &mut Conn,
    after: Option<UploadId>,
    limit: u32,
) -> Result<Vec<DeadObject>, StoreError> {
    let sql = "SELECT id, object_key FROM uploads WHERE status = 'stored' AND ($1 IS NULL OR id > $1)
         ORDER BY id LIMIT $2";
    fetch_all!(conn, DeadObject, sql, after, limit)
}

/// Which of these object keys an upload names.
pub async fn named(conn: &mut Conn, keys: &[String]) -> Result<Vec<String>, StoreError> {
    let listed = conn.dialect().member("object_key", "$1", ListOf::Text);
    let sql = format!("SELECT object_key FROM uploads WHERE {listed}");
    let keys = json_texts(keys.iter().map(String::as_str));
    fetch_all!(conn, scalar String, sqlx::AssertSqlSafe(sql), keys)
}
