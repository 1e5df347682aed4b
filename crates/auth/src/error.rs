//! Why nobody was let in.

/// Why a request's credential was refused. The text may be shown to whoever sent it; it never holds the credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    #[error("no credential was sent; send `Authorization: Bearer TOKEN`")]
    Missing,
    #[error("the credential can't be read: {0}")]
    Malformed(&'static str),
    /// `none`, a symmetric algorithm, or one that this key is not for.
    #[error(
        "the token's algorithm is not accepted; it must be RS256, ES256 or EdDSA, and the one of its key"
    )]
    Algorithm,
    #[error("the token names no key (kid)")]
    NoKeyId,
    #[error("the token was signed with a key that its issuer does not publish")]
    UnknownKey,
    #[error("the token's signature does not fit")]
    BadSignature,
    #[error("the token lacks the claim {0:?}")]
    MissingClaim(&'static str),
    #[error("the token is from another issuer")]
    WrongIssuer,
    #[error("the token is for another audience or client")]
    WrongAudience,
    /// Cognito's `token_use` is neither `access` nor `id`.
    #[error("the token is of a kind that logs nobody in (token_use)")]
    WrongUse,
    #[error("the token has expired; log in again")]
    Expired,
    #[error("the token is not valid yet")]
    NotYetValid,
    #[error("there is no such API key")]
    UnknownApiKey,
    #[error("the API key was revoked")]
    RevokedApiKey,
    #[error("the API key has expired")]
    ExpiredApiKey,
    /// Not the caller's fault: to be answered with 503 and not with 401.
    #[error("logins can't be checked at the moment: the issuer's keys or the key store can't be reached")]
    Unavailable,
}

impl AuthError {
    /// Stable, snake_case.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Missing => "credential_missing",
            Self::Malformed(_) => "credential_malformed",
            Self::Algorithm => "token_algorithm",
            Self::NoKeyId => "token_without_key_id",
            Self::UnknownKey => "token_key_unknown",
            Self::BadSignature => "token_signature",
            Self::MissingClaim(_) => "token_claim_missing",
            Self::WrongIssuer => "token_issuer",
            Self::WrongAudience => "token_audience",
            Self::WrongUse => "token_use",
            Self::Expired => "token_expired",
            Self::NotYetValid => "token_not_yet_valid",
            Self::UnknownApiKey => "api_key_unknown",
            Self::RevokedApiKey => "api_key_revoked",
            Self::ExpiredApiKey => "api_key_expired",
            Self::Unavailable => "login_unavailable",
        }
    }

    /// Whether the fault is ours: 503 instead of 401.
    pub const fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable)
    }
}
