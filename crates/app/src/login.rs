//! From a credential to an actor.

use async_trait::async_trait;
use futures::future::BoxFuture;
use windrow_auth::{ApiKeyLookup, ApiKeyRecord, AuthError, Identity, LookupFailed, Principal};
use windrow_core::{ApiKeyId, Timestamp, UserStatus};
use windrow_store::api_keys::{self, ApiKey};
use windrow_store::users::User;
use windrow_store::{Db, users};

use crate::lookups::{Lookups, OfSubject};
use crate::{Actor, App, AppError, Login};

const HOUR: i64 = 3_600_000_000;
/// The longest subject that a user may have, in bytes.
const MAX_SUB: usize = 255;

/// Looks API keys up in the database, for the authenticator.
#[derive(Debug)]
pub struct StoredKeys(Lookups<ApiKey>);

impl StoredKeys {
    pub fn new(db: Db) -> Self {
        Self(Lookups::new(db))
    }
}

#[async_trait]
impl ApiKeyLookup for StoredKeys {
    async fn find(&self, sha256: &[u8; 32]) -> Result<Option<ApiKeyRecord>, LookupFailed> {
        let key = self.0.get(*sha256).await.map_err(|error| LookupFailed(error.to_string()))?;
        Ok(key.map(|key| ApiKeyRecord {
            id: key.id,
            owner: key.owner,
            scopes: key.scopes,
            expires_at: key.expires_at,
            revoked: key.revoked_at.is_some(),
            last_used_at: key.last_used_at,
        }))
    }
}

impl App {
    /// Lets in whoever an `Authorization` header proves. Role and status are read from the database, on every request.
    ///
    /// # Errors
    /// [`AppError::Unauthenticated`], [`AppError::UserDisabled`].
    pub fn authenticate<'a>(
        &'a self,
        authorization: Option<&'a str>,
        request_id: Option<String>,
    ) -> BoxFuture<'a, Result<Actor, AppError>> {
        Box::pin(async move {
            let Principal { identity, login, scopes } =
                self.parts.authenticator.authenticate(authorization).await?;
            let login = match (login, scopes) {
                (windrow_auth::Login::ApiKey { id, last_used_at }, scopes) => {
                    self.touch(id, last_used_at).await?;
                    Login::ApiKey { scopes: scopes.unwrap_or_default() }
                }
                (windrow_auth::Login::Token, _) => Login::Token,
                (windrow_auth::Login::DefaultOwner, _) => Login::DefaultOwner,
            };
            let user = match identity {
                Identity::Subject(sub) => self.user(&sub).await?,
                Identity::Owner(id) => {
                    let found = self.owners.get(id).await?;
                    found.ok_or(AppError::Unauthenticated(AuthError::UnknownApiKey))?
                }
            };
            let_in(user, login, request_id)
        })
    }

    /// The actor for a subject that is believed because it sits at the machine: the command line without a server.
    ///
    /// # Errors
    /// [`AppError::UserDisabled`].
    pub async fn local_actor(&self, sub: &str) -> Result<Actor, AppError> {
        let_in(self.user(sub).await?, Login::DefaultOwner, None)
    }

    /// The user with this subject; a first-seen one becomes an active consumer.
    async fn user(&self, sub: &str) -> Result<User, AppError> {
        check_sub(sub).map_err(|_| {
            AuthError::Malformed("its subject must have 1 to 255 bytes and no control characters")
        })?;
        if let Some(OfSubject(user)) = self.subjects.get(sub.to_owned()).await? {
            return Ok(user);
        }
        let (sub, now) = (sub.to_owned(), self.now());
        self.write(move |tx| {
            let sub = sub.clone();
            Box::pin(async move { Ok(users::ensure(tx, &sub, now).await?) })
        })
        .await
    }

    /// Notes that a key is in use: to the hour, so that most requests write nothing.
    async fn touch(&self, id: ApiKeyId, known: Option<Timestamp>) -> Result<(), AppError> {
        let now = self.now().as_micros();
        let hour = Timestamp::from_micros(now - now.rem_euclid(HOUR));
        if known.is_none_or(|used| used < hour) {
            self.write(move |tx| Box::pin(async move { Ok(api_keys::touch(tx, id, hour).await?) })).await?;
        }
        Ok(())
    }
}

/// Whether somebody may be called so.
pub(crate) fn check_sub(sub: &str) -> Result<(), AppError> {
    if sub.is_empty() || sub.len() > MAX_SUB || sub.chars().any(char::is_control) {
        let message = format!("a subject must have 1 to {MAX_SUB} bytes and no control characters");
        return Err(AppError::invalid("/sub", message));
    }
    Ok(())
}

fn let_in(user: User, login: Login, request_id: Option<String>) -> Result<Actor, AppError> {
    match user.status {
        UserStatus::Active => Ok(Actor { user, login, request_id, traceparent: None }),
        UserStatus::Disabled => Err(AppError::UserDisabled(user.sub)),
    }
}
