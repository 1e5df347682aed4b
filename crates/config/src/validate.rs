//! What must hold between settings, and the values that are read out of others.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use crate::load::Problem;
use crate::secret::Secret;
use crate::sections::{AuthMode, Config, DatabaseTarget};

/// The shortest key that signs links: 32 characters, at least 128 bits for any alphabet in use.
const MIN_SECRET_KEY: usize = 32;
/// The least of a log that is kept, in bytes: it stands in four files, and each takes at least what is written at once.
const MIN_LOG_KEEP: u64 = 256 << 10;
/// The longest life of a link that S3 signs.
const MAX_LINK: Duration = Duration::from_secs(7 * 24 * 3600);

pub(crate) fn validate(config: &Config) -> Vec<Problem> {
    let mut problems = validate_access(config);
    problems.extend(validate_numbers(config));
    problems.extend(validate_database(config));
    problems.extend(validate_models(config));
    problems
}

/// Whether something holds, of which setting it is said, and what to do when it does not.
type Rule = (bool, &'static str, &'static str);

fn broken(rules: impl IntoIterator<Item = Rule>) -> Vec<Problem> {
    let broken = rules.into_iter().filter(|(holds, ..)| !holds);
    broken.map(|(_, name, message)| Problem::new(name, message)).collect()
}

/// Who is let in, and where to.
fn validate_access(config: &Config) -> Vec<Problem> {
    let Config { auth, server, .. } = config;
    let local = config.app_env.is_local();
    let jwks = auth.mode == AuthMode::Jwks;
    let key = server.secret_key.as_ref().map_or(MIN_SECRET_KEY, |key| key.expose().chars().count());
    broken([
        (key >= MIN_SECRET_KEY, "WINDROW_SECRET_KEY", "it must have at least 32 characters"),
        (
            auth.mode != AuthMode::Insecure || local,
            "WINDROW_AUTH",
            "insecure, which believes any token, is allowed with APP_ENV=local only; use jwks or local",
        ),
        (
            auth.default_owner.is_none() || local,
            "WINDROW_DEFAULT_OWNER",
            "requests without a token are allowed with APP_ENV=local only; unset it",
        ),
        (
            !config.webhooks.allow_private || local,
            "WINDROW_WEBHOOKS_ALLOW_PRIVATE",
            "webhooks to private addresses, by which users could look into this network, are allowed with APP_ENV=local only; unset it",
        ),
        (
            !jwks || config.issuer().is_some(),
            "WINDROW_AUTH_ISSUER",
            "it must be set with WINDROW_AUTH=jwks (or COGNITO_USER_POOL_ID, with its region in front or in AWS_REGION)",
        ),
        (
            !jwks || !auth.audience.is_empty() || !auth.client_id.is_empty(),
            "WINDROW_AUTH_AUDIENCE",
            "it must be set with WINDROW_AUTH=jwks (or WINDROW_AUTH_CLIENT_ID): else any client's tokens would pass",
        ),
    ])
}

/// Times and sizes.
fn validate_numbers(config: &Config) -> Vec<Problem> {
    let Config { worker, retry, storage, database, .. } = config;
    let some = |time: Duration| time > Duration::ZERO;
    let link = |time: Duration| some(time) && time <= MAX_LINK;
    let longer = "it must be longer than zero";
    let week = "it must be longer than zero and at most seven days";
    let keep = config.log.keep;
    broken([
        (some(worker.beat), "WINDROW_BEAT", longer),
        (
            worker.lapse >= worker.beat.saturating_mul(3),
            "WINDROW_LAPSE",
            "it must be at least three times WINDROW_BEAT, or one late beat costs a worker its runs",
        ),
        (some(worker.poll), "WINDROW_POLL", longer),
        (some(worker.cancel_poll), "WINDROW_CANCEL_POLL", longer),
        (some(config.models.timeout), "WINDROW_MODEL_TIMEOUT", longer),
        (retry.base <= retry.cap, "WINDROW_RETRY_BASE", "it must not be longer than WINDROW_RETRY_CAP"),
        (link(storage.upload_link_ttl), "WINDROW_UPLOAD_LINK_TTL", week),
        (link(storage.download_link_ttl), "WINDROW_DOWNLOAD_LINK_TTL", week),
        (
            database.min_connections <= database.max_connections,
            "WINDROW_DATABASE_MIN_CONNECTIONS",
            "it must not be more than WINDROW_DATABASE_MAX_CONNECTIONS",
        ),
        (
            keep == 0 || keep >= MIN_LOG_KEEP,
            "WINDROW_LOG_KEEP",
            "it must be at least 256KiB, or 0 to keep none",
        ),
    ])
}

