//! From the command line and the environment to a [`Config`].

use std::path::{Path, PathBuf};

use windrow_config::{Config, Input};
use windrow_plugin::{CommandError, ExitCode};

use crate::args::{Global, Listen, Up, Worker};

/// The settings file that is read when none is named.
const DEFAULT_FILE: &str = "windrow.toml";

/// All that the user said, not yet checked.
pub(crate) fn input(global: &Global) -> Input {
    let mut input = Input::from_os_env(std::env::vars_os());
    let default = PathBuf::from(DEFAULT_FILE);
    if let Some(file) = global.config.clone() {
        input = input.with_file(file);
    } else if input.env.get("WINDROW_CONFIG").is_none_or(String::is_empty) && default.exists() {
        input = input.with_file(default);
    }
    if let Some(dir) = &global.data_dir {
        input = input.with_flag("WINDROW_DATA_DIR", dir.display().to_string());
    }
    if let Some(server) = &global.server {
        input = input.with_flag("WINDROW_SERVER", server.as_str());
    }
    if let Some(token) = &global.token {
        input = input.with_flag("WINDROW_TOKEN", token);
    }
    input
}

/// The same, with what `--port` and `--bind` say.
pub(crate) fn listening(global: &Global, listen: &Listen) -> Input {
    let mut input = input(global);
    if let Some(port) = listen.port {
        input = input.with_flag("PORT", port.to_string());
    }
    if let Some(bind) = listen.bind {
        input = input.with_flag("WINDROW_BIND", bind.to_string());
    }
    input
}

/// The same, with what `windrow up` was told.
pub(crate) fn all_in_one(global: &Global, up: &Up) -> Input {
    within(with_processes(listening(global, &up.listen), up.worker_processes), up.embedded)
}

/// The same, with what `windrow worker` was told.
pub(crate) fn working(global: &Global, worker: &Worker) -> Input {
    let mut input = input(global);
    if let Some(concurrency) = worker.concurrency {
        input = input.with_flag("WINDROW_WORKER_CONCURRENCY", concurrency.to_string());
    }
    if !worker.workloads.is_empty() {
        input = input.with_flag("WINDROW_WORKER_WORKLOADS", worker.workloads.join(","));
    }
    within(with_processes(input, worker.worker_processes), worker.embedded)
}

/// What an installation on a directory of a command's own is made of, whatever installation the file and the environment are
/// for. Whoever starts such a one, in this process or in another, starts it with this.
pub(crate) fn embedded(input: Input, dir: &Path) -> Input {
    input.embedded().with_flag("WINDROW_DATA_DIR", dir.display().to_string())
}

/// A process that another has started for such an installation has its file, too, and heeds as much of it.
fn within(input: Input, embedded: bool) -> Input {
    if embedded { input.embedded() } else { input }
}

fn with_processes(input: Input, processes: Option<u32>) -> Input {
    match processes {
        Some(processes) => input.with_flag("WINDROW_WORKER_PROCESSES", processes.to_string()),
        None => input,
    }
}

/// A configuration that is wrong is a mistake in how the command was called.
pub(crate) fn loaded(input: &Input) -> Result<Config, CommandError> {
    Config::load(input).map_err(|error| CommandError::new(ExitCode::Usage, error))
}
