//! How fast, and in how much memory, a dataset is exported: parts of 50 records of about 4.4 KB to JSONL, CSV and Parquet.
//! Each export is a process of its own, so that peak memory is its own; `export.py` does the same with pandas and pyarrow.
//! All sides sync their files; ours hashes them too.

mod data;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use windrow_generate::export::{Columns, Directory, Exporter, Format, Options};

use crate::table::{Figure, median, short};
use windrow_bench_gauge as gauge;

/// What one export took.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Run {
    seconds: f64,
    /// Of all threads, user and system, in seconds: what counts when others use the machine too.
    cpu: f64,
    /// Peak, in KiB.
    rss: f64,
}

/// Exports `rows` records in each format and in all at once; with `python` pandas and pyarrow do so too.
pub(crate) fn measure(dir: &Path, rows: u64, times: usize, python: Option<&Path>) -> Result<Vec<Figure>> {
    let bytes = data::make(dir, rows)?;
    let size = format!("{} records of {} bytes", short(rows as f64), short(bytes as f64 / rows as f64));
    println!("{size}");
    let mut figures = Vec::new();
    for formats in [&["jsonl"][..], &["csv"], &["parquet"], &["jsonl", "csv", "parquet"]] {
        let runs = (0..times).map(|_| run(dir, formats)).collect::<Result<Vec<_>>>()?;
        let name = format!("export {} to {}", short(rows as f64), formats.join(" + "));
        figures.extend(tell(&name, &runs, formats.len() == 3));
    }
    if let Some(python) = python {
        for (name, runs) in theirs(dir, times, python)? {
            figures.extend(tell(&format!("export {} to {name}", short(rows as f64)), &runs, false));
        }
    }
    for left in ["parts", "windrow"] {
        fs::remove_dir_all(dir.join(left))?;
    }
    fs::remove_file(dir.join("records.jsonl"))?;
    Ok(figures)
}

fn tell(name: &str, runs: &[Run], is_bar: bool) -> [Figure; 2] {
    let of = |value: fn(&Run) -> f64| runs.iter().map(value).collect::<Vec<_>>();
    let note = format!("{} s of processor time", short(median(&of(|run| run.cpu))));
    let memory = Figure::new(format!("{name}: peak RSS"), "MiB", of(|run| run.rss / 1024.0));
    let memory = if is_bar { memory.at_most(200.0) } else { memory };
    [Figure::new(format!("{name}: time"), "s", of(|run| run.seconds)).note(note), memory]
}

/// One export in a process of its own.
fn run(dir: &Path, formats: &[&str]) -> Result<Run> {
    let program = std::env::current_exe()?;
    let output = Command::new(program).arg("export").arg(dir).args(formats).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("what an export says of itself")
}

/// What that process does: prints a [`Run`].
pub(crate) fn export(dir: &Path, formats: &[String]) -> Result<()> {
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
    let seconds = started.elapsed().as_secs_f64();
    let run = Run { seconds, cpu: gauge::cpu_seconds("self")?, rss: gauge::peak_rss()? as f64 };
    println!("{}", serde_json::to_string(&run)?);
    Ok(())
}

fn theirs(dir: &Path, times: usize, python: &Path) -> Result<BTreeMap<String, Vec<Run>>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("export.py");
    let output = Command::new(python).arg(script).arg(dir).arg(times.to_string()).output();
    let output = output.with_context(|| format!("{} doesn't start", python.display()))?;
    ensure!(output.status.success(), "export.py: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("what export.py says")
}
