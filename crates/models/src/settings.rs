//! What the registry is built from. Plain data: whoever reads the configuration fills it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::price::Price;
use crate::request::{DEFAULT_TIMEOUT, millis};

/// All settings of the models. The default has the aliases, no provider but `offline`, and refuses unpriced models.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelsSettings {
    /// Alias → what it stands for (a model id, with or without its provider). `tier-1`, `tier-2`, `tier-3` always mean what
    /// `cheap`, `balanced`, `premium` mean, unless they stand here themselves.
    pub aliases: BTreeMap<String, String>,
    /// The provider of a model id that names none.
    pub default_provider: String,
    /// Name → an OpenAI-compatible server.
    pub providers: BTreeMap<String, ProviderSettings>,
    /// Limits by model id (`openai:gpt-4o`, or `gpt-4o` for every provider).
    pub limits: BTreeMap<String, Limits>,
    /// The limits of a model that is not named in `limits`.
    pub default_limits: Limits,
    /// How long one attempt may take whose request says nothing else; longer than zero. On the wire in milliseconds.
    #[serde(rename = "timeout_ms", with = "millis")]
    pub timeout: Duration,
    /// Prices by model id (as in `limits`); they stand above the built-in tables.
    pub prices: BTreeMap<String, Price>,
    /// Whether a model without a known price may be called; its calls then count as free.
    pub allow_unpriced: bool,
    pub breaker: BreakerSettings,
}

impl Default for ModelsSettings {
    fn default() -> Self {
        let aliases = [
            ("cheap", "meta.llama3-1-8b-instruct-v1:0"),
            ("balanced", "meta.llama3-1-70b-instruct-v1:0"),
            ("premium", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ];
        Self {
            aliases: aliases.map(|(alias, id)| (alias.to_owned(), id.to_owned())).into(),
            default_provider: "openai".to_owned(),
            providers: BTreeMap::new(),
            limits: BTreeMap::new(),
            default_limits: Limits::default(),
            timeout: DEFAULT_TIMEOUT,
            prices: BTreeMap::new(),
            allow_unpriced: false,
            breaker: BreakerSettings::default(),
        }
    }
}

/// One OpenAI-compatible server.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderSettings {
    /// The API's root, such as `https://api.openai.com/v1`. A bare host means its `/v1`.
    pub base_url: url::Url,
    /// Sent as a bearer token; local servers need none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<ApiKey>,
    /// The price of all its models that have no price of their own in `prices`: for a server whose bill is not by the
    /// built-in table, such as one's own machine (zero).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
}

/// A secret: hidden in logs and never serialised in clear.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct ApiKey(String);

impl ApiKey {
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }

    /// The secret itself, for the one place that sends it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for ApiKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

/// How hard one model may be used by this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Calls in flight at once.
    pub concurrency: u32,
    /// In any 60 s; unlimited when absent.
    pub requests_per_minute: Option<u32>,
    /// Prompt tokens (estimated) and `max_tokens` together, in any 60 s; unlimited when absent. OpenAI counts the same
    /// way (<https://platform.openai.com/docs/guides/rate-limits>).
    pub tokens_per_minute: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { concurrency: 256, requests_per_minute: None, tokens_per_minute: None }
    }
}

/// When a provider that keeps failing is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerSettings {
    /// So many failures of a provider in a row open the breaker.
    pub failures: u32,
    /// How long it stays open before one probe is let through. On the wire in milliseconds.
    #[serde(rename = "open_for_ms", with = "millis")]
    pub open_for: Duration,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self { failures: 10, open_for: Duration::from_secs(30) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_shown() {
        let settings: ProviderSettings =
            serde_json::from_str(r#"{"base_url": "http://localhost:1", "api_key": "sk-secret"}"#).unwrap();
        assert!(!format!("{settings:?}").contains("sk-secret"));
        assert!(!serde_json::to_string(&settings).unwrap().contains("sk-secret"));
    }

    #[test]
    fn a_misspelt_setting_is_an_error() {
        assert!(serde_json::from_str::<ModelsSettings>(r#"{"allow_unprised": true}"#).is_err());
        assert!(serde_json::from_str::<Limits>(r#"{"rpm": 1}"#).is_err());
    }
}
