//! An installation that runs: its API, its workers, its keeper, until it is told to stop.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use windrow_config::{Config, DatabaseTarget, Input};
use windrow_engine::LocalEngine;
use windrow_plugin::{CommandError, Console, ExitCode};
use windrow_rest::{ChildDoor, child_routes, probes};
use windrow_runtime::{Keeper, KeeperHandle, KeeperParts, KeeperSettings};

use crate::compose::{Migrations, Platform};
use crate::deliveries::Deliveries;
use crate::serve::{self, Served};
use crate::workers::Workers;
use crate::{compose, engines, local_door, output, signals};

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Roles {
    /// Listens on the TCP port.
    pub(crate) api: bool,
    /// Claims and runs jobs.
    pub(crate) worker: bool,
    /// Answers probes on a port of their own, when one is set.
    pub(crate) probes: bool,
    pub(crate) migrations: MigrationsAtStart,
}

/// Whether a process brings its schema up to date by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MigrationsAtStart {
    Apply,
    /// An embedded database is this process's own and is brought up to date; a shared one must be.
    ApplyIfEmbedded,
}

impl Roles {
    pub(crate) const UP: Self =
        Self { api: true, worker: true, probes: false, migrations: MigrationsAtStart::Apply };
    pub(crate) const API: Self =
        Self { api: true, worker: false, probes: false, migrations: MigrationsAtStart::ApplyIfEmbedded };
    pub(crate) const WORKER: Self =
        Self { api: false, worker: true, probes: true, migrations: MigrationsAtStart::ApplyIfEmbedded };
    /// Inside a command: no port, only the socket of its directory.
    pub(crate) const EMBEDDED: Self =
        Self { api: false, worker: true, probes: false, migrations: MigrationsAtStart::Apply };
}

/// A running installation.
pub(crate) struct Running {
    pub(crate) platform: Platform,
    /// Where others reach it; none when it listens on no port.
    pub(crate) url: Option<String>,
    /// Where a worker without an API answers probes.
    health: Option<String>,
    workers: Option<Workers>,
    keeper: KeeperHandle,
    served: Served,
}

/// The ports of a process, opened before anything else, so that one that is taken is a clear error at once.
struct Ports {
    api: Option<TcpListener>,
    health: Option<TcpListener>,
}

impl Ports {
    async fn open(config: &Config, roles: Roles) -> anyhow::Result<Self> {
        let bind = config.server.bind;
        let (mut api, mut health) = (None, None);
        if roles.api {
            api = Some(serve::listen(bind, config.server.port).await?);
        } else if let Some(port) = config.worker.health_port.filter(|_| roles.probes) {
            health = Some(serve::listen(bind, port).await?);
        }
        Ok(Self { api, health })
    }
}

impl Running {
    /// `input` is what `config` was read from: this process's children are configured by it.
    pub(crate) async fn start(config: Config, input: &Input, roles: Roles) -> anyhow::Result<Self> {
        let embedded = matches!(config.database(), DatabaseTarget::Sqlite { .. });
        let ports = Ports::open(&config, roles).await?;
        let port = ports.api.as_ref().map(TcpListener::local_addr).transpose()?.map_or(0, |a| a.port());
        let public_url = config.public_url(port);
        let url = roles.api.then(|| public_url.as_str().trim_end_matches('/').to_owned());
        let place = url.clone().unwrap_or_else(|| "no port".to_owned());
        let description = format!("process {} ({place})", std::process::id());
        let migrations = match roles.migrations {
            MigrationsAtStart::ApplyIfEmbedded if !embedded => Migrations::Refuse,
            _ => Migrations::Apply,
        };
        let mut platform = Platform::open(config, public_url, &description, migrations).await?;
        if embedded {
            let retaken = windrow_runtime::retake(&platform.store, &platform.registry).await;
            retaken.with_context(|| format!("can't use {}", compose::name_of(&platform.config)))?;
        }
        let engine = match embedded || roles.worker {
            true => Some(engines::local(&platform, roles.worker).await?),
            false => None,
        };
        let health = ports.health.as_ref().map(serve::url).transpose()?;
        let (served, socket) = serve_all(&mut platform, ports, embedded, roles, engine.as_ref()).await?;
        let workers = match (engine, socket) {
            (Some(engine), Some(socket)) if roles.worker => {
                Some(Workers::start(&platform, engine, &socket, input)?)
            }
            (engine, _) => engine.map(Workers::visitors_only),
        };
        let keeper = Keeper::start(keeper_parts(&platform));
        Ok(Self { platform, url, health, workers, keeper, served })
    }

    /// Claims nothing more, lets runs reach their next checkpoint, gives the rest back, and closes.
    pub(crate) async fn stop(self) {
        if let Some(workers) = self.workers {
            workers.stop(self.platform.config.worker.grace).await;
        }
        self.keeper.stop().await;
        self.served.stop().await;
        self.platform.close().await;
    }

