//! What others feel of one owner's load, of caps, and of ten thousand running jobs.
//!
//! - Pickup latency of 99 owners who submit a job now and then: with nothing else to do, and while one owner has 100,000 queued.
//! - Jobs a second of a hundred owners: without caps, and with a cap on every tenth.
//! - Processor time that it takes to keep 10,000 running jobs alive.
//!
//! `cargo run --release -p windrow-bench-fairness`. One worker with the whole engine, and the database kept in order beside it.
#![allow(clippy::print_stdout, reason = "a report is printed")]

mod beats;
mod caps;
mod crowd;

use anyhow::Result;
use clap::Parser;
use windrow_bench_gauge as gauge;
use windrow_bench_rig::{Place, Where};

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    place: Where,
    /// Jobs that the one owner has queued.
    #[arg(long, default_value_t = 100_000)]
    crowd: usize,
    /// How long pickups are measured, and processor time.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// Jobs of a hundred owners that are executed without and with caps.
    #[arg(long, default_value_t = 50_000)]
    jobs: usize,
    /// The most jobs of a capped owner that run at once.
    #[arg(long, default_value_t = 5)]
    cap: u32,
    /// Jobs that run while the beats are measured.
    #[arg(long, default_value_t = 10_000)]
    running: usize,
    /// How often rates are measured; the medians are compared.
    #[arg(long, default_value_t = 3)]
    times: usize,
    /// See that everything runs: few jobs, 3 seconds, once.
    #[arg(long)]
    quick: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = Args::parse();
    if args.quick {
        (args.crowd, args.seconds, args.jobs, args.running, args.times) = (20_000, 3, 5_000, 1_000, 1);
    }
    for database in args.place.databases() {
        for part in [Part::Crowd, Part::Caps, Part::Beats] {
            let place = args.place.place(database)?;
            let (load, syncs) = (gauge::load()?, gauge::syncs(place.dir())?);
            println!("{:<10} load {load}, {syncs:.0} fdatasync/s", place.name());
            part.measure(&args, &place).await?;
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Part {
    Crowd,
    Caps,
    Beats,
}

impl Part {
    async fn measure(self, args: &Args, place: &Place) -> Result<()> {
        match self {
            Self::Crowd => crowd::measure(args, place).await,
            Self::Caps => caps::measure(args, place).await,
            Self::Beats => beats::measure(args, place).await,
        }
    }
}
