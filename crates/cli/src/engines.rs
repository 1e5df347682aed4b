//! From the configuration to the settings of engines and workers.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use windrow_config::{Config, WorkloadSection};
use windrow_core::SharedClock;
use windrow_engine::{
    AssetCache, Engine, LimitOverride, Limits, LocalEngine, LocalParts, LocalSettings, RunServices,
};
use windrow_runtime::WorkerSettings;
use windrow_store::hot::Caps;

use crate::compose::Platform;
use crate::{models, random};

/// Bytes of shared objects that a process keeps in memory.
const ASSET_CACHE_BYTES: usize = 128 << 20;

/// What serves this process's own runs and those of its machine's other workers.
pub(crate) async fn local(platform: &Platform, isolate: bool) -> anyhow::Result<LocalEngine> {
    let settings = LocalSettings { isolate, ..local_settings(platform) };
    LocalEngine::register(local_parts(platform), settings).await.context("the worker can't register")
}

/// What serves workers of others: their runs are held by leases that outlive this process.
pub(crate) async fn leased(platform: &Platform) -> anyhow::Result<LocalEngine> {
    let name = format!("remote workers of {}", process_name());
    let settings = LocalSettings { name, leased: true, ..local_settings(platform) };
    LocalEngine::register(local_parts(platform), settings).await.context("remote workers can't be served")
}

/// What runs need, on whichever engine.
pub(crate) fn services(
    config: &Config,
    clock: SharedClock,
    engine: Arc<dyn Engine>,
) -> anyhow::Result<RunServices> {
    let models = Arc::new(models::registry(config, Arc::clone(&clock))?);
    let assets = Arc::new(AssetCache::new(ASSET_CACHE_BYTES));
    Ok(RunServices { engine, models, clock, assets, call_retry: config.retry.policy() })
}

/// The same with an open installation's own models, so that limits hold for all of the process.
pub(crate) fn services_of(platform: &Platform, engine: Arc<dyn Engine>) -> RunServices {
    RunServices {
        engine,
        models: Arc::clone(&platform.models),
        clock: Arc::clone(&platform.clock),
        assets: Arc::new(AssetCache::new(ASSET_CACHE_BYTES)),
        call_retry: platform.config.retry.policy(),
    }
}

pub(crate) fn worker_settings(config: &Config, scratch: PathBuf) -> WorkerSettings {
    let section = &config.worker;
    WorkerSettings {
        slots: section.concurrency as usize,
        workloads: section.workloads.clone(),
        claim_wait: section.poll,
        stop_poll: section.cancel_poll,
        scratch,
        ..WorkerSettings::default()
    }
}

/// The name that was given or found ([`crate::ecs`]); else the machine and the process.
pub(crate) fn worker_name(config: &Config) -> String {
    config.worker.name.clone().unwrap_or_else(process_name)
}

fn process_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    format!("{}-{}", if host.is_empty() { "worker" } else { host }, std::process::id())
}

fn local_settings(platform: &Platform) -> LocalSettings {
    let config = &platform.config;
    let section = &config.worker;
    LocalSettings {
        name: worker_name(config),
        retry: config.retry.policy(),
        caps: caps(config),
        limits: limit_overrides(platform),
        artifact_life: config.retention.artifacts,
        poll: section.poll,
        beat_every: section.beat,
        seed: random::number(),
        ..LocalSettings::default()
    }
}

/// What may run at once, as the configuration says.
fn caps(config: &Config) -> Caps {
    let of_workload =
        |(name, section): (&String, &WorkloadSection)| Some((name.clone(), section.max_running?));
    Caps {
        per_owner: config.limits.max_running_per_owner,
        workloads: config.workloads.iter().filter_map(of_workload).collect(),
        ..Caps::default()
    }
}

pub(crate) fn local_parts(platform: &Platform) -> LocalParts {
    LocalParts {
        store: platform.store.clone(),
        blob: platform.blob.clone(),
        salt: platform.salt,
        registry: platform.registry.clone(),
        clock: Arc::clone(&platform.clock),
        drop_tags: None,
    }
}

/// Time limits that the operator has set: for one workload, or for all whose own are the platform's defaults.
fn limit_overrides(platform: &Platform) -> HashMap<String, LimitOverride> {
    let config = &platform.config;
    let usual = Limits::default();
    let unusual = |set: Duration, usual: Duration| (set != usual).then_some(set);
    let of = |name: &str| {
        let section = config.workloads.get(name);
        LimitOverride {
            deadline: platform.app.parts.settings.run_deadline(name),
            stall: section
                .and_then(|section| section.stall_limit)
                .or_else(|| unusual(config.worker.stall_limit, usual.stall)),
            max_attempts: section.and_then(|section| section.max_attempts),
        }
    };
    platform.registry.names().map(|name| (name.to_owned(), of(name))).collect()
}
