//! Artifacts: output objects of jobs, with gapless versions and a latest pointer that never goes back.

use windrow_core::{ArtifactId, JobId, JobSeq, OwnerId, Timestamp};

use crate::{Conn, ListOf, StoreError, Tx, execute, fetch_all, fetch_one, fetch_optional, json_texts};

/// How many versions before the latest a list shows.
pub const EARLIER_SHOWN: i64 = 5;

/// What versions are counted in: a job's tree, or something of a workload's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource(String);

impl Resource {
    /// The tree of the job at its root.
    pub fn job(root: JobSeq) -> Self {
        Self(format!("job:{root}"))
    }

    /// Something of a workload's own, such as (`resume`, a profile's id).
    pub fn of_workload(workload: &str, name: &str) -> Self {
        Self(format!("{workload}:{name}"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An artifact to be recorded; its object is in storage already.
#[derive(Clone, Debug)]
pub struct NewArtifact<'a> {
    pub id: ArtifactId,
    pub owner: OwnerId,
    pub job: JobSeq,
    pub job_id: JobId,
    pub resource: &'a Resource,
    pub kind: &'a str,
    pub filename: &'a str,
    pub content_type: &'a str,
    /// In bytes.
    pub size: u64,
    /// Lower-case hex.
    pub sha256: &'a str,
    pub object_key: &'a str,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}

crate::row! {
    /// An artifact; `latest` is the latest version of its kind.
    pub struct Artifact {
        pub id: ArtifactId,
        pub owner_id: OwnerId,
        pub job_id: JobId,
        pub kind: String,
        pub version: u32,
        pub latest: u32,
        pub filename: String,
        pub content_type: String,
        pub size: u64,
        pub sha256: String,
        pub object_key: String,
        pub created_at: Timestamp,
        pub expires_at: Timestamp,
    }
}

crate::row! {
    /// An artifact's object.
    pub struct Held {
        pub id: ArtifactId,
        pub object_key: String,
    }
}

/// Gives the artifact the next version of its (resource, kind), counted from 1, and makes it the latest. One counter row
/// is both, and it is locked until the commit: versions have no gaps, and the pointer can't go back.
pub async fn record(tx: &mut Tx, artifact: &NewArtifact<'_>) -> Result<u32, StoreError> {
    let count = "INSERT INTO artifact_series (owner_id, resource, kind, latest) VALUES ($1, $2, $3, 1)
         ON CONFLICT (owner_id, resource, kind) DO UPDATE SET latest = artifact_series.latest + 1
         RETURNING latest";
    let NewArtifact { owner, kind, .. } = *artifact;
    let version = fetch_one!(tx, scalar i64, count, owner, artifact.resource.as_str(), kind)?;
    let insert = "INSERT INTO artifacts (id, owner_id, job_seq, job_id, resource, kind, version, filename, content_type,
             size, sha256, object_key, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
    execute!(
        tx,
        insert,
        artifact.id,
        owner,
        artifact.job,
        artifact.job_id,
        artifact.resource.as_str(),
        kind,
        version,
        artifact.filename,
        artifact.content_type,
        artifact.size,
        artifact.sha256,
        artifact.object_key,
        artifact.created_at,
        artifact.expires_at
    )?;
    u32::try_from(version).map_err(|error| StoreError::invariant("artifact_series", "latest", version, error))
}

pub async fn get(conn: &mut Conn, owner: OwnerId, id: ArtifactId) -> Result<Option<Artifact>, StoreError> {
    let sql =
        "SELECT a.id, a.owner_id, a.job_id, a.kind, a.version, s.latest, a.filename, a.content_type, a.size,
             a.sha256, a.object_key, a.created_at, a.expires_at
         FROM artifacts a
         JOIN artifact_series s ON s.owner_id = a.owner_id AND s.resource = a.resource AND s.kind = a.kind
         WHERE a.owner_id = $1 AND a.id = $2";
    fetch_optional!(conn, Artifact, sql, owner, id)
}

/// Of each kind of a resource the latest version and the [`EARLIER_SHOWN`] before it; kinds in order, latest first.
pub async fn shown(
    conn: &mut Conn,
    owner: OwnerId,
    resource: &Resource,
) -> Result<Vec<Artifact>, StoreError> {
    let sql =
        "SELECT a.id, a.owner_id, a.job_id, a.kind, a.version, s.latest, a.filename, a.content_type, a.size,
             a.sha256, a.object_key, a.created_at, a.expires_at
         FROM artifact_series s
         JOIN artifacts a ON a.owner_id = s.owner_id AND a.resource = s.resource AND a.kind = s.kind
         WHERE s.owner_id = $1 AND s.resource = $2 AND a.version >= s.latest - $3
         ORDER BY a.kind, a.version DESC";
    fetch_all!(conn, Artifact, sql, owner, resource.as_str(), EARLIER_SHOWN)
}

/// All artifacts of an owner, newest first, before `before`, at most `limit`.
pub async fn list(
    conn: &mut Conn,
    owner: OwnerId,
    kind: Option<&str>,
    before: Option<ArtifactId>,
    limit: u32,
) -> Result<Vec<Artifact>, StoreError> {
    let sql =
        "SELECT a.id, a.owner_id, a.job_id, a.kind, a.version, s.latest, a.filename, a.content_type, a.size,
             a.sha256, a.object_key, a.created_at, a.expires_at
         FROM artifacts a
         JOIN artifact_series s ON s.owner_id = a.owner_id AND s.resource = a.resource AND s.kind = a.kind
         WHERE a.owner_id = $1 AND ($2 IS NULL OR a.kind = $2) AND ($3 IS NULL OR a.id < $3)
         ORDER BY a.id DESC LIMIT $4";
    fetch_all!(conn, Artifact, sql, owner, kind, before, limit)
}

/// Artifacts past their expiry that are not the latest of their kind, oldest first. The sweeper deletes the object, then
/// the row.
pub async fn expired(conn: &mut Conn, now: Timestamp, limit: u32) -> Result<Vec<Held>, StoreError> {
    let sql = "SELECT a.id, a.object_key FROM artifacts a
         JOIN artifact_series s ON s.owner_id = a.owner_id AND s.resource = a.resource AND s.kind = a.kind
         WHERE a.expires_at <= $1 AND a.version < s.latest
         ORDER BY a.expires_at LIMIT $2";
    fetch_all!(conn, Held, sql, now, limit)
}

/// Removes a row whose object is gone; never the latest of its kind.
pub async fn delete(tx: &mut Tx, id: ArtifactId) -> Result<bool, StoreError> {
    let sql = "DELETE FROM artifacts WHERE id = $1 AND version < (SELECT s.latest FROM artifact_series s
         WHERE s.owner_id = artifacts.owner_id AND s.resource = artifacts.resource AND s.kind = artifacts.kind)";
    Ok(execute!(tx, sql, id)? == 1)
}

/// Artifacts in the order of their ids, for the reconciler, which reports those whose object is gone.
pub async fn after(conn: &mut Conn, after: Option<ArtifactId>, limit: u32) -> Result<Vec<Held>, StoreError> {
    let sql = "SELECT id, object_key FROM artifacts WHERE ($1 IS NULL OR id > $1) ORDER BY id LIMIT $2";
    fetch_all!(conn, Held, sql, after, limit)
}

/// Which of these object keys an artifact names.
pub async fn named(conn: &mut Conn, keys: &[String]) -> Result<Vec<String>, StoreError> {
    let listed = conn.dialect().member("object_key", "$1", ListOf::Text);
    let sql = format!("SELECT object_key FROM artifacts WHERE {listed}");
    let keys = json_texts(keys.iter().map(String::as_str));
    fetch_all!(conn, scalar String, sqlx::AssertSqlSafe(sql), keys)
}
