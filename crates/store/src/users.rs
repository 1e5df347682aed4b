//! Users: the truth about who may do what.

use std::collections::BTreeSet;

use windrow_core::{OwnerId, Role, Timestamp, UserStatus};

use crate::{
    Conn, ListOf, Sql, StoreError, Tx, execute, fetch_all, fetch_one, fetch_optional, json_ints, json_texts,
};

crate::row! {
    /// A person or service that owns rows.
    pub struct User {
        pub id: OwnerId,
        pub sub: String,
        pub role: Role,
        pub status: UserStatus,
        pub created_at: Timestamp,
        pub updated_at: Timestamp,
    }
}

/// Which users to list.
#[derive(Clone, Debug, Default)]
pub struct UserFilter<'a> {
    /// Empty: all roles.
    pub roles: &'a [Role],
    pub status: Option<UserStatus>,
}

pub async fn by_sub(conn: &mut Conn, sub: &str) -> Result<Option<User>, StoreError> {
    let sql = "SELECT id, sub, role, status, created_at, updated_at FROM users WHERE sub = $1";
    fetch_optional!(conn, User, sql, sub)
}

/// Those with these subjects, in no order.
pub async fn by_subs(conn: &mut Conn, subs: &BTreeSet<String>) -> Result<Vec<User>, StoreError> {
    static FIND: Sql = Sql::new(|dialect| {
        let member = dialect.member("sub", "$1", ListOf::Text);
        format!("SELECT id, sub, role, status, created_at, updated_at FROM users WHERE {member}")
    });
    fetch_all!(conn, User, FIND.of(conn.dialect()), json_texts(subs.iter().map(String::as_str)))
}

/// Those with these ids, in no order.
pub async fn by_ids(conn: &mut Conn, ids: &BTreeSet<OwnerId>) -> Result<Vec<User>, StoreError> {
    static FIND: Sql = Sql::new(|dialect| {
        let member = dialect.member("id", "$1", ListOf::Int);
        format!("SELECT id, sub, role, status, created_at, updated_at FROM users WHERE {member}")
    });
    fetch_all!(conn, User, FIND.of(conn.dialect()), json_ints(ids.iter().map(|id| id.0)))
}

pub async fn by_id(conn: &mut Conn, id: OwnerId) -> Result<Option<User>, StoreError> {
    let sql = "SELECT id, sub, role, status, created_at, updated_at FROM users WHERE id = $1";
    fetch_optional!(conn, User, sql, id)
}

/// The user with this subject, made as an active consumer when nobody has seen it before.
pub async fn ensure(tx: &mut Tx, sub: &str, now: Timestamp) -> Result<User, StoreError> {
    let insert = "INSERT INTO users (sub, role, status, created_at, updated_at) VALUES ($1, $2, $3, $4, $4)
         ON CONFLICT (sub) DO NOTHING";
    execute!(tx, insert, sub, Role::Consumer, UserStatus::Active, now)?;
    let found = by_sub(tx, sub).await?;
    found.ok_or_else(|| StoreError::invariant("users", "sub", sub, "gone right after it was made"))
}

/// The user, locked until the commit.
pub async fn lock(tx: &mut Tx, id: OwnerId) -> Result<Option<User>, StoreError> {
    let lock = tx.dialect().for_update();
    let sql = format!("SELECT id, sub, role, status, created_at, updated_at FROM users WHERE id = $1{lock}");
    fetch_optional!(tx, User, sqlx::AssertSqlSafe(sql), id)
}

/// Writes role and status; claims skip a disabled owner from this commit on.
pub async fn set(
    tx: &mut Tx,
    id: OwnerId,
    role: Role,
    status: UserStatus,
    now: Timestamp,
) -> Result<User, StoreError> {
    let update = "UPDATE users SET role = $2, status = $3, updated_at = $4 WHERE id = $1
         RETURNING id, sub, role, status, created_at, updated_at";
    let user = fetch_one!(tx, User, update, id, role, status, now)?;
    match status {
        UserStatus::Active => execute!(tx, "DELETE FROM disabled_owners WHERE owner_id = $1", id)?,
        UserStatus::Disabled => {
            let sql = "INSERT INTO disabled_owners (owner_id) VALUES ($1) ON CONFLICT (owner_id) DO NOTHING";
            execute!(tx, sql, id)?
        }
    };
    Ok(user)
}

/// All active admins, locked in the order of their ids until the commit, so that of two changes which would remove the
/// last two, the second sees the first.
pub async fn lock_active_admins(tx: &mut Tx) -> Result<Vec<OwnerId>, StoreError> {
    let lock = tx.dialect().for_update();
    let sql = format!("SELECT id FROM users WHERE role = 'admin' AND status = 'active' ORDER BY id{lock}");
    fetch_all!(tx, (i64,), sqlx::AssertSqlSafe(sql))
        .map(|ids| ids.into_iter().map(|(id,)| OwnerId(id)).collect())
}

/// In the order of their ids, after `after`, at most `limit`.
pub async fn list(
    conn: &mut Conn,
    filter: &UserFilter<'_>,
    after: Option<OwnerId>,
    limit: u32,
) -> Result<Vec<User>, StoreError> {
    let in_roles = conn.dialect().member("role", "$2", ListOf::Text);
    let sql = format!(
        "SELECT id, sub, role, status, created_at, updated_at FROM users
         WHERE ($1 OR {in_roles}) AND ($3 IS NULL OR status = $3) AND ($4 IS NULL OR id > $4)
         ORDER BY id LIMIT $5"
    );
    let roles = json_texts(filter.roles.iter().map(|role| role.as_str()));
    let all_roles = filter.roles.is_empty();
    fetch_all!(conn, User, sqlx::AssertSqlSafe(sql), all_roles, roles, filter.status, after, limit)
}
