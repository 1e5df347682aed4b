//! A worker over a server's API, with a worker key and no database.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use serde_json::json;
use url::Url;
use windrow_api_types::worker::ClaimRequest;
use windrow_client::{Client, ClientError, Endpoint, WorkerClient};
use windrow_config::{Config, Input};
use windrow_engine::RemoteEngine;
use windrow_plugin::{CommandError, Console, ExitCode};
use windrow_runtime::Worker;

use super::probes;
use crate::{compose, engines, output, random, signals, workloads};

const ADVICE: &str = "have an admin of that server make a key with `windrow key create --scope 'worker:*'`, and give it with --token or WINDROW_TOKEN";

pub(super) async fn run(
    config: Config,
    input: &Input,
    server: Url,
    console: Console,
) -> Result<ExitCode, CommandError> {
    one_process(&config, input)?;
    let stop = signals::stop_token();
    let token = config.client.token.as_ref().map(|token| token.expose().to_owned());
    let keyless = token.is_none();
    let client = Client::new(Endpoint::Url(server), token)?;
    let worker = WorkerClient::new(client.clone());
    let registry = workloads::registry(&workloads::plugins());
    welcome(&worker, &config, &registry, keyless).await?;
    let probes = probes::start(&config, client.clone()).await?;
    let scratch = Scratch::new()?;
    let name = engines::worker_name(&config);
    let services =
        engines::services(&config, compose::clock(), Arc::new(RemoteEngine::new(worker.clone(), &name)))?;
    let settings = engines::worker_settings(&config, scratch.0.clone());
    let mut working = Worker::start(services, registry, settings).context("the worker can't start")?;
    let health = probes.as_ref().map(|(_, url)| url);
    if console.json {
        output::line(&json!({
            "server": client.endpoint().to_string(), "health": health, "pid": std::process::id(),
        }))?;
    } else {
        output::note(console, format_args!("working for {} as {name}; stop with Ctrl-C", client.endpoint()));
    }
    let turned_away = tokio::select! {
        () = stop.cancelled() => None,
        why = working.turned_away() => Some(why),
    };
    if let Some(why) = turned_away {
        working.abort();
        return Err(no_work(&worker, &why));
    }
    tracing::info!("stopping: what runs reaches its next checkpoint");
    working.drain(config.worker.grace).await;
    if let Some((probes, _)) = probes {
        probes.stop().await;
    }
    Ok(ExitCode::Ok)
}

/// Over a server's API a worker is one process. Whoever asks for more on the command line is mistaken; in the environment the
/// setting may be meant for other commands.
fn one_process(config: &Config, input: &Input) -> Result<(), CommandError> {
    let wanted = config.worker.processes;
    if wanted == 0 {
        return Ok(());
    }
    let advice = "start more workers, or give one a higher --concurrency";
    if input.flags.iter().any(|(name, _)| *name == super::PROCESSES) {
        let text = format!("a worker on a server's API (--server) has no --worker-processes: {advice}");
        return Err(CommandError::usage(text));
    }
    tracing::warn!(
        WINDROW_WORKER_PROCESSES = wanted,
        "on a server's API jobs run in the worker itself, and the setting is left aside; {advice}"
    );
    Ok(())
}

/// Asks for no work, to hear at once whether there would be any for this key.
async fn welcome(
    worker: &WorkerClient,
    config: &Config,
    registry: &windrow_engine::WorkloadRegistry,
    keyless: bool,
) -> Result<(), CommandError> {
    let mut workloads = config.worker.workloads.clone();
    if workloads.is_empty() {
        workloads = registry.names().map(str::to_owned).collect();
    }
    let request = ClaimRequest { workloads, ..ClaimRequest::default() };
    match worker.claim(&request).await {
        Ok(_) => Ok(()),
        Err(ClientError::Problem(problem)) if matches!(problem.status, 401 | 403) => {
            let why = if keyless { "no worker key was given" } else { &problem.detail };
            Err(no_work(worker, why))
        }
        Err(error @ (ClientError::Unexpected { .. } | ClientError::Refused { .. })) => {
            let text = "no Windrow that serves workers answers there; is the URL right?";
            Err(CommandError::new(ExitCode::Unreachable, anyhow!(error).context(text)))
        }
        Err(ClientError::Problem(problem)) if problem.status >= 500 => {
            let text = format!("{} can't serve workers now: {}", worker.endpoint(), problem.detail);
            Err(CommandError::new(ExitCode::Unreachable, anyhow!(text)))
        }
        Err(error) => Err(error.into()),
    }
}

/// The key is none that this server gives work to, or not any more.
fn no_work(worker: &WorkerClient, why: impl std::fmt::Display) -> CommandError {
    CommandError::usage(format!("{} gives this worker no work: {why}; {ADVICE}", worker.endpoint()))
}

/// A directory for runs that is this process's and its user's alone, gone with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> anyhow::Result<Self> {
        let name = format!("windrow-{}", hex::encode(random::bytes::<8>()));
        let path = std::env::temp_dir().join(name);
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.with_context(|| format!("can't make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _best_effort = std::fs::remove_dir_all(&self.0);
    }
}
