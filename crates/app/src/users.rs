//! Users, their roles and status, and their API keys.

use serde_json::json;
use windrow_api_types::{ApiKey, ChangeUser, CreateApiKey, CreatedApiKey, Me, Page, User, UserQuery};
use windrow_auth::ApiKeySecret;
use windrow_core::{ApiKeyId, OwnerId, Role, Scope, UserStatus};
use windrow_store::users::{self, UserFilter};
use windrow_store::{Tx, api_keys};

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
        let mut tx = self.begin().await?;
        let changed = self.apply_change(&mut tx, by, id, change).await?;
        tx.commit().await?;
        Ok(changed)
    }

    /// The same by subject, for a user who may never have been seen: makes the first admin.
    ///
    /// # Errors
    /// As [`App::change_user`].
    pub async fn grant(&self, by: Authority<'_>, sub: &str, change: &ChangeUser) -> Result<User, AppError> {
        by.may_administer()?;
        audit::check_reason(&change.reason)?;
        crate::login::check_sub(sub)?;
        let mut tx = self.begin().await?;
        let id = users::ensure(&mut tx, sub, self.now()).await?.id;
        let changed = self.apply_change(&mut tx, by, id, change).await?;
        tx.commit().await?;
        Ok(changed)
    }

    async fn apply_change(
        &self,
        tx: &mut Tx,
        by: Authority<'_>,
        id: OwnerId,
        change: &ChangeUser,
    ) -> Result<User, AppError> {
        // admins first and in order, then the user: two changes at once wait for each other instead of deadlocking
        let admins = users::lock_active_admins(tx).await?;
        let before = users::lock(tx, id).await?.ok_or_else(|| AppError::not_found("user", id))?;
        let role = change.role.unwrap_or(before.role);
        let status = change.status.unwrap_or(before.status);
        let stays_admin = role == Role::Admin && status == UserStatus::Active;
        if admins == [id] && !stays_admin {
            return Err(AppError::LastAdmin);
        }
        let after = users::set(tx, id, role, status, self.now()).await?;
        let action = match (before.status, status) {
            (UserStatus::Active, UserStatus::Disabled) => "user.disable",
            (UserStatus::Disabled, UserStatus::Active) => "user.enable",
            _ => "user.grant",
        };
        let state = |user: &users::User| json!({"role": user.role, "status": user.status});
        let target = format!("user:{}", after.sub);
        self.write_audit(tx, by, action, &target, Some(state(&before)), Some(state(&after)), &change.reason)
            .await?;
        Ok(user(after))
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
        let mut tx = self.begin().await?;
        let live = api_keys::list(&mut tx, actor.owner()).await?;
        if live.iter().filter(|key| key.is_live(self.now())).count() >= MAX_LIVE_KEYS {
            let message = format!("you have {MAX_LIVE_KEYS} keys that work; revoke one first");
            return Err(AppError::invalid("", message));
        }
        api_keys::insert(&mut tx, &key_row, &secret.sha256()).await?;
        let (target, after) = (format!("key:{}", key_row.id), json!({"scopes": key_row.scopes}));
        self.write_audit(
            &mut tx,
            Authority::Actor(actor),
            "key.create",
            &target,
            None,
            Some(after),
            &key_row.name,
        )
        .await?;
        tx.commit().await?;
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
        let mut tx = self.begin().await?;
        let revoked = api_keys::revoke(&mut tx, actor.owner(), id, self.now()).await?;
        let revoked = revoked.ok_or_else(|| AppError::not_found("API key", id))?;
        let target = format!("key:{id}");
        self.write_audit(&mut tx, Authority::Actor(actor), "key.revoke", &target, None, None, &revoked.name)
            .await?;
        tx.commit().await?;
        Ok(key(revoked))
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
