//! How fast the workload `generate` is on this machine, beside what the disk itself can do.
//!
//! ```text
//! cargo run --release -p windrow-bench-generate -- --python PYTHON
//! ```
//! measures in one run: jobs of calls to a model server on the loopback, with a latency of 200 ms and with none; jobs whose
//! model is in the process; rendering, against Jinja2; exports, against pandas and pyarrow. PYTHON needs jinja2, pandas
//! and pyarrow; without it the comparisons are left out. Databases are SQLite and synced.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark's output is its result")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

mod calls;
mod export;
mod house;
mod render;
mod stub;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};
use windrow_bench_gauge as gauge;

use calls::Calls;
use table::Figure;

#[derive(Debug, Parser)]
struct Args {
    /// Where databases and datasets are made; about 25 GB for a million records. Default: the system's temp directory.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// A Python with jinja2, pandas and pyarrow, for the comparisons.
    #[arg(long)]
    python: Option<PathBuf>,
    /// How often each figure is measured; the median counts. Default: 3, with --quick 1.
    #[arg(long)]
    times: Option<usize>,
    /// A fifth of the records, each once.
    #[arg(long)]
    quick: bool,
    /// A million records are exported too.
    #[arg(long)]
    long: bool,
    /// Only these parts.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    #[command(subcommand)]
    step: Option<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// A model server of 200 ms.
    Slow,
    /// A model server of 0 ms.
    Fast,
    /// A model in this process.
    Inside,
    Render,
    Export,
}

/// What the benchmark starts as processes of their own.
#[derive(Debug, Subcommand)]
enum Step {
    /// A model server that answers after so many milliseconds.
    #[command(hide = true)]
    Stub { latency: u64 },
    /// One export.
    #[command(hide = true)]
    Export { dir: PathBuf, formats: Vec<String> },
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    match &args.step {
        Some(Step::Stub { latency }) => stub::serve(Duration::from_millis(*latency)).await,
        Some(Step::Export { dir, formats }) => export::export(dir, formats),
        None => measure(&args).await,
    }
}

async fn measure(args: &Args) -> Result<()> {
    let dir = match &args.dir {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let dir = dir.path();
    let times = args.times.unwrap_or(if args.quick { 1 } else { 3 });
    let wants = |part: Part| args.only.is_empty() || args.only.contains(&part);
    let calls = Calls { dir, times, quick: args.quick };
    let mut figures = Vec::new();
    for part in [Part::Slow, Part::Fast, Part::Inside] {
        if !wants(part) {
            continue;
        }
        let syncs = gauge::syncs(dir)?;
        println!("{part:?} …");
        let mut found = match part {
            Part::Slow => calls.slow().await?,
            Part::Fast => calls.fast().await?,
            _ => calls.inside().await?,
        };
        figures.append(&mut found);
        let load = format!("load {}", gauge::load()?);
        figures.push(Figure::new("the disk's own fdatasync/s just before", "", vec![syncs]).note(load));
    }
    if let Some(python) = args.python.as_deref().filter(|_| wants(Part::Render)) {
        println!("Render …");
        figures.append(&mut render::compare(dir, python, times)?);
    }
    if wants(Part::Export) {
        let rows: &[u64] = match (args.quick, args.long) {
            (true, _) => &[20_000],
            (false, false) => &[100_000],
            (false, true) => &[100_000, 1_000_000],
        };
        for rows in rows {
            println!("Export …");
            let (times, python) = if *rows > 100_000 { (1, None) } else { (times, args.python.as_deref()) };
            figures.append(&mut export::measure(dir, *rows, times, python)?);
        }
    }
    table::print(&figures);
    println!("\nload at the end: {}", gauge::load()?);
    Ok(())
}
