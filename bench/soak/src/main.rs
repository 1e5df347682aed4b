//! Whether the engine stays as it is for half an hour: 2,000 jobs a second submitted and executed on each database, with the
//! keeper at work, and now and then somebody who reads in one snapshot for 20 seconds.
//!
//! `cargo run --release -p windrow-bench-soak -- --out DIR`. Every 10 seconds a line in `DIR/sqlite.csv` or
//! `DIR/postgres.csv`; at the end a plot of it beside each, as SVG.
#![allow(clippy::print_stdout, reason = "a report is printed")]

mod analyst;
mod plot;
mod sample;

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use windrow_bench_gauge as gauge;
use windrow_bench_rig::{self as rig, Pickups, Place, RunningJobs, Where, load};
use windrow_store::Store;

use sample::{Sample, Sampler};

/// Owners who share the load.
const OWNERS: u64 = 100;

/// A client submits this often what is due.
const TICK: Duration = Duration::from_millis(10);

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    place: Where,
    /// How long, on each database.
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// Jobs a second.
    #[arg(long, default_value_t = 2_000)]
    rate: u32,
    /// Seconds between two lines.
    #[arg(long, default_value_t = 10)]
    every: u64,
    /// Where the figures and plots go.
    #[arg(long, default_value = "soak")]
    out: PathBuf,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    std::fs::create_dir_all(&args.out).with_context(|| format!("{} is a directory", args.out.display()))?;
    for database in args.place.databases() {
        let place = args.place.place(database)?;
        println!(
            "{:<10} load {}, {:.0} fdatasync/s",
            place.name(),
            gauge::load()?,
            gauge::syncs(place.dir())?
        );
        let samples = soak(&args, &place).await?;
        let drawn = plot::draw(&format!("{}, {} jobs/s", place.name(), args.rate), &samples);
        let path = args.out.join(file(&place, "svg"));
        std::fs::write(&path, drawn).with_context(|| format!("{} is written", path.display()))?;
        tell(&place, &samples)?;
    }
    Ok(())
}

fn file(place: &Place, kind: &str) -> String {
    let name = if place.name() == "SQLite" { "sqlite" } else { "postgres" };
    format!("{name}.{kind}")
}

async fn soak(args: &Args, place: &Place) -> Result<Vec<Sample>> {
    let store = place.open().await?;
    let pickups = Arc::new(Pickups::default());
    let told = Arc::clone(&pickups);
    let settings = rig::Settings { ran: Box::new(move |job| told.ran(job)), ..rig::Settings::default() };
    let worker = rig::start(&store, settings, place.dir(), true).await?;
    let client = tokio::spawn(submit(store.clone(), Arc::clone(&pickups), args.rate));
    let reading = Arc::new(AtomicBool::new(false));
    let analyst = tokio::spawn(analyst::read_now_and_then(
        place.connect(analyst::patient()).await?,
        Arc::clone(&reading),
    ));
    let mut sampler = Sampler { place, store: store.clone(), pickups, reading, started: Instant::now() };
    let samples = sample(args, place, &mut sampler, &worker).await;
    // whoever ended before was ended by an error, which says more
    for task in [client, analyst] {
        if task.is_finished() {
            task.await??;
        } else {
            task.abort();
        }
    }
    let samples = samples?;
    worker.stop().await?;
    store.close().await;
    Ok(samples)
}

/// Submits at an even rate, whatever the answers take.
async fn submit(store: Store, pickups: Arc<Pickups>, rate: u32) -> Result<()> {
    let (started, mut submitted) = (Instant::now(), 0);
    let mut ticks = tokio::time::interval(TICK);
    loop {
        ticks.tick().await;
        let due = u64::try_from(started.elapsed().as_millis() * u128::from(rate) / 1_000)?;
        let jobs: Vec<_> = (submitted..due).map(|n| load::job(&store, n % OWNERS)).collect();
        submitted = due;
        if !jobs.is_empty() {
            pickups.submit(&store, jobs).await?;
        }
    }
}

async fn sample(
    args: &Args,
    place: &Place,
    sampler: &mut Sampler<'_>,
    worker: &RunningJobs,
) -> Result<Vec<Sample>> {
    let path = args.out.join(file(place, "csv"));
    let mut csv = File::create(&path).with_context(|| format!("{} is written", path.display()))?;
    writeln!(csv, "{}", Sample::HEAD)?;
    let every = Duration::from_secs(args.every);
    let mut ticks = tokio::time::interval(every);
    ticks.tick().await;
    let (mut samples, mut before) = (Vec::new(), worker.count());
    while sampler.started.elapsed() + every <= Duration::from_secs(args.minutes * 60 + 1) {
        ticks.tick().await;
        let count = worker.count();
        let executed = count - before;
        before = count;
        let sample = sampler.sample(executed as f64 / every.as_secs_f64()).await?;
        writeln!(csv, "{}", sample.line())?;
        samples.push(sample);
    }
    ensure!(!samples.is_empty(), "--minutes is too short for one sample");
    Ok(samples)
}

/// The first quarter against the last: what stays flat is the same in both.
fn tell(place: &Place, samples: &[Sample]) -> Result<()> {
    let quarter = samples.len().div_ceil(4);
    let (first, last) = (&samples[..quarter], &samples[samples.len() - quarter..]);
    for (name, of) in Sample::SERIES {
        let mean = |some: &[Sample]| some.iter().map(of).sum::<f64>() / some.len() as f64;
        let most = samples.iter().map(of).fold(0.0, f64::max);
        println!(
            "{:<10} {name:<24} first quarter {:>10.1}, last {:>10.1}, most {most:>10.1}",
            place.name(),
            mean(first),
            mean(last)
        );
    }
    Ok(())
}
