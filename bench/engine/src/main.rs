//! How fast the engine is on this machine, on SQLite and on PostgreSQL, with everything on disk before it is answered.
//!
//! Reports executed no-op jobs a second (a worker process with the whole engine; one owner and a thousand), bulk and
//! single submits, pickup latency, bytes written a job, statements a batch, the worker's memory, and beside them how often
//! the disk itself can sync. It starts its own PostgreSQL cluster with `fsync` on, in a temp directory that it removes.
#![allow(clippy::print_stdout, reason = "a report is printed")]

mod statements;
mod work;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use serde_json::json;
use windrow_bench_gauge as gauge;
use windrow_bench_rig::{self as rig, Load, Pickups, Place, Where, log};
use windrow_store::{Store, fetch_one};

use work::Report;

#[derive(Debug, Parser)]
struct Args {
    /// Jobs in each bulk measurement.
    #[arg(long, default_value_t = 50_000)]
    jobs: usize,
    /// Runs that the worker has at once.
    #[arg(long, default_value_t = 500)]
    slots: usize,
    /// Clients that submit at once.
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// How often each execution is measured; the best counts.
    #[arg(long, default_value_t = 3)]
    times: usize,
    #[command(flatten)]
    place: Where,
    /// One JSON object a line instead of a table.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// One worker process: what the bench starts.
    #[command(hide = true)]
    Work { url: String, jobs: usize, slots: usize, scratch: PathBuf },
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    if let Some(Part::Work { url, jobs, slots, scratch }) = &args.part {
        let report = work::work(url, *jobs, *slots, scratch).await?;
        println!("{}", serde_json::to_string(&report)?);
        return Ok(());
    }
    for database in args.place.databases() {
        let place = args.place.place(database)?;
        Bench { place: &place, args: &args }.measure().await?;
    }
    Ok(())
}

/// One database under measurement.
struct Bench<'a> {
    place: &'a Place,
    args: &'a Args,
}

