//! Who is asking, and what that allows.

use windrow_core::{OwnerId, Role, Scope, TraceParent};
use windrow_store::users::User;

use crate::AppError;

/// How somebody was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    Token,
    /// An API key allows what its scopes say, as far as its owner's role does.
    ApiKey {
        scopes: Vec<Scope>,
    },
    /// No token was sent, and the installation lets that be a certain owner.
    DefaultOwner,
}

impl Login {
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::ApiKey { .. } => "api_key",
            Self::DefaultOwner => "default_owner",
        }
    }
}

/// An active user who asks for something, with the role that the database gave a moment ago.
#[derive(Clone, Debug)]
pub struct Actor {
    pub user: User,
    pub login: Login,
    pub request_id: Option<String>,
    /// Where the request stands in a trace (W3C Trace Context), where there is one.
    pub traceparent: Option<TraceParent>,
}

impl Actor {
    pub const fn owner(&self) -> OwnerId {
        self.user.id
    }

    pub fn sub(&self) -> &str {
        &self.user.sub
    }

    pub const fn is_admin(&self) -> bool {
        matches!(self.user.role, Role::Admin)
    }

    /// What the credential allows; none when that is all that the role does.
    pub fn scopes(&self) -> Option<&[Scope]> {
        match &self.login {
            Login::ApiKey { scopes } => Some(scopes),
            Login::Token | Login::DefaultOwner => None,
        }
    }

    /// # Errors
    /// [`AppError::ScopeMissing`].
    pub fn needs(&self, wanted: &Scope) -> Result<(), AppError> {
        match self.scopes() {
            Some(held) if !held.iter().any(|scope| scope.covers(wanted)) => {
                Err(AppError::ScopeMissing { needs: wanted.clone() })
            }
            _ => Ok(()),
        }
    }

    /// May read own rows.
    pub fn may_read(&self) -> Result<(), AppError> {
        self.needs(&Scope::Read)
    }

    /// May change own rows.
    pub fn may_write(&self) -> Result<(), AppError> {
        self.needs(&Scope::Write)
    }

    /// May use the admin endpoints.
    pub fn may_administer(&self) -> Result<(), AppError> {
        self.has_role(Role::Admin)?;
        self.needs(&Scope::Admin)
    }

    /// # Errors
    /// [`AppError::RoleTooLow`].
    pub fn has_role(&self, needs: Role) -> Result<(), AppError> {
        if self.user.role >= needs {
            Ok(())
        } else {
            Err(AppError::RoleTooLow { needs, has: self.user.role })
        }
    }

    /// May speak the worker protocol for some workload. A worker sees every owner's jobs, so its key is worth no more than
    /// the role that its owner has now.
    ///
    /// # Errors
    /// [`AppError::RoleTooLow`], [`AppError::ScopeMissing`].
    pub fn may_work_at_all(&self) -> Result<(), AppError> {
        self.has_role(Role::Admin)?;
        match self.scopes() {
            Some(scopes) if scopes.iter().any(|scope| matches!(scope, Scope::Worker(_))) => Ok(()),
            _ => self.needs(&Scope::Worker(None)),
        }
    }

    /// May speak the worker protocol for a workload.
    ///
    /// # Errors
    /// As [`Self::may_work_at_all`].
    pub fn may_work(&self, workload: &str) -> Result<(), AppError> {
        self.has_role(Role::Admin)?;
        self.needs(&Scope::Worker(Some(workload.to_owned())))
    }
}

/// By whose authority something is changed that is audited.
#[derive(Clone, Copy, Debug)]
pub enum Authority<'a> {
    /// An admin who is logged in.
    Actor(&'a Actor),
    /// Whoever may run commands on the installation's own machine: makes the first admin.
    Operator,
}

impl Authority<'_> {
    /// How the audit log names it.
    pub fn name(&self) -> &str {
        match self {
            Self::Actor(actor) => actor.sub(),
            Self::Operator => "cli",
        }
    }

    pub(crate) fn request_id(&self) -> Option<&str> {
        match self {
            Self::Actor(actor) => actor.request_id.as_deref(),
            Self::Operator => None,
        }
    }

    pub(crate) fn may_administer(&self) -> Result<(), AppError> {
        match self {
            Self::Actor(actor) => actor.may_administer(),
            Self::Operator => Ok(()),
        }
    }
}