    /// Serves until a signal, or until the disk under the database fails.
    pub(crate) async fn until_stopped(self, stop: &CancellationToken) -> Result<ExitCode, CommandError> {
        let failed = tokio::select! {
            () = stop.cancelled() => None,
            error = self.platform.store.failed() => Some(error),
        };
        match failed {
            None => {
                tracing::info!("stopping: what runs reaches its next checkpoint");
                self.stop().await;
                Ok(ExitCode::Ok)
            }
            // nothing that is said from here on would be kept
            Some(error) => Err(anyhow::Error::new(error)
                .context("the database's disk failed; nothing acknowledged is lost")
                .into()),
        }
    }

    /// Says where it is.
    pub(crate) fn say_hello(&self, console: Console) -> anyhow::Result<()> {
        let root = self.platform.dir.root();
        if console.json {
            return output::line(&json!({
                "url": self.url,
                "health": self.health,
                "pid": std::process::id(),
                "worker_pids": self.workers.as_ref().map(Workers::pids).unwrap_or_default(),
                "data_dir": root,
            }));
        }
        let place = self.url.as_deref().map_or_else(|| "working".to_owned(), |url| format!("at {url}"));
        output::note(console, format_args!("Windrow is {place}, data in {}", root.display()));
        if let Some(url) = &self.url {
            output::note(console, format_args!("API viewer: {url}/docs   stop with Ctrl-C"));
        }
        if let Some(health) = &self.health {
            output::note(console, format_args!("Probes: {health}/health"));
        }
        Ok(())
    }
}

/// `windrow up`, `api` and `worker` on a database.
pub(crate) async fn run(
    config: Config,
    input: &Input,
    roles: Roles,
    console: Console,
) -> Result<ExitCode, CommandError> {
    let stop = signals::stop_token();
    let running = Running::start(config, input, roles).await?;
    running.say_hello(console)?;
    running.until_stopped(&stop).await
}

/// Serves the port, and the socket of an embedded database or of this process's own children; gives the socket's path.
async fn serve_all(
    platform: &mut Platform,
    ports: Ports,
    embedded: bool,
    roles: Roles,
    engine: Option<&LocalEngine>,
) -> anyhow::Result<(Served, Option<PathBuf>)> {
    let remote = if roles.api { Some(engines::leased(platform).await?) } else { None };
    let metrics = metrics();
    windrow_engine::count_from_zero(&platform.registry);
    windrow_blob::count_from_zero();
    let door = engine.map(|engine| child_routes(ChildDoor { engine: engine.clone() }));
    let door = door.unwrap_or_default();
    let api = platform.router(remote, metrics.clone());
    let socket = match (embedded, roles.worker) {
        (true, _) => {
            let routes = api.clone().merge(local_door::routes(platform.app.clone()));
            Some((platform.dir.socket()?, routes.merge(door)))
        }
        (false, true) => Some((platform.dir.children_socket()?, door)),
        (false, false) => None,
    };
    let tcp = match (ports.api, ports.health) {
        (Some(port), _) => Some((port, api)),
        (None, Some(port)) => Some((port, probes(platform.app.clone(), metrics))),
        (None, None) => None,
    };
    let path = socket.as_ref().map(|(path, _)| path.clone());
    let served = serve::serve(tcp, socket.as_ref().map(|(path, routes)| (path.as_path(), routes.clone())))?;
    Ok((served, path))
}

/// What keeps the database in order beside the workers.
fn keeper_parts(platform: &Platform) -> KeeperParts {
    let config = &platform.config;
    let settings = KeeperSettings {
        poll: config.worker.poll,
        beat_lapse: config.worker.lapse,
        lease_lapse: config.worker.remote_lapse,
        keep_dead_objects: config.retention.dead_uploads,
        approval_wait: config.retention.unapproved,
        keep_jobs: config.retention.jobs,
        keep_ledger: config.retention.ledger,
        unnamed_for: config.retention.orphans,
        ..KeeperSettings::default()
    };
    KeeperParts {
        store: platform.store.clone(),
        blob: platform.blob.clone(),
        salt: platform.salt,
        clock: Arc::clone(&platform.clock),
        registry: platform.registry.clone(),
        deliver: Some(Arc::new(Deliveries(platform.app.clone()))),
        settings,
    }
}

/// Upper bounds of the histograms' buckets, in seconds: from a statement to a slow model call.
const BUCKETS: [f64; 16] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 300.0];

/// The process's metrics; a second installation in one process (a test, the demo) shares the first one's.
fn metrics() -> Option<PrometheusHandle> {
    static HANDLE: std::sync::OnceLock<Option<PrometheusHandle>> = std::sync::OnceLock::new();
    let install = || PrometheusBuilder::new().set_buckets(&BUCKETS).ok()?.install_recorder().ok();
    let handle = HANDLE.get_or_init(install).clone();
    if let Some(upkeep) = handle.clone() {
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_secs(5));
            loop {
                tick.tick().await;
                upkeep.run_upkeep();
            }
        });
    }
    handle
}
