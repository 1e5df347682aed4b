//! Who is asking: JSON Web Tokens against an issuer's keys or our own, and API keys.
//!
//! [`Authenticator::authenticate`] turns an `Authorization` header into a [`Principal`] or an [`AuthError`] with a reason
//! that may be shown. What a principal may do is not decided here: roles and the status of users stand in the database,
//! and a claim is never believed about them.
//!
//! This crate knows no database; API keys are looked up through [`ApiKeyLookup`], which others implement. It reaches the
//! network for one thing only: the issuer's keys (JWKS). Neither errors nor logs ever hold a token or a key.

mod api_key;
mod authenticator;
mod claims;
mod error;
mod jwk;
mod jwks;
mod local;
mod principal;
mod token;

pub use api_key::{ApiKeyLookup, ApiKeyRecord, ApiKeySecret, LookupFailed};
pub use authenticator::{Authenticator, TokenMode};
pub use claims::LEEWAY;
pub use error::AuthError;
pub use jwks::JwksSettings;
pub use local::{LOCAL_AUDIENCE, LOCAL_ISSUER, LocalIssuer, LocalKeyError};
pub use principal::{Identity, Login, Principal};
