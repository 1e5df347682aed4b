//! The settings: one typed [`Config`], read from defaults < `windrow.toml` < environment < command line.
//!
//! The contract table ([`CONTRACT`]) is the single source of every name: its type, default, who sets it, whether it is
//! secret. Loading, `windrow config check`, the three `.env.*.example` files and `docs/configuration.md` all come from it.
//!
//! Everything is read from what the caller hands over ([`Input`]): this crate never looks at the process's environment,
//! opens no connection and makes no pool. The only file it reads is the settings file that it is given the path of.

mod aliases;
mod contract;
mod env_file;
mod input;
mod load;
mod nearest;
mod render;
mod secret;
mod sections;
mod table;
mod validate;
mod value;

pub use contract::{Alias, Convert, Kind, Required, SetBy, Setting};
pub use env_file::parse_env_file;
pub use input::Input;
pub use load::{CheckReport, CheckRow, ConfigError, Problem, check};
pub use render::{Profile, render_docs, render_env};
pub use secret::Secret;
pub use sections::{
    AliasesSection, AppEnv, AuthMode, AuthSection, ClientSection, Config, DatabaseSection, DatabaseTarget,
    LimitsSection, LogFormat, LogSection, ModelLimits, ModelPrice, ModelsSection, OtlpSection, ProviderKind,
    ProviderSection, QueueMode, QueueSection, RetentionSection, RetrySection, ServerSection, StorageMode,
    StorageSection, WorkerSection, WorkloadSection,
};
pub use table::CONTRACT;
