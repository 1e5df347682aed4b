//! The settings as types: one section a concern.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use url::Url;
use windrow_core::{PicoUsd, Priority, RetryPolicy};

use crate::secret::Secret;

/// Every setting of a process, valid and complete.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub app_env: AppEnv,
    pub data_dir: PathBuf,
    pub config_file: Option<PathBuf>,
    pub server: ServerSection,
    pub database: DatabaseSection,
    pub storage: StorageSection,
    pub queue: QueueSection,
    pub auth: AuthSection,
    pub webhooks: WebhooksSection,
    pub worker: WorkerSection,
    pub retry: RetrySection,
    pub models: ModelsSection,
    pub limits: LimitsSection,
    pub retention: RetentionSection,
    pub log: LogSection,
    pub otlp: OtlpSection,
    #[serde(default)]
    pub client: ClientSection,
    /// By the workload's name.
    #[serde(default)]
    pub workloads: BTreeMap<String, WorkloadSection>,
}

/// Which kind of installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AppEnv {
    Local,
    Uat,
    Prod,
}

impl AppEnv {
    pub const fn is_local(self) -> bool {
        matches!(self, Self::Local)
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Uat => "uat",
            Self::Prod => "prod",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerSection {
    /// 0 takes a free one.
    pub port: u16,
    pub bind: IpAddr,
    pub public_url: Option<Url>,
    pub secret_key: Option<Secret>,
    #[serde(default)]
    pub cors_origins: Vec<String>,
    /// In bytes.
    pub max_body: u64,
    /// In bytes.
    pub max_batch_body: u64,
    pub request_timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseSection {
    /// As it was set; [`Config::database`] reads it.
    pub url: Option<Secret>,
    pub listen_url: Option<Secret>,
    pub max_connections: u32,
    pub min_connections: u32,
    pub acquire_timeout: Duration,
}

/// Which database, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseTarget {
    Sqlite {
        path: PathBuf,
    },
    Postgres {
        /// Without `schema`, which is no parameter of PostgreSQL's own.
        url: Secret,
        /// The schema that tables stand in; the server's search path decides where there is none.
        schema: Option<String>,
        /// A direct connection for LISTEN; the same URL unless another is set.
        listen_url: Secret,
    },
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StorageSection {
    pub mode: StorageMode,
    pub dir: Option<PathBuf>,
    pub upload_link_ttl: Duration,
    pub download_link_ttl: Duration,
    pub put_usd_per_1000: PicoUsd,
    pub get_usd_per_1000: PicoUsd,
    pub s3_bucket: Option<String>,
    pub aws_region: Option<String>,
    pub aws_endpoint_url: Option<Url>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StorageMode {
    Local,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueSection {
    pub mode: QueueMode,
    pub sqs_queue_url: Option<Url>,
    pub sqs_dlq_url: Option<Url>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueMode {
    Store,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthSection {
    pub mode: AuthMode,
    /// As it was set and as tokens name it; [`Config::issuer`] knows Cognito's too.
    pub issuer: Option<String>,
    #[serde(default)]
    pub audience: Vec<String>,
    #[serde(default)]
    pub client_id: Vec<String>,
    pub cognito_user_pool_id: Option<String>,
    pub jwks_url: Option<Url>,
    pub jwks_cache: Duration,
    pub default_owner: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMode {
    Jwks,
    Local,
    Insecure,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhooksSection {
    /// Whether they may go to private addresses and to this machine.
    pub allow_private: bool,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerSection {
    pub concurrency: u32,
    pub processes: u32,
    /// Empty takes all.
    #[serde(default)]
    pub workloads: Vec<String>,
    pub name: Option<String>,
    /// Where a worker without an API answers probes; 0 takes a free port.
    pub health_port: Option<u16>,
    pub grace: Duration,
    pub beat: Duration,
    pub lapse: Duration,
    pub remote_lapse: Duration,
    pub poll: Duration,
    pub cancel_poll: Duration,
    pub run_deadline: Duration,
    pub stall_limit: Duration,
    pub compute_usd_per_hour: PicoUsd,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetrySection {
    pub base: Duration,
    pub cap: Duration,
    pub max_attempts: u32,
}

impl RetrySection {
    pub const fn policy(&self) -> RetryPolicy {
        RetryPolicy { base: self.base, cap: self.cap, max_attempts: self.max_attempts }
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelsSection {
    pub aliases: AliasesSection,
    /// By the provider's name, which stands before the colon of a model id.
    #[serde(default)]
    pub providers: BTreeMap<String, ProviderSection>,
    /// By model id.
    #[serde(default)]
    pub limits: BTreeMap<String, ModelLimits>,
    /// By model id.
    #[serde(default)]
    pub prices: BTreeMap<String, ModelPrice>,
    pub prices_file: Option<PathBuf>,
    pub default_budget_usd: Option<PicoUsd>,
    pub allow_unpriced: bool,
    pub timeout: Duration,
    pub concurrency: u32,
}

/// The models behind `cheap` (`tier-1`), `balanced` (`tier-2`) and `premium` (`tier-3`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AliasesSection {
    pub cheap: String,
    pub balanced: String,
    pub premium: String,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderSection {
    #[serde(default)]
    pub kind: ProviderKind,
    /// With its `/v1`; the kind's own where absent.
    pub base_url: Option<Url>,
    pub api_key: Option<Secret>,
    /// Of all its models that have none of their own; with the one for output tokens, or not at all.
    pub input_usd_per_million: Option<PicoUsd>,
    pub output_usd_per_million: Option<PicoUsd>,
    pub cached_input_usd_per_million: Option<PicoUsd>,
}

impl ProviderSection {
    /// What its models cost that have no price of their own.
    pub fn price(&self) -> Option<ModelPrice> {
        Some(ModelPrice {
            input_usd_per_million: self.input_usd_per_million?,
            output_usd_per_million: self.output_usd_per_million?,
            cached_input_usd_per_million: self.cached_input_usd_per_million,
        })
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderKind {
    /// Any server that speaks OpenAI's chat API.
    #[default]
    Openai,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelLimits {
    pub concurrency: Option<u32>,
    pub requests_per_minute: Option<u32>,
    pub tokens_per_minute: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelPrice {
    pub input_usd_per_million: PicoUsd,
    pub output_usd_per_million: PicoUsd,
    pub cached_input_usd_per_million: Option<PicoUsd>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsSection {
    /// In bytes.
    pub upload_max: u64,
    pub batch_max: u32,
    pub max_running_per_owner: Option<u32>,
    /// Jobs with a larger budget wait for an admin's yes.
    pub approval_above_usd: Option<PicoUsd>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionSection {
    pub jobs: Duration,
    pub artifacts: Duration,
    pub ledger: Duration,
    pub dead_uploads: Duration,
    pub orphans: Duration,
    pub unapproved: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSection {
    pub level: String,
    /// As it was set; [`Config::log_format`] knows the default too.
    pub format: Option<LogFormat>,
    /// In bytes; 0 keeps none.
    pub keep: u64,
}

/// Where spans are sent, under the names that OpenTelemetry gives these settings.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtlpSection {
    /// The collector's base URL.
    pub endpoint: Option<Url>,
    pub headers: Option<Secret>,
    pub service_name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    Pretty,
    Json,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientSection {
    pub server: Option<Url>,
    pub token: Option<Secret>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkloadSection {
    /// A JSON Schema as text, or the path of its file; it registers a workload of remote workers.
    pub spec_schema: Option<String>,
    pub max_attempts: Option<u32>,
    /// Of jobs whose submit names none.
    pub priority: Option<Priority>,
    pub max_running: Option<u32>,
    pub run_deadline: Option<Duration>,
    pub stall_limit: Option<Duration>,
    /// In bytes.
    pub upload_max: Option<u64>,
    /// Instead of `limits.approval_above_usd`.
    pub approval_above_usd: Option<PicoUsd>,
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
}

impl Config {
    /// The public URL, or where the server listens when none is set. `port` is the port that was bound.
    pub fn public_url(&self, port: u16) -> Url {
        self.server.public_url.clone().unwrap_or_else(|| {
            let host = if self.server.bind.is_unspecified() {
                "127.0.0.1".to_owned()
            } else {
                host(self.server.bind)
            };
            format!("http://{host}:{port}/").parse().expect("an address and a port make a URL")
        })
    }

    /// Where objects on the local disk stand.
    pub fn storage_dir(&self) -> PathBuf {
        self.storage.dir.clone().unwrap_or_else(|| self.data_dir.join("objects"))
    }

    pub fn log_format(&self) -> LogFormat {
        let default = if self.app_env.is_local() { LogFormat::Pretty } else { LogFormat::Json };
        self.log.format.unwrap_or(default)
    }

    /// The workload's own section, or an empty one.
    pub fn workload(&self, name: &str) -> WorkloadSection {
        self.workloads.get(name).cloned().unwrap_or_default()
    }
}

fn host(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}