fn validate_database(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    match config.database() {
        DatabaseTarget::Sqlite { path } => {
            if path.as_os_str().is_empty() || path.to_string_lossy().contains(":memory:") {
                let message = "an embedded database must be a file, as its jobs must outlive the process";
                problems.push(Problem::new("DATABASE_URL", message));
            }
            if config.database.listen_url.is_some() {
                let message = "it serves PostgreSQL only, and the database is SQLite; unset it";
                problems.push(Problem::new("DATABASE_LISTEN_URL", message));
            }
        }
        DatabaseTarget::Postgres { schema: Some(schema), .. } if !is_identifier(&schema) => {
            let message = format!(
                "its schema {schema:?} is no plain name: lower-case letters, digits and underscores, at most 63"
            );
            problems.push(Problem::new("DATABASE_URL", message));
        }
        DatabaseTarget::Postgres { .. } => {}
    }
    problems
}

/// An identifier that needs no quotes (PostgreSQL manual, 4.1.1), no longer than NAMEDATALEN - 1.
fn is_identifier(name: &str) -> bool {
    let body = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    body && name.len() <= 63 && name.starts_with(|c: char| !c.is_ascii_digit())
}

/// A model id names its provider; one that nobody configured is found here and not by the first job.
fn validate_models(config: &Config) -> Vec<Problem> {
    let aliases = &config.models.aliases;
    let named = [
        ("WINDROW_MODEL_CHEAP", &aliases.cheap),
        ("WINDROW_MODEL_BALANCED", &aliases.balanced),
        ("WINDROW_MODEL_PREMIUM", &aliases.premium),
    ];
    let known = |model: &str| match model.split_once(':') {
        None => model == "offline",
        Some((provider @ ("offline" | "openai"), name)) => !name.is_empty() && !provider.is_empty(),
        Some((provider, name)) => !name.is_empty() && config.models.providers.contains_key(provider),
    };
    let unknown = named.into_iter().filter(|(_, model)| !known(model));
    let half_priced = config.models.providers.iter().filter(|(_, provider)| {
        let (input, output) = (provider.input_usd_per_million, provider.output_usd_per_million);
        input.is_some() != output.is_some()
            || (provider.cached_input_usd_per_million.is_some() && input.is_none())
    });
    let half_priced = half_priced.map(|(name, _)| {
        let message = "a price needs both input_usd_per_million and output_usd_per_million";
        Problem::new(format!("models.providers.{name}"), message)
    });
    unknown
        .map(|(name, model)| {
            let message = format!(
                "{model:?} is no model: use offline, openai:NAME, or PROVIDER:NAME with a section [models.providers.PROVIDER]"
            );
            Problem::new(name, message)
        })
        .chain(half_priced)
        .collect()
}

impl Config {
    /// Which database. Without `DATABASE_URL` it is `windrow.db` in the data directory.
    pub fn database(&self) -> DatabaseTarget {
        let Some(url) = &self.database.url else {
            return DatabaseTarget::Sqlite { path: self.data_dir.join("windrow.db") };
        };
        if let Some(path) = url.expose().strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            let path = path.split('?').next().unwrap_or_default();
            return DatabaseTarget::Sqlite { path: PathBuf::from(path) };
        }
        let (url, schema) = split_schema(url);
        let listen_url =
            self.database.listen_url.as_ref().map_or_else(|| url.clone(), |url| split_schema(url).0);
        DatabaseTarget::Postgres { url, schema, listen_url }
    }

    /// The issuer whose tokens are accepted, exactly as tokens name it.
    pub fn issuer(&self) -> Option<String> {
        let cognito = || {
            let pool = self.auth.cognito_user_pool_id.as_deref()?;
            // A pool's id begins with its region (https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-tokens-verifying-a-jwt.html).
            let region =
                pool.split_once('_').map(|(region, _)| region).or(self.storage.aws_region.as_deref())?;
            Some(format!("https://cognito-idp.{region}.amazonaws.com/{pool}"))
        };
        self.auth.issuer.clone().or_else(cognito)
    }

    /// Where the issuer's keys are.
    pub fn jwks_url(&self) -> Option<Url> {
        let below = || format!("{}/.well-known/jwks.json", self.issuer()?.trim_end_matches('/')).parse().ok();
        self.auth.jwks_url.clone().or_else(below)
    }
}

/// Takes `schema` out of a PostgreSQL URL: clients of other languages put it there, the server does not know it.
fn split_schema(url: &Secret) -> (Secret, Option<String>) {
    let Ok(mut parsed) = url.expose().parse::<Url>() else { return (url.clone(), None) };
    let (schemas, others): (Vec<_>, Vec<_>) =
        parsed.query_pairs().into_owned().partition(|(name, _)| name == "schema");
    let Some((_, schema)) = schemas.into_iter().next_back() else { return (url.clone(), None) };
    parsed.set_query(None);
    if !others.is_empty() {
        parsed.query_pairs_mut().extend_pairs(others);
    }
    (Secret::new(parsed.as_str()), Some(schema))
}
