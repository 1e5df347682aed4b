//! The child's side: a worker over its parent's socket, for as long as the parent lives.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use windrow_client::{Client, Endpoint, WorkerClient};
use windrow_config::Config;
use windrow_engine::RemoteEngine;
use windrow_plugin::{CommandError, ExitCode};
use windrow_runtime::{Worker, WorkerSettings};

use super::order;
use super::share::Share;
use crate::{compose, engines, signals, workloads};

/// How a parent called this process.
pub(crate) struct Calling {
    pub(crate) socket: PathBuf,
    pub(crate) name: String,
    pub(crate) share: Option<Share>,
    /// Takes one suspect and ends.
    pub(crate) suspect: bool,
}

/// `windrow worker --child SOCKET`.
pub(crate) async fn run(mut config: Config, calling: Calling) -> Result<ExitCode, CommandError> {
    let interrupted = signals::asked_to_stop();
    if let Some(share) = calling.share {
        share.apply(&mut config.models);
    }
    let ordered = order::heard().context("orders can't be heard")?;
    let client = Client::new(Endpoint::Socket(calling.socket), None)?;
    let engine = Arc::new(RemoteEngine::new(WorkerClient::of_child(client), calling.name));
    let registry = workloads::registry(&workloads::plugins());
    let services = engines::services(&config, compose::clock(), engine)?;
    let settings = WorkerSettings {
        suspect: calling.suspect,
        slots: if calling.suspect { 1 } else { config.worker.concurrency as usize },
        ..engines::worker_settings(&config, config.data_dir.join("scratch"))
    };
    let mut worker = Worker::start(services, registry, settings).context("the worker can't start")?;
    let grace = tokio::select! {
        grace = ordered => grace.unwrap_or(config.worker.grace),
        () = interrupted => config.worker.grace,
        () = worker.ended(), if calling.suspect => config.worker.grace,
    };
    worker.drain(grace).await;
    Ok(ExitCode::Ok)
}
