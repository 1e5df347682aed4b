//! How long `windrow up` takes to answer, what it weighs when nothing happens, and how long `windrow demo` takes.
//!
//! `cargo run --release -p windrow-bench-start -- [--binary target/release/windrow] [--times 5]`. Build the binary
//! before: `cargo build --release`. Linux only.
#![allow(clippy::print_stdout)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use windrow_bench_gauge as gauge;

#[derive(Parser)]
struct Args {
    /// The binary under test.
    #[arg(long, default_value = "target/release/windrow")]
    binary: PathBuf,
    /// How often each thing is done.
    #[arg(long, default_value_t = 5)]
    times: usize,
    /// Seconds without a request before the memory is read.
    #[arg(long, default_value_t = 10)]
    rest: u64,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let binary = args.binary.canonicalize().with_context(|| format!("{} is built", args.binary.display()))?;
    let dir = tempfile::tempdir()?;
    println!("load {}, {:.0} fdatasync/s", gauge::load()?, gauge::syncs(dir.path())?);
    // the bar is about a database that is there
    start(&binary, dir.path(), Duration::ZERO)?;
    for _ in 0..args.times {
        let (healthy, resident) = start(&binary, dir.path(), Duration::from_secs(args.rest))?;
        println!(
            "up: healthy {} ms after exec; {resident:.1} MiB after {} s of rest",
            healthy.as_millis(),
            args.rest
        );
    }
    for _ in 0..args.times {
        let folder = tempfile::tempdir()?;
        let started = Instant::now();
        let demo = Command::new(&binary).arg("demo").current_dir(folder.path()).output()?;
        if !demo.status.success() {
            bail!("the demo failed: {}", String::from_utf8_lossy(&demo.stderr));
        }
        println!("demo: {:.2} s", started.elapsed().as_secs_f64());
    }
    Ok(())
}

/// Starts a server and ends it; gives the time from exec to its first healthy answer, and its memory in MiB.
fn start(binary: &Path, dir: &Path, rest: Duration) -> Result<(Duration, f64)> {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut command = Command::new(binary);
    command.args(["up", "--json", "--data-dir", "data", "--port", &port.to_string()]).current_dir(dir);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let started = Instant::now();
    let mut server = Ended(command.spawn()?);
    while !is_healthy(port) {
        if started.elapsed() > Duration::from_secs(30) {
            bail!("windrow up answered nothing for 30 s");
        }
        sleep(Duration::from_millis(1));
    }
    let healthy = started.elapsed();
    let stdout = server.0.stdout.take().context("it is piped")?;
    let mut hello = String::new();
    BufReader::new(stdout).read_line(&mut hello)?;
    let _: serde_json::Value = serde_json::from_str(&hello).context("it says where it listens")?;
    sleep(rest);
    Ok((healthy, gauge::rss(server.0.id())? as f64 / 1024.0))
}

fn is_healthy(port: u16) -> bool {
    let asked = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.starts_with("HTTP/1.1 200"))
    };
    asked().unwrap_or(false)
}

/// A process that is ended when it is dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // it may have ended by itself
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
