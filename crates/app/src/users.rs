//! Users, their roles and status, and their API keys.

use serde_json::json;
use windrow_api_types::{ApiKey, ChangeUser, CreateApiKey, CreatedApiKey, Me, Page, User, UserQuery};
use windrow_auth::ApiKeySecret;
use windrow_core::{ApiKeyId, OwnerId, Role, Scope, UserStatus};
use windrow_store::users::{self, UserFilter};
use windrow_store::{Tx, api_keys};

use crate::audit::AuditLine;
use crate::{Actor, App, AppError, Authority, audit, cursor};

/// The longest name of a key, in characters.
const MAX_KEY_NAME: usize = 100;
/// The most keys of a user that still work.
const MAX_LIVE_KEYS: usize = 100;

impl App {
    /// Who is asking.
    pub async fn me(&self, actor: &Actor) -> Result<Me, AppError> {
        let keys = api_keys::list(&mut self.read().await?, actor.owner()).await?;
        Ok(Me {
            user: user(actor.user.clone()),
            login: actor.login.as_str().to_owned(),
            scopes: actor.scopes().map(<[Scope]>::to_vec),
            keys: keys.into_iter().map(key).collect(),
        })
    }

    pub async fn list_users(&self, actor: &Actor, query: &UserQuery) -> Result<Page<User>, AppError> {
        actor.may_administer()?;
        let after = cursor::decode(query.cursor.as_deref())?.map(OwnerId);
        let roles = query.role.clone().unwrap_or_default().0;
        let filter = UserFilter { roles: &roles, status: query.status };
        let size = query.size();
        let rows = users::list(&mut self.read().await?, &filter, after, size + 1).await?;
        Ok(cursor::page(rows, size, |row| row.id, user))
    }

    /// # Errors
    /// [`AppError::NotFound`].
    pub async fn show_user(&self, actor: &Actor, id: OwnerId) -> Result<User, AppError> {
        actor.may_administer()?;
        let found = users::by_id(&mut self.read().await?, id).await?;
        found.map(user).ok_or_else(|| AppError::not_found("user", id))
    }

    /// Changes a user's role, status or both; works on the user's very next request, and is audited in the same
    /// transaction.
    ///
    /// # Errors
    /// [`AppError::LastAdmin`] when no active admin would be left.
    pub async fn change_user(
        &self,
        by: Authority<'_>,
        id: OwnerId,
        change: &ChangeUser,
    ) -> Result<User, AppError> {
        by.may_administer()?;
        audit::check_reason(&change.reason)?;
        let change = self.change(by, change);
        let changed = self.write(move |tx| {
            let change = change.clone();
            Box::pin(async move { change.apply(tx, id).await })
        });
        Ok(user(changed.await?))
    }

    /// The same by subject, for a user who may never have been seen: makes the first admin.
    ///
    /// # Errors
    /// As [`App::change_user`].
    pub async fn grant(&self, by: Authority<'_>, sub: &str, change: &ChangeUser) -> Result<User, AppError> {
        by.may_administer()?;
        audit::check_reason(&change.reason)?;
        crate::login::check_sub(sub)?;
        let (change, sub) = (self.change(by, change), sub.to_owned());
        let changed = self.write(move |tx| {
            let (change, sub) = (change.clone(), sub.clone());
            Box::pin(async move {
                let id = users::ensure(tx, &sub, change.line.at).await?.id;
                change.apply(tx, id).await
            })
        });
        Ok(user(changed.await?))
    }

    fn change(&self, by: Authority<'_>, change: &ChangeUser) -> Change {
        let line = self.audit_line(by, "user.grant", String::new(), &change.reason);
        Change { role: change.role, status: change.status, line }
    }

    /// Makes an API key for the actor; its secret is in this answer and nowhere else. A key's scopes can't exceed those
    /// of the credential that makes it.
    ///
    /// # Errors
    /// What is wrong with the request; [`AppError::ScopeMissing`].
    pub async fn create_key(&self, actor: &Actor, request: &CreateApiKey) -> Result<CreatedApiKey, AppError> {
        actor.may_write()?;
        self.check_key(actor, request)?;
        let secret = ApiKeySecret::generate()?;
        let key_row = api_keys::ApiKey {
            id: ApiKeyId::new(&*self.parts.clock),
            owner: actor.owner(),
            name: request.name.trim().to_owned(),
            hint: secret.hint().to_owned(),
            scopes: request.scopes.clone(),
            created_at: self.now(),
            expires_at: request.expires_at,
            last_used_at: None,
            revoked_at: None,
        };
        let target = format!("key:{}", key_row.id);
        let mut line = self.audit_line(Authority::Actor(actor), "key.create", target, &key_row.name);
        line.after = Some(json!({"scopes": key_row.scopes}));
        let (row, hash) = (key_row.clone(), secret.sha256());
        self.write(move |tx| {
            let (row, line) = (row.clone(), line.clone());
            Box::pin(async move {
                let keys = api_keys::list(tx, row.owner).await?;
                if keys.iter().filter(|key| key.is_live(line.at)).count() >= MAX_LIVE_KEYS {
                    let message = format!("you have {MAX_LIVE_KEYS} keys that work; revoke one first");
                    return Err(AppError::invalid("", message));
                }
                api_keys::insert(tx, &row, &hash).await?;
                line.write(tx).await
            })
        })
        .await?;
        Ok(CreatedApiKey { key: key(key_row), secret: secret.expose().to_owned() })
    }

