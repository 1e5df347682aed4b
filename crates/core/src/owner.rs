//! Who may do what: roles, user status, the scopes of API keys.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::status::{ParseTextError, text_enum};

text_enum! {
    /// What a user may do. The database is the truth about it; a token's claim never is.
    Role {
        /// Uses what others made: own jobs, uploads, artifacts. A first-seen user is one.
        Consumer = "consumer",
        /// Also makes what others use (public templates).
        Contributor = "contributor",
        /// Also acts on others' rows, through audited endpoints only.
        Admin = "admin",
    }
}

text_enum! {
    /// Whether a user is let in.
    UserStatus {
        Active = "active",
        Disabled = "disabled",
    }
}

text_enum! {
    /// Where an upload is in its life. Only a stored one can be used.
    UploadStatus {
        /// Its URL has been handed out.
        Pending = "pending",
        /// Its object was checked: size, sha256, type; the ETag that was verified is on record.
        Stored = "stored",
        /// Its object is not what was announced.
        Rejected = "rejected",
        /// Its URL ran out before anybody completed it.
        Expired = "expired",
    }
}

impl UploadStatus {
    /// The one table of allowed transitions: out of `pending` and nowhere else.
    pub const fn may_become(self, next: Self) -> bool {
        matches!((self, next), (Self::Pending, Self::Stored | Self::Rejected | Self::Expired))
    }
}

text_enum! {
    /// What a ledger row was spent on. Only `model` counts against a budget unless the job says otherwise.
    LedgerKind {
        Model = "model",
        /// Worker seconds at the configured price.
        Compute = "compute",
        /// Puts and gets.
        Storage = "storage",
    }
}

/// One thing that an API key allows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Read the owner's own rows.
    Read,
    /// Change the owner's own rows; includes reading them.
    Write,
    /// Use the admin endpoints, as far as the owner's role allows it.
    Admin,
    /// Speak the worker protocol for one workload, or for all of them (`worker:*`).
    Worker(Option<String>),
}

impl Scope {
    /// Whether this scope includes `wanted`.
    pub fn covers(&self, wanted: &Self) -> bool {
        match (self, wanted) {
            (Self::Admin | Self::Write, Self::Read | Self::Write) | (Self::Worker(None), Self::Worker(_)) => {
                true
            }
            (held, wanted) => held == wanted,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read => f.write_str("read"),
            Self::Write => f.write_str("write"),
            Self::Admin => f.write_str("admin"),
            Self::Worker(workload) => write!(f, "worker:{}", workload.as_deref().unwrap_or("*")),
        }
    }
}

impl FromStr for Scope {
    type Err = ParseTextError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || ParseTextError {
            text: text.to_owned(),
            allowed: "read, write, admin, worker:*, worker:WORKLOAD".to_owned(),
        };
        match text {
            "read" => Ok(Self::Read),
            "write" => Ok(Self::Write),
            "admin" => Ok(Self::Admin),
            "worker:*" => Ok(Self::Worker(None)),
            _ => {
                let name = text.strip_prefix("worker:").ok_or_else(bad)?;
                let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
                if name.is_empty() || !name.bytes().all(plain) {
                    return Err(bad());
                }
                Ok(Self::Worker(Some(name.to_owned())))
            }
        }
    }
}

impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_leaves_pending_once() {
        for from in UploadStatus::ALL {
            for to in UploadStatus::ALL {
                let allowed = *from == UploadStatus::Pending && *to != UploadStatus::Pending;
                assert_eq!(from.may_become(*to), allowed, "{from} -> {to}");
            }
        }
    }

    #[test]
    fn scopes_read_back_and_cover_what_they_say() {
        for text in ["read", "write", "admin", "worker:*", "worker:generate"] {
            assert_eq!(text.parse::<Scope>().unwrap().to_string(), text);
        }
        for text in ["", "worker", "worker:", "worker:A b", "jobs:read"] {
            assert!(text.parse::<Scope>().is_err(), "{text}");
        }
        let one = Scope::Worker(Some("generate".to_owned()));
        let covers = [
            (Scope::Write, Scope::Read),
            (Scope::Admin, Scope::Write),
            (Scope::Worker(None), one.clone()),
            (one.clone(), one.clone()),
        ];
        assert!(covers.iter().all(|(held, wanted)| held.covers(wanted)));
        let not = [
            (Scope::Read, Scope::Write),
            (Scope::Write, Scope::Admin),
            (Scope::Write, one.clone()),
            (one.clone(), Scope::Worker(None)),
            (one, Scope::Worker(Some("style".to_owned()))),
        ];
        assert!(not.iter().all(|(held, wanted)| !held.covers(wanted)));
    }
}
