//! From the command line and the environment to a [`Config`].

use std::path::PathBuf;

use windrow_config::Input;

use crate::args::{Global, Listen, Up, Worker};

/// The settings file that is read when none is named.
const DEFAULT_FILE: &str = "windrow.toml";

/// All that the user said, not yet checked.
pub(crate) fn input(global: &Global) -> Input {
    let mut input = Input::from_env(std::env::vars());
    let default = PathBuf::from(DEFAULT_FILE);
    if let Some(file) = global.config.clone() {
        input = input.with_file(file);
    } else if !input.env.contains_key("WINDROW_CONFIG") && default.exists() {
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
    with_processes(listening(global, &up.listen), up.worker_processes)
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
    with_processes(input, worker.worker_processes)
}

fn with_processes(input: Input, processes: Option<u32>) -> Input {
    match processes {
        Some(processes) => input.with_flag("WINDROW_WORKER_PROCESSES", processes.to_string()),
        None => input,
    }
}