impl Bench<'_> {
    /// Prints one figure; `unit` is empty for counts and rates, which are rounded.
    fn line(&self, what: &str, unit: &str, value: f64) {
        if self.args.json {
            println!(
                "{}",
                json!({"database": self.place.name(), "what": what, "unit": unit, "value": value})
            );
            return;
        }
        let digits = if unit.is_empty() { 0 } else { 2 };
        println!("{:<11} {what:<40} {value:>12.digits$} {unit}", self.place.name());
    }

    fn syncs(&self) -> Result<()> {
        self.line("the disk's own fdatasync/s", "", gauge::syncs(self.place.dir())?);
        Ok(())
    }

    async fn measure(&self) -> Result<()> {
        for owners in [1, 1_000] {
            self.syncs()?;
            let (mut submits, mut runs, mut alone) = (Vec::new(), Vec::new(), f64::INFINITY);
            for _ in 0..self.args.times {
                submits.push(self.submit(owners).await?);
                runs.push(self.execute().await?);
                self.submit(owners).await?;
                alone = alone.min(self.execute_in_the_store().await?);
            }
            self.tell(owners, &submits, &runs);
            self.line("  the store alone", "", as_f64(self.args.jobs) / alone);
        }
        self.line("peak RSS of this process", "MB", whole(gauge::peak_rss()?) / 1024.0);
        self.syncs()?;
        let store = self.place.open().await?;
        let load = Load::new(store.clone(), self.args.slots).await?;
        let (jobs, took) = load.submit_singly(self.args.clients, Duration::from_secs(5)).await?;
        self.line(
            &format!("single submit/s, {} clients", self.args.clients),
            "",
            as_f64(jobs) / took.as_secs_f64(),
        );
        load.execute_all().await?;
        self.pickups(&store).await?;
        store.close().await;
        let db = self.place.open().await?.db().clone();
        for (what, statements) in statements::count(db, self.args.slots).await? {
            self.line(&format!("statements a batch, {what}"), "", whole(statements));
        }
        Ok(())
    }

    /// Jobs a second, and log bytes a job.
    async fn submit(&self, owners: u64) -> Result<(f64, u64)> {
        let store = self.place.open().await?;
        let load = Load::new(store.clone(), self.args.slots).await?;
        let before = log::written(store.db()).await?;
        let took = load.submit_bulk(self.args.jobs, owners, self.args.clients).await?;
        let bytes = log::written(store.db()).await? - before;
        store.close().await;
        Ok((as_f64(self.args.jobs) / took.as_secs_f64(), bytes / self.args.jobs as u64))
    }

    /// A worker process runs all there is.
    async fn execute(&self) -> Result<Report> {
        let (jobs, slots) = (self.args.jobs.to_string(), self.args.slots.to_string());
        let mut worker = tokio::process::Command::new(std::env::current_exe()?);
        worker
            .args(["work", self.place.url(), &jobs, &slots])
            .arg(self.place.dir())
            .stderr(std::process::Stdio::inherit());
        let output = worker.output().await.context("the worker process starts")?;
        ensure!(output.status.success(), "the worker process failed: {}", output.status);
        let report = serde_json::from_slice(&output.stdout).context("the worker's report")?;
        let store = self.place.open().await?;
        let open = "SELECT (SELECT count(*) FROM ready) + (SELECT count(*) FROM running)";
        let left = fetch_one!(&mut store.read().await?, scalar i64, open)?;
        windrow_store::hot::vacuum(store.db()).await?;
        store.close().await;
        ensure!(left == 0, "{left} jobs are left over");
        Ok(report)
    }

    /// The same without the layers above the store: only claims and ends. Gives the seconds that it took.
    async fn execute_in_the_store(&self) -> Result<f64> {
        let store = self.place.open().await?;
        let took = Load::new(store.clone(), self.args.slots).await?.execute_all().await?;
        windrow_store::hot::vacuum(store.db()).await?;
        store.close().await;
        Ok(took.as_secs_f64())
    }

    fn tell(&self, owners: u64, submits: &[(f64, u64)], runs: &[Report]) {
        let of = format!("{owners} owners");
        let best = submits.iter().map(|(rate, _)| *rate).fold(0.0, f64::max);
        self.line(&format!("bulk submit/s, {of}"), "", best);
        if let Some((_, bytes)) = submits.last() {
            self.line("  log bytes a job: submit", "", whole(*bytes));
        }
        if let Some(run) = runs.iter().min_by(|a, b| a.seconds.total_cmp(&b.seconds)) {
            let jobs = as_f64(self.args.jobs);
            self.line(&format!("executed no-op jobs/s, {of}"), "", jobs / run.seconds);
            self.line("  the worker's processor time a job", "µs", run.cpu_seconds * 1e6 / jobs);
            self.line("  log bytes a job: claim and end", "", whole(run.bytes) / jobs);
            self.line("  the worker's peak RSS", "MB", whole(run.rss_kib) / 1024.0);
        }
    }

    /// Of jobs that come one at a time to an idle worker with the whole engine.
    async fn pickups(&self, store: &Store) -> Result<()> {
        let pickups = Arc::new(Pickups::default());
        let told = Arc::clone(&pickups);
        let settings = rig::Settings {
            slots: self.args.slots,
            ran: Box::new(move |job| told.ran(job)),
            ..rig::Settings::default()
        };
        let worker = rig::start(store, settings, self.place.dir(), false).await?;
        for _ in 0..500 {
            pickups.submit(store, vec![rig::load::job(store, 1)]).await?;
            while pickups.waiting() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            // long enough that its end is on disk
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
        worker.stop().await?;
        let latencies = pickups.take();
        for share in [50, 99] {
            let latency = rig::quantile(&latencies, share).as_secs_f64() * 1e3;
            self.line(&format!("pickup latency p{share}"), "ms", latency);
        }
        Ok(())
    }
}

#[allow(clippy::cast_precision_loss, reason = "a figure for people")]
fn as_f64(count: usize) -> f64 {
    count as f64
}

#[allow(clippy::cast_precision_loss, reason = "a figure for people")]
fn whole(count: u64) -> f64 {
    count as f64
}
