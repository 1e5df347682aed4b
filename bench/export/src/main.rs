//! How fast, and in how much memory, a dataset is exported.
//!
//! ```text
//! cargo run --release -p windrow-bench-export -- --dir /tmp/bench-export --rows 100000 --python python3
//! ```
//! makes parts of 50 records of about 4.4 KB, exports them in each format, each in a process of its own (so that peak
//! memory is the format's own), and then runs `compare.py` with pandas and pyarrow on the same records. All sides sync
//! their files; ours hashes them too.
#![allow(clippy::print_stdout, reason = "a benchmark's output is its result")]

mod data;

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand};
use windrow_generate::export::{Columns, Directory, Exporter, Format, Options};

#[derive(Parser)]
struct Arguments {
    /// Where parts and exports go; about twice the size of the records.
    #[arg(long)]
    dir: PathBuf,
    #[arg(long, default_value_t = 100_000)]
    rows: u64,
    /// How often each format is exported; the best counts.
    #[arg(long, default_value_t = 3)]
    times: u32,
    /// A Python with pandas and pyarrow, for the comparison.
    #[arg(long)]
    python: Option<PathBuf>,
    #[command(subcommand)]
    step: Option<Step>,
}

#[derive(Subcommand)]
enum Step {
    /// One export, in this process.
    Export { formats: Vec<String> },
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match &arguments.step {
        Some(Step::Export { formats }) => export(&arguments.dir, formats),
        None => compare(&arguments),
    }
}

fn compare(arguments: &Arguments) -> Result<()> {
    let made = Instant::now();
    let bytes = data::make(&arguments.dir, arguments.rows)?;
    println!(
        "{} records of {} bytes on average, made in {:.1} s",
        arguments.rows,
        bytes / arguments.rows,
        made.elapsed().as_secs_f64()
    );
    println!(
        "{:<22} {:>8} {:>8} {:>10} {:>8} {:>12}",
        "export", "seconds", "CPU s", "rows/s", "MB/s", "peak RSS MB"
    );
    for formats in [&["jsonl"][..], &["csv"], &["parquet"], &["jsonl", "csv", "parquet"]] {
        let mut best: Option<Run> = None;
        for _ in 0..arguments.times {
            let run = run(&arguments.dir, formats)?;
            if best.as_ref().is_none_or(|best| run.seconds < best.seconds) {
                best = Some(run);
            }
        }
        let Run { seconds, cpu, rss } = best.context("--times must be at least 1")?;
        let (rows, megabytes) = (arguments.rows as f64 / seconds, bytes as f64 / 1e6 / seconds);
        let name = format!("windrow {}", formats.join("+"));
        println!("{name:<22} {seconds:>8.2} {cpu:>8.2} {rows:>10.0} {megabytes:>8.0} {:>12}", rss / 1024);
    }
    let Some(python) = &arguments.python else { return Ok(()) };
    let status = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("compare.py"))
        .arg(&arguments.dir)
        .arg(arguments.times.to_string())
        .status()
        .with_context(|| format!("{} doesn't start", python.display()))?;
    ensure!(status.success(), "compare.py failed");
    Ok(())
}

/// What one export took.
struct Run {
    seconds: f64,
    /// Of all threads, user and system, in seconds: what counts when others use the machine too.
    cpu: f64,
    /// Peak, KiB.
    rss: u64,
}

/// One export in a process of its own.
fn run(dir: &Path, formats: &[&str]) -> Result<Run> {
    let program = std::env::current_exe()?;
    let output = Command::new(program).arg("--dir").arg(dir).arg("export").args(formats).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let numbers: Vec<&str> = text.split_whitespace().collect();
    let [seconds, cpu, rss] = numbers[..] else { anyhow::bail!("three numbers, not {text:?}") };
    Ok(Run { seconds: seconds.parse()?, cpu: cpu.parse()?, rss: rss.parse()? })
}

fn export(dir: &Path, formats: &[String]) -> Result<()> {
    let formats = formats.iter().map(|name| Ok(name.parse::<Format>()?)).collect::<Result<Vec<_>>>()?;
    let columns: Columns = serde_json::from_slice(&fs::read(data::columns_path(dir))?)?;
    let started = Instant::now();
    let sink = Directory::new(dir.join("windrow"));
    let mut exporter = Exporter::start(Box::new(sink), Options::new(formats, columns))?;
    for part in 0.. {
        let path = data::part_path(dir, part);
        if !path.exists() {
            break;
        }
        exporter.push_part(BufReader::with_capacity(1 << 18, File::open(path)?))?;
    }
    exporter.finish()?;
    println!("{:.4} {} {}", started.elapsed().as_secs_f64(), cpu_seconds()?, peak_rss()?);
    Ok(())
}

/// This process's peak resident memory in KiB (`VmHWM`, proc_pid_status(5)).
fn peak_rss() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM is absent")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// This process's CPU time (proc_pid_stat(5), fields 14 and 15, in ticks of 10 ms on Linux).
fn cpu_seconds() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, after_name) = stat.rsplit_once(')').context("the name is absent")?;
    let ticks = after_name.split_whitespace().skip(11).take(2).map(str::parse::<u32>);
    Ok(f64::from(ticks.sum::<Result<u32, _>>()?) / 100.0)
}
