//! API keys: only hashes of their secrets.

use std::collections::{BTreeSet, HashMap};

use windrow_core::{ApiKeyId, OwnerId, Scope, Timestamp};

use crate::{Conn, ListOf, Sql, StoreError, Tx, execute, fetch_all, fetch_optional, json_bytes};

crate::row! {
    struct RawKey {
        id: ApiKeyId,
        owner_id: OwnerId,
        name: String,
        hint: String,
        scopes: String,
        created_at: Timestamp,
        expires_at: Option<Timestamp>,
        last_used_at: Option<Timestamp>,
        revoked_at: Option<Timestamp>,
        hash: Vec<u8>,
    }
}

/// A key without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    pub id: ApiKeyId,
    pub owner: OwnerId,
    pub name: String,
    /// The first characters of the secret.
    pub hint: String,
    pub scopes: Vec<Scope>,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    /// To the hour.
    pub last_used_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

impl ApiKey {
    /// Whether it lets anybody in at this time.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

impl TryFrom<RawKey> for ApiKey {
    type Error = StoreError;

    fn try_from(raw: RawKey) -> Result<Self, StoreError> {
        let scopes = serde_json::from_str(&raw.scopes)
            .map_err(|error| StoreError::invariant("api_keys", "scopes", raw.id, error))?;
        Ok(Self {
            id: raw.id,
            owner: raw.owner_id,
            name: raw.name,
            hint: raw.hint,
            scopes,
            created_at: raw.created_at,
            expires_at: raw.expires_at,
            last_used_at: raw.last_used_at,
            revoked_at: raw.revoked_at,
        })
    }
}

/// Stores a key under the SHA-256 of its secret.
pub async fn insert(tx: &mut Tx, key: &ApiKey, hash: &[u8; 32]) -> Result<(), StoreError> {
    let sql = "INSERT INTO api_keys (id, owner_id, name, hint, hash, scopes, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let scopes = serde_json::to_string(&key.scopes)
        .map_err(|error| StoreError::invariant("api_keys", "scopes", key.id, error))?;
    let hash = hash.as_slice();
    execute!(tx, sql, key.id, key.owner, &key.name, &key.hint, hash, scopes, key.created_at, key.expires_at)
        .map(drop)
}

/// The keys with these hashes, live or not.
pub async fn by_hashes(
    conn: &mut Conn,
    hashes: &BTreeSet<[u8; 32]>,
) -> Result<HashMap<[u8; 32], ApiKey>, StoreError> {
    static KEYS: Sql = Sql::new(|dialect| {
        let member = dialect.member("hash", "$1", ListOf::Bytes);
        format!(
            "SELECT id, owner_id, name, hint, scopes, created_at, expires_at, last_used_at, revoked_at, hash
             FROM api_keys WHERE {member}"
        )
    });
    let list = json_bytes(hashes.iter().map(<[u8; 32]>::as_slice));
    let rows = fetch_all!(conn, RawKey, KEYS.of(conn.dialect()), list)?;
    let by_hash = |raw: RawKey| {
        let hash = raw.hash.as_slice().try_into();
        let hash = hash.map_err(|error| StoreError::invariant("api_keys", "hash", raw.id, error))?;
        Ok((hash, ApiKey::try_from(raw)?))
    };
    rows.into_iter().map(by_hash).collect()
}

/// All keys of an owner, newest first.
pub async fn list(conn: &mut Conn, owner: OwnerId) -> Result<Vec<ApiKey>, StoreError> {
    let sql =
        "SELECT id, owner_id, name, hint, scopes, created_at, expires_at, last_used_at, revoked_at, hash
         FROM api_keys WHERE owner_id = $1 ORDER BY created_at DESC, id DESC";
    fetch_all!(conn, RawKey, sql, owner)?.into_iter().map(ApiKey::try_from).collect()
}

/// Ends a key for good; none when the owner has no such key. Revoking twice keeps the first time.
pub async fn revoke(
    tx: &mut Tx,
    owner: OwnerId,
    id: ApiKeyId,
    now: Timestamp,
) -> Result<Option<ApiKey>, StoreError> {
    let sql = "UPDATE api_keys SET revoked_at = coalesce(revoked_at, $3) WHERE owner_id = $1 AND id = $2
         RETURNING id, owner_id, name, hint, scopes, created_at, expires_at, last_used_at, revoked_at, hash";
    fetch_optional!(tx, RawKey, sql, owner, id, now)?.map(ApiKey::try_from).transpose()
}

/// Notes that a key was used in the hour that begins at `hour`.
pub async fn touch(tx: &mut Tx, id: ApiKeyId, hour: Timestamp) -> Result<(), StoreError> {
    let sql =
        "UPDATE api_keys SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)";
    execute!(tx, sql, id, hour).map(drop)
}
