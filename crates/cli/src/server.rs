//! An installation that runs: its API, its worker, its keeper, until it is told to stop.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde_json::json;
use windrow_config::{Config, DatabaseTarget};
use windrow_engine::{
    AssetCache, LimitOverride, Limits, LocalEngine, LocalParts, LocalSettings, RunServices,
};
use windrow_plugin::{CommandError, Console, ExitCode};
use windrow_runtime::{
    Keeper, KeeperHandle, KeeperParts, KeeperSettings, Worker, WorkerHandle, WorkerSettings,
};
use windrow_store::hot::Caps;

use crate::compose::{Migrations, Platform};
use crate::deliveries::Deliveries;
use crate::serve::{self, Served};
use crate::{local_door, output, random, signals};

/// Bytes of shared objects that a process keeps in memory.
const ASSET_CACHE_BYTES: usize = 128 << 20;

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Roles {
    /// Listens on the TCP port.
    pub(crate) api: bool,
    /// Claims and runs jobs.
    pub(crate) worker: bool,
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
    pub(crate) const UP: Self = Self { api: true, worker: true, migrations: MigrationsAtStart::Apply };
    pub(crate) const API: Self =
        Self { api: true, worker: false, migrations: MigrationsAtStart::ApplyIfEmbedded };
    pub(crate) const WORKER: Self =
        Self { api: false, worker: true, migrations: MigrationsAtStart::ApplyIfEmbedded };
    /// Inside a command: no port, only the socket of its directory.
    pub(crate) const EMBEDDED: Self = Self { api: false, worker: true, migrations: MigrationsAtStart::Apply };
}

/// A running installation.
pub(crate) struct Running {
    pub(crate) platform: Platform,
    /// Where others reach it; none when it listens on no port.
    pub(crate) url: Option<String>,
    worker: Option<(WorkerHandle, LocalEngine)>,
    keeper: KeeperHandle,
    served: Served,
}

impl Running {
    pub(crate) async fn start(config: Config, roles: Roles) -> anyhow::Result<Self> {
        let embedded = matches!(config.database(), DatabaseTarget::Sqlite { .. });
        let tcp = match roles.api {
            true => Some(serve::listen(config.server.bind, config.server.port).await?),
            false => None,
        };
        let port = tcp.as_ref().map(tokio::net::TcpListener::local_addr).transpose()?.map_or(0, |a| a.port());
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
            windrow_runtime::retake(&platform.store).await?;
        }
        let remote = if roles.api { Some(remote_engine(&platform).await?) } else { None };
        let router = platform.router(remote, metrics());
        let on_socket = router.clone().merge(local_door::routes(platform.app.clone()));
        let socket = embedded.then(|| platform.dir.socket());
        let served = serve::serve(tcp.map(|tcp| (tcp, router)), socket.as_deref().map(|s| (s, on_socket)))?;
        let worker = match roles.worker {
            true => Some(start_worker(&platform).await?),
            false => None,
        };
        let keeper = Keeper::start(keeper_parts(&platform));
        Ok(Self { platform, url, worker, keeper, served })
    }

    /// Claims nothing more, lets runs reach their next checkpoint, gives the rest back, and closes.
    pub(crate) async fn stop(self) {
        let grace = self.platform.config.worker.grace;
        if let Some((worker, engine)) = self.worker {
            worker.drain(grace).await;
            if let Err(error) = engine.leave().await {
                tracing::warn!(%error, "the worker could not sign off; its runs will be retaken");
            }
        }
        self.keeper.stop().await;
        self.served.stop().await;
        self.platform.close().await;
    }

    /// Serves until a signal, or until the disk under the database fails.
    async fn until_stopped(self) -> anyhow::Result<()> {
        let failed = tokio::select! {
            () = signals::asked_to_stop() => None,
            error = self.platform.store.failed() => Some(error),
        };
        match failed {
            None => {
                tracing::info!("stopping: what runs reaches its next checkpoint");
                self.stop().await;
                Ok(())
            }
            // nothing that is said from here on would be kept
            Some(error) => {
                Err(anyhow::Error::new(error)
                    .context("the database's disk failed; nothing acknowledged is lost"))
            }
        }
    }
}

