//! Who was let in, and how.

use windrow_core::{ApiKeyId, OwnerId, Scope, Timestamp};

/// A request's credential, believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    pub identity: Identity,
    pub login: Login,
    /// What the credential allows; none when it allows all that the user's role does.
    pub scopes: Option<Vec<Scope>>,
}

/// Which user it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The subject of a token: a user who may never have been seen before.
    Subject(String),
    /// The owner of an API key.
    Owner(OwnerId),
}

/// How the request was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    Token,
    ApiKey {
        id: ApiKeyId,
        /// As [`ApiKeyRecord`](crate::ApiKeyRecord) has it.
        last_used_at: Option<Timestamp>,
    },
    /// Without a credential, as the default owner of a local installation.
    DefaultOwner,
}

impl Login {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::ApiKey { .. } => "api_key",
            Self::DefaultOwner => "default_owner",
        }
    }
}

impl Principal {
    pub(crate) const fn subject(sub: String, login: Login) -> Self {
        Self { identity: Identity::Subject(sub), login, scopes: None }
    }

    /// Whether the credential allows this. The user's role and status must allow it too.
    pub fn allows(&self, wanted: &Scope) -> bool {
        self.scopes.as_ref().is_none_or(|held| held.iter().any(|scope| scope.covers(wanted)))
    }
}
