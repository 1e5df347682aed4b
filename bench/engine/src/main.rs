//! How fast the engine is on this machine, on SQLite and on PostgreSQL, with everything on disk before it is answered.
//!
//! Reports executed no-op jobs a second (one owner and a thousand), bulk and single submits a second, pickup latency,
//! bytes written a job, and beside them how often the disk itself can sync. Every write goes through the store's batcher,
//! as in a worker. It starts its own PostgreSQL cluster with `fsync` on, in a temp directory that it removes.
#![allow(clippy::print_stdout, reason = "a report is printed")]

mod cluster;
mod load;

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use serde_json::json;
use windrow_core::SystemClock;
use windrow_store::migrate::{self, PLATFORM};
use windrow_store::{Db, DbOptions, Store, StoreOptions, fetch_one};

use load::Load;

#[derive(Debug, Parser)]
struct Args {
    /// Jobs in each bulk measurement.
    #[arg(long, default_value_t = 50_000)]
    jobs: usize,
    /// Runs claimed at once.
    #[arg(long, default_value_t = 500)]
    slots: usize,
    /// Clients that submit at once.
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// Only this database: sqlite or postgres.
    #[arg(long)]
    only: Option<String>,
    /// Where the databases are made; default: the system's temp directory.
    #[arg(long)]
    dir: Option<std::path::PathBuf>,
    /// One JSON object a line instead of a table.
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let dir = match &args.dir {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let per_second = u32::try_from(syncs(dir.path())?)?;
    args.line("disk", "the disk's own fdatasync/s", "", f64::from(per_second));
    let wants = |name: &str| args.only.as_deref().is_none_or(|only| only == name);
    if wants("sqlite") {
        let url = format!("sqlite://{}", dir.path().join("bench.db").display());
        measure("SQLite", &url, &args).await?;
    }
    if wants("postgres") {
        let cluster = cluster::Cluster::start(&dir.path().join("pg"))?;
        measure("PostgreSQL", cluster.url(), &args).await?;
    }
    Ok(())
}

impl Args {
    /// Prints one figure; `unit` is empty for counts and rates, which are rounded.
    fn line(&self, database: &str, what: &str, unit: &str, value: f64) {
        if self.json {
            println!("{}", json!({"database": database, "what": what, "unit": unit, "value": value}));
            return;
        }
        let digits = if unit.is_empty() { 0 } else { 2 };
        println!("{database:<11} {what:<34} {value:>12.digits$} {unit}");
    }
}

/// Appends of 4 KiB, each synced, for two seconds.
fn syncs(dir: &Path) -> Result<u64> {
    let mut file = std::fs::File::create(dir.join("sync"))?;
    let (page, started, mut count) = ([7u8; 4096], Instant::now(), 0u64);
    while started.elapsed() < Duration::from_secs(2) {
        file.write_all(&page)?;
        file.sync_data()?;
        count += 1;
    }
    Ok(count / 2)
}

async fn measure(name: &str, url: &str, args: &Args) -> Result<()> {
    let clock = SystemClock::shared();
    let db = Db::connect(url, DbOptions::default()).await.context("the database opens")?;
    migrate::up(&db, &[PLATFORM], clock.now()).await?;
    let store = Store::open(db, clock, StoreOptions::default()).await?;
    let mut load = Load::new(store.clone(), args.slots).await?;
    let line = |what: &str, value: f64| args.line(name, what, "", value);

    // a first round warms caches and prepared statements
    load.submit_bulk(2_000, 1, args.clients).await?;
    load.execute_all().await?;

    let rate = |jobs: usize, took: Duration| jobs_f64(jobs) / took.as_secs_f64();
    for owners in [1, 1_000] {
        let before = written(&store).await?;
        let took = load.submit_bulk(args.jobs, owners, args.clients).await?;
        line(&format!("bulk submit/s, {owners} owners"), rate(args.jobs, took));
        let submitted = written(&store).await?;
        let took = load.execute_all().await?;
        line(&format!("executed no-op jobs/s, {owners} owners"), rate(args.jobs, took));
        let executed = written(&store).await?;
        let a_job = |bytes: u64| jobs_f64(usize::try_from(bytes).unwrap_or(0)) / jobs_f64(args.jobs);
        line("  log bytes a job: submit", a_job(submitted - before));
        line("  log bytes a job: claim and end", a_job(executed - submitted));
        windrow_store::hot::vacuum(store.db()).await?;
    }
    args.line(name, "peak RSS of this process", "MB", peak_rss_mb()?);
    let (jobs, took) = load.submit_singly(args.clients, Duration::from_secs(5)).await?;
    line(&format!("single submit/s, {} clients", args.clients), rate(jobs, took));
    load.execute_all().await?;
    let latencies = load.pickups(500).await?;
    for share in [50, 99] {
        let latency = latencies[(latencies.len() - 1) * share / 100].as_secs_f64() * 1e3;
        args.line(name, &format!("pickup latency p{share}"), "ms", latency);
    }
    store.close().await;
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "a rate for people")]
fn jobs_f64(count: usize) -> f64 {
    count as f64
}

/// The most memory that this process, client and worker in one, has held so far (`VmHWM`).
fn peak_rss_mb() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status").context("this system counts memory")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM is counted")?;
    let kib: u32 = line.trim().trim_end_matches("kB").trim_end().parse()?;
    Ok(f64::from(kib) / 1024.0)
}

/// Bytes of write-ahead log so far: PostgreSQL's by its own count; SQLite's log is written by this process, together with
/// the pages that are folded into the file.
async fn written(store: &Store) -> Result<u64> {
    if store.db().dialect() == windrow_store::Dialect::Postgres {
        let mut conn = store.read().await?;
        let sql = "SELECT CAST(pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0') AS bigint)";
        return Ok(u64::try_from(fetch_one!(&mut conn, scalar i64, sql)?)?);
    }
    let io = std::fs::read_to_string("/proc/self/io").context("this system counts what a process writes")?;
    let line = io.lines().find_map(|line| line.strip_prefix("wchar: ")).context("wchar is counted")?;
    Ok(line.trim().parse()?)
}
