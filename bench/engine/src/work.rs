//! A worker process: it runs no-op jobs through the engine and the runtime, as `windrow worker` does, until so many have
//! ended, and says how that went.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use windrow_bench_gauge as gauge;
use windrow_bench_rig::{self as rig, log};
use windrow_core::SystemClock;
use windrow_store::{Db, DbOptions, Store, StoreOptions};

/// What a worker process prints, as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// From the start of the worker until its last run's end was on disk.
    pub seconds: f64,
    /// Processor time in that time, of all threads.
    pub cpu_seconds: f64,
    /// The most memory that was resident, in KiB.
    pub rss_kib: u64,
    /// Of write-ahead log (PostgreSQL), or to files (SQLite).
    pub bytes: u64,
}

/// Runs `jobs` jobs that stand in line.
pub async fn work(url: &str, jobs: usize, slots: usize, scratch: &Path) -> Result<Report> {
    let db = Db::connect(url, DbOptions::default()).await.context("the database opens")?;
    let store = Store::open(db.clone(), SystemClock::shared(), StoreOptions::default()).await?;
    let last = Arc::new(Notify::new());
    let (left, told) = (AtomicUsize::new(jobs), Arc::clone(&last));
    let ran = move |_| {
        if left.fetch_sub(1, Ordering::Relaxed) == 1 {
            told.notify_one();
        }
    };
    let settings = rig::Settings { slots, ran: Box::new(ran), ..rig::Settings::default() };
    let before = log::written(&db).await?;
    let (started, cpu) = (Instant::now(), gauge::cpu_seconds("self")?);
    let worker = rig::start(&store, settings, scratch, false).await?;
    last.notified().await;
    // the last run has begun: its end and those beside it are on disk a moment later
    while worker.held() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let seconds = started.elapsed().as_secs_f64();
    let cpu_seconds = gauge::cpu_seconds("self")? - cpu;
    let bytes = log::written(&db).await? - before;
    worker.stop().await?;
    store.close().await;
    Ok(Report { seconds, cpu_seconds, rss_kib: gauge::peak_rss()?, bytes })
}