/// `windrow up`, `api` and `worker` on a database.
pub(crate) async fn run(config: Config, roles: Roles, console: Console) -> Result<ExitCode, CommandError> {
    let running = Running::start(config, roles).await?;
    let hello = json!({
        "url": running.url,
        "pid": std::process::id(),
        "data_dir": running.platform.dir.root(),
    });
    if console.json {
        output::line(&hello)?;
    } else {
        let place = running.url.as_deref().map_or_else(|| "working".to_owned(), |url| format!("at {url}"));
        output::note(
            console,
            format_args!("Windrow is {place}, data in {}", running.platform.dir.root().display()),
        );
        if let Some(url) = &running.url {
            output::note(console, format_args!("API viewer: {url}/docs   stop with Ctrl-C"));
        }
    }
    running.until_stopped().await?;
    Ok(ExitCode::Ok)
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

/// What serves workers of others: their runs are held by leases that outlive this process.
async fn remote_engine(platform: &Platform) -> anyhow::Result<LocalEngine> {
    let name = format!("remote workers of {}", worker_name());
    let settings = LocalSettings { name, leased: true, ..local_settings(platform) };
    LocalEngine::register(local_parts(platform), settings).await.context("remote workers can't be served")
}

fn local_settings(platform: &Platform) -> LocalSettings {
    let config = &platform.config;
    let section = &config.worker;
    LocalSettings {
        name: section.name.clone().unwrap_or_else(worker_name),
        retry: config.retry.policy(),
        caps: Caps { per_owner: config.limits.max_running_per_owner, ..Caps::default() },
        limits: limit_overrides(platform),
        artifact_life: config.retention.artifacts,
        poll: section.poll,
        beat_every: section.beat,
        seed: random::number(),
        ..LocalSettings::default()
    }
}

fn local_parts(platform: &Platform) -> LocalParts {
    LocalParts {
        store: platform.store.clone(),
        blob: platform.blob.clone(),
        salt: platform.salt,
        registry: platform.registry.clone(),
        clock: Arc::clone(&platform.clock),
        drop_tags: None,
    }
}

async fn start_worker(platform: &Platform) -> anyhow::Result<(WorkerHandle, LocalEngine)> {
    let config = &platform.config;
    let section = &config.worker;
    let engine = LocalEngine::register(local_parts(platform), local_settings(platform))
        .await
        .context("the worker can't register")?;
    let services = RunServices {
        engine: Arc::new(engine.clone()),
        models: Arc::clone(&platform.models),
        clock: Arc::clone(&platform.clock),
        assets: Arc::new(AssetCache::new(ASSET_CACHE_BYTES)),
        call_retry: config.retry.policy(),
    };
    let settings = WorkerSettings {
        slots: section.concurrency as usize,
        workloads: section.workloads.clone(),
        claim_wait: section.poll,
        stop_poll: section.cancel_poll,
        scratch: platform.dir.scratch(),
        ..WorkerSettings::default()
    };
    let worker =
        Worker::start(services, platform.registry.clone(), settings).context("the worker can't start")?;
    Ok((worker, engine))
}

/// Time limits that the operator has set: for one workload, or for all whose own are the platform's defaults.
fn limit_overrides(platform: &Platform) -> HashMap<String, LimitOverride> {
    let config = &platform.config;
    let usual = Limits::default();
    let unusual = |set: Duration, usual: Duration| (set != usual).then_some(set);
    let of = |name: &str| {
        let section = config.workloads.get(name);
        LimitOverride {
            deadline: section
                .and_then(|section| section.run_deadline)
                .or_else(|| unusual(config.worker.run_deadline, usual.deadline)),
            stall: section
                .and_then(|section| section.stall_limit)
                .or_else(|| unusual(config.worker.stall_limit, usual.stall)),
        }
    };
    platform.registry.names().map(|name| (name.to_owned(), of(name))).collect()
}

/// An ECS task's ARN would be better, where there is one; else the machine and the process.
fn worker_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    format!("{}-{}", if host.is_empty() { "worker" } else { host }, std::process::id())
}

/// The process's metrics; a second installation in one process (a test, the demo) shares the first one's.
fn metrics() -> Option<PrometheusHandle> {
    static HANDLE: std::sync::OnceLock<Option<PrometheusHandle>> = std::sync::OnceLock::new();
    let install = || PrometheusBuilder::new().install_recorder().ok();
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
