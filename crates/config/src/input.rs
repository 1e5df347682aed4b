//! What the caller hands over, before any of it is read.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use crate::contract::Setting;
use crate::table::CONTRACT;

/// Where settings come from. Later ones win: defaults, the file, the environment, the command line.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// Names and values; an empty value counts as not set.
    pub env: BTreeMap<String, String>,
    /// The settings file. Without it, the one that `WINDROW_CONFIG` names is read, if any.
    pub file: Option<PathBuf>,
    /// Names as in the environment, and values.
    pub flags: Vec<(&'static str, String)>,
    /// Whether the file counts only as far as an engine of a command's own goes; see [`Input::embedded`].
    pub embedded: bool,
    /// Settings of the environment that are no UTF-8: each is a problem.
    pub not_unicode: Vec<String>,
}

impl Input {
    pub fn from_env<K: Into<String>, V: Into<String>>(env: impl IntoIterator<Item = (K, V)>) -> Self {
        Self { env: env.into_iter().map(|(k, v)| (k.into(), v.into())).collect(), ..Self::default() }
    }

    /// From the environment as the operating system has it. What is no UTF-8 is left out; where it is a setting it is a problem.
    pub fn from_os_env(env: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut input = Self::default();
        for (name, value) in env {
            match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) => drop(input.env.insert(name, value)),
                (name, _) => {
                    let name = name.unwrap_or_else(|name| name.to_string_lossy().into_owned());
                    if is_ours(&name) {
                        input.not_unicode.push(name);
                    }
                }
            }
        }
        input
    }

    #[must_use]
    pub fn with_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.file = Some(file.into());
        self
    }

    #[must_use]
    pub fn with_flag(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.flags.push((name, value.into()));
        self
    }

    /// What of it holds for an engine that a command starts for itself, on a directory of its own: how work is done (models,
    /// their providers, prices and limits, workers, retries, workloads) and logged. What ties a process to an installation does
    /// not, wherever it stands but in `flags`: its kind, database, storage, login, keys, addresses and approvals. So the engine
    /// is a local one on the data directory that a flag names, and touches nothing else.
    #[must_use]
    pub fn embedded(mut self) -> Self {
        self.embedded = true;
        let concerns = |name: &str| named(name).is_none_or(|setting| concerns_embedded(setting.path));
        self.env.retain(|name, _| concerns(name));
        self.not_unicode.retain(|name| concerns(name));
        self
    }
}

/// The setting that has this name, or this other name, in the environment.
fn named(name: &str) -> Option<&'static Setting> {
    let is = |setting: &&Setting| {
        setting.env == Some(name) || setting.aliases.iter().any(|alias| alias.name == name)
    };
    CONTRACT.iter().find(is)
}

fn is_ours(name: &str) -> bool {
    has_our_prefix(name) || named(name).is_some()
}

/// Whether a variable of this name is a setting or a mistake. `WINDROW_TEST_…` is what tests are told, and whoever runs them has in
/// the same shell.
pub(crate) fn has_our_prefix(name: &str) -> bool {
    name.starts_with("WINDROW_") && !name.starts_with("WINDROW_TEST_")
}

/// Whether [`Input::embedded`] leaves the setting at this place of the contract.
pub(crate) fn concerns_embedded(path: &str) -> bool {
    match path {
        // Whom a shared installation's worker works for, what it is called there, and who must be asked there.
        "worker.workloads" | "worker.name" | "worker.health_port" | "workloads.*.approval_above_usd" => false,
        "data_dir" | "config_file" | "limits.upload_max" => true,
        _ => {
            let sections = ["models.", "worker.", "retry.", "workloads.", "log."];
            sections.iter().any(|section| path.starts_with(section))
        }
    }
}