    pub async fn list_keys(&self, actor: &Actor) -> Result<Vec<ApiKey>, AppError> {
        actor.may_read()?;
        let keys = api_keys::list(&mut self.read().await?, actor.owner()).await?;
        Ok(keys.into_iter().map(key).collect())
    }

    /// Ends one of the actor's keys for good; doing it twice is no error.
    pub async fn revoke_key(&self, actor: &Actor, id: ApiKeyId) -> Result<ApiKey, AppError> {
        actor.may_write()?;
        let owner = actor.owner();
        let line = self.audit_line(Authority::Actor(actor), "key.revoke", format!("key:{id}"), "");
        let revoked = self.write(move |tx| {
            let mut line = line.clone();
            Box::pin(async move {
                let revoked = api_keys::revoke(tx, owner, id, line.at).await?;
                let revoked = revoked.ok_or_else(|| AppError::not_found("API key", id))?;
                line.reason.clone_from(&revoked.name);
                line.write(tx).await?;
                Ok(revoked)
            })
        });
        Ok(key(revoked.await?))
    }

    fn check_key(&self, actor: &Actor, request: &CreateApiKey) -> Result<(), AppError> {
        if !(1..=MAX_KEY_NAME).contains(&request.name.trim().chars().count()) {
            return Err(AppError::invalid("/name", format!("must have 1 to {MAX_KEY_NAME} characters")));
        }
        if request.scopes.is_empty() {
            return Err(AppError::invalid("/scopes", "must name at least one scope"));
        }
        if request.expires_at.is_some_and(|end| end <= self.now()) {
            return Err(AppError::invalid("/expires_at", "must be in the future"));
        }
        for scope in &request.scopes {
            actor.needs(scope)?;
            match scope {
                Scope::Admin => actor.has_role(Role::Admin)?,
                // a worker sees the inputs of every owner's jobs
                Scope::Worker(_) => actor.has_role(Role::Admin)?,
                Scope::Read | Scope::Write => {}
            }
        }
        Ok(())
    }
}

/// A change of a user, with the line that tells of it.
#[derive(Clone)]
struct Change {
    role: Option<Role>,
    status: Option<UserStatus>,
    line: AuditLine,
}

impl Change {
    async fn apply(mut self, tx: &mut Tx, id: OwnerId) -> Result<users::User, AppError> {
        // admins first and in order, then the user: two changes at once wait for each other instead of deadlocking
        let admins = users::lock_active_admins(tx).await?;
        let before = users::lock(tx, id).await?.ok_or_else(|| AppError::not_found("user", id))?;
        let role = self.role.unwrap_or(before.role);
        let status = self.status.unwrap_or(before.status);
        let stays_admin = role == Role::Admin && status == UserStatus::Active;
        if admins == [id] && !stays_admin {
            return Err(AppError::LastAdmin);
        }
        let after = users::set(tx, id, role, status, self.line.at).await?;
        self.line.action = match (before.status, status) {
            (UserStatus::Active, UserStatus::Disabled) => "user.disable",
            (UserStatus::Disabled, UserStatus::Active) => "user.enable",
            _ => "user.grant",
        };
        let state = |user: &users::User| json!({"role": user.role, "status": user.status});
        self.line.target = format!("user:{}", after.sub);
        self.line.before = Some(state(&before));
        self.line.after = Some(state(&after));
        self.line.write(tx).await?;
        Ok(after)
    }
}

fn user(row: users::User) -> User {
    let users::User { id, sub, role, status, created_at, updated_at } = row;
    User { id, sub, role, status, created_at, updated_at }
}

fn key(row: api_keys::ApiKey) -> ApiKey {
    ApiKey {
        id: row.id,
        name: row.name,
        hint: row.hint,
        scopes: row.scopes,
        created_at: row.created_at,
        expires_at: row.expires_at,
        last_used_at: row.last_used_at,
        revoked_at: row.revoked_at,
    }
}
