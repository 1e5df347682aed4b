//! What a token says, and whether it is meant for us, now.

use std::time::Duration;

use serde::Deserialize;
use windrow_core::Timestamp;

use crate::error::AuthError;

/// How far our clock and the issuer's may be apart, at either end of a token's life.
pub const LEEWAY: Duration = Duration::from_secs(30);

const MAX_SUBJECT: usize = 255;

/// Registered claims (RFC 7519, section 4.1), `client_id` (RFC 9068) and Cognito's `token_use`.
#[derive(Deserialize)]
pub(crate) struct Claims {
    iss: Option<String>,
    sub: Option<String>,
    aud: Option<Audience>,
    client_id: Option<String>,
    token_use: Option<String>,
    exp: Option<f64>,
    nbf: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn names_one_of(&self, wanted: &[String]) -> bool {
        match self {
            Self::One(audience) => wanted.contains(audience),
            Self::Many(audiences) => audiences.iter().any(|audience| wanted.contains(audience)),
        }
    }
}

/// Whose tokens, and for whom.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) issuer: String,
    pub(crate) audiences: Vec<String>,
    pub(crate) client_ids: Vec<String>,
}

impl Claims {
    /// Checks issuer, audience and times.
    pub(crate) fn check(&self, expected: &Expected, now: Timestamp) -> Result<(), AuthError> {
        let issuer = self.iss.as_ref().ok_or(AuthError::MissingClaim("iss"))?;
        if *issuer != expected.issuer {
            return Err(AuthError::WrongIssuer);
        }
        self.check_audience(expected)?;
        let expires = self.exp.ok_or(AuthError::MissingClaim("exp"))?;
        self.check_times(expires, now)
    }

    /// An audience of ours, or a client of ours. Cognito's ID tokens name the client in `aud`, its access tokens in
    /// `client_id` and have no `aud`
    /// (<https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-tokens-verifying-a-jwt.html>).
    fn check_audience(&self, expected: &Expected) -> Result<(), AuthError> {
        let in_aud = |wanted: &[String]| self.aud.as_ref().is_some_and(|aud| aud.names_one_of(wanted));
        let client = self.client_id.as_ref().is_some_and(|client| expected.client_ids.contains(client));
        let meant = match self.token_use.as_deref() {
            Some("id") => in_aud(&expected.client_ids) || in_aud(&expected.audiences),
            Some("access") | None => in_aud(&expected.audiences) || client,
            Some(_) => return Err(AuthError::WrongUse),
        };
        if meant { Ok(()) } else { Err(AuthError::WrongAudience) }
    }

    /// Checks the times that are there; for tokens without a signature, which need none.
    pub(crate) fn check_optional_times(&self, now: Timestamp) -> Result<(), AuthError> {
        self.check_times(self.exp.unwrap_or(f64::INFINITY), now)
    }

    fn check_times(&self, expires: f64, now: Timestamp) -> Result<(), AuthError> {
        // NumericDate may have a fraction (RFC 7519, section 2). Microseconds since 1970 are exact in a double until 2255.
        #[allow(clippy::cast_precision_loss)]
        let now = now.as_micros() as f64 / 1e6;
        let leeway = LEEWAY.as_secs_f64();
        if now >= expires + leeway {
            return Err(AuthError::Expired);
        }
        match self.nbf {
            Some(from) if now + leeway < from => Err(AuthError::NotYetValid),
            _ => Ok(()),
        }
    }

    /// The subject: who the token is about.
    pub(crate) fn into_subject(self) -> Result<String, AuthError> {
        let sub = self.sub.ok_or(AuthError::MissingClaim("sub"))?;
        check_subject(&sub)?;
        Ok(sub)
    }
}

/// A subject has 1 to 255 characters (OpenID Connect Core 1.0, section 2) and none that would break a log line.
pub(crate) fn check_subject(sub: &str) -> Result<(), AuthError> {
    let fits = !sub.is_empty() && sub.len() <= MAX_SUBJECT && !sub.chars().any(char::is_control);
    if fits { Ok(()) } else { Err(AuthError::Malformed("a subject (sub) has 1 to 255 printable characters")) }
}
