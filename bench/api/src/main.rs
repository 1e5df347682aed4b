//! How many requests a second a server answers over HTTP: authenticated `POST /v1/jobs` by many clients at once, each answered
//! when its job is on disk; and what a thousand watchers that never read cost it.
//!
//! `cargo build --release && cargo run --release -p windrow-bench-api`. The server is the binary `windrow` with its
//! defaults, on SQLite and on a PostgreSQL cluster of the run's own; the processor time of server, database and client is told
//! apart, because they share the machine. Linux only.
#![allow(clippy::print_stdout, reason = "a report is printed")]

mod http;
mod server;
mod watchers;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use futures::future::try_join_all;
use serde_json::json;
use windrow_bench_gauge as gauge;

use http::{Connection, request};
use server::{Server, WORKLOAD};

/// Bytes of a job's spec.
const SPEC_BYTES: usize = 300;

/// Running jobs that the watchers share.
const WATCHED: usize = 10;

#[derive(Parser)]
struct Args {
    /// The binary under test.
    #[arg(long, default_value = "target/release/windrow")]
    binary: PathBuf,
    /// Clients, each with one connection and one request at a time.
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// How long each measurement takes.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// How often each is measured; all are told.
    #[arg(long, default_value_t = 3)]
    times: usize,
    /// Watchers that never read; 0 leaves that part out.
    #[arg(long, default_value_t = 1_000)]
    watchers: usize,
    /// Only this database: sqlite or postgres.
    #[arg(long)]
    only: Option<String>,
    /// Where the databases are made; default: the system's temp directory.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// See that everything runs: a second each, once, 100 watchers.
    #[arg(long)]
    quick: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut args = Args::parse();
    if args.quick {
        (args.seconds, args.times, args.watchers) = (1, 1, args.watchers.min(100));
    }
    let binary = args.binary.canonicalize().with_context(|| format!("{} is built", args.binary.display()))?;
    many_files()?;
    let dir = match &args.dir {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let wants = |name: &str| args.only.as_deref().is_none_or(|only| only == name);
    if wants("sqlite") {
        let home = folder(dir.path(), "sqlite")?;
        let server = Server::start(&binary, &home, None)?;
        Bench { name: "SQLite", server, cluster: None, home, args: &args }.measure().await?;
    }
    if wants("postgres") {
        let home = folder(dir.path(), "postgres")?;
        let cluster = gauge::Cluster::start(&dir.path().join("pg"))?;
        let server = Server::start(&binary, &home, Some(cluster.url()))?;
        Bench { name: "PostgreSQL", server, cluster: Some(cluster), home, args: &args }.measure().await?;
    }
    Ok(())
}

/// As many open files as the system lets this process and its children have: each watcher takes one at either end.
fn many_files() -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .context("the limit of open files is raised")
}

fn folder(dir: &Path, name: &str) -> Result<PathBuf> {
    let path = dir.join(name);
    std::fs::create_dir(&path)?;
    Ok(path)
}

/// One database under measurement.
struct Bench<'a> {
    name: &'static str,
    // ended before the cluster that it stands on
    server: Server,
    cluster: Option<gauge::Cluster>,
    home: PathBuf,
    args: &'a Args,
}

impl Bench<'_> {
    async fn measure(&self) -> Result<()> {
        let token = self.server.token("bench", "contributor")?;
        let admin = self.server.token("root", "admin")?;
        let key = self.key(&token, &["write"]).await?;
        let worker = self.key(&admin, &["worker:noop"]).await?;
        let job =
            json!({"workload": WORKLOAD, "spec": {"pad": "x".repeat(SPEC_BYTES - r#"{"pad":""}"#.len())}});
        let submit = request("POST", "/v1/jobs", &token, Some(&job));
        self.load(&submit, Duration::from_secs(1)).await?;
        for _ in 0..self.args.times {
            println!(
                "{:<10} load {}, {:.0} fdatasync/s, {} clients, {} s each",
                self.name,
                gauge::load()?,
                gauge::syncs(&self.home)?,
                self.args.clients,
                self.args.seconds
            );
            self.tell("GET /v1/me, token", &request("GET", "/v1/me", &token, None)).await?;
            self.tell("POST /v1/jobs, token", &submit).await?;
            self.tell("POST /v1/jobs, API key", &request("POST", "/v1/jobs", &key, Some(&job))).await?;
        }
        if self.args.watchers > 0 {
            self.watched(&token, &worker, &submit).await?;
        }
        Ok(())
    }

    async fn key(&self, token: &str, scopes: &[&str]) -> Result<String> {
        let body = json!({"name": "bench", "scopes": scopes});
        let mut api = Connection::open(self.server.address).await?;
        let key = api.json(&request("POST", "/v1/keys", token, Some(&body))).await?;
        Ok(key["secret"].as_str().context("a secret")?.to_owned())
    }

    /// Alternately with and without watchers, so that a machine that slows down slows both.
    async fn watched(&self, token: &str, worker: &str, submit: &[u8]) -> Result<()> {
        let address = self.server.address;
        let (jobs, running) = watchers::run_jobs(address, token, worker, WATCHED).await?;
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for _ in 0..self.args.times {
            without.push(self.tell(&format!("POST /v1/jobs, {WATCHED} jobs in progress"), submit).await?);
            let streams = watchers::watch(address, token, &jobs, self.args.watchers).await?;
            let what = format!("POST /v1/jobs, {} dead watchers of them", self.args.watchers);
            with.push(self.tell(&what, submit).await?);
            drop(streams);
        }
        if running.is_finished() {
            running.await??;
        } else {
            running.abort();
        }
        let (without, with) = (median(without), median(with));
        println!(
            "{:<10} {:<36} {:.1} %",
            self.name,
            "with watchers, of the rate without",
            with / without * 100.0
        );
        Ok(())
    }

    /// Measures one request and prints what came of it; gives the rate.
    async fn tell(&self, what: &str, request: &[u8]) -> Result<f64> {
        let before = self.processor()?;
        let time = Duration::from_secs(self.args.seconds);
        let (mut took, seconds) = self.load(request, time).await?;
        let after = self.processor()?;
        took.sort_unstable();
        let requests = f64::from(u32::try_from(took.len())?);
        let at = |share: usize| took[(took.len() - 1) * share / 100].as_secs_f64() * 1e3;
        let [server, database, client] = [0, 1, 2].map(|n| (after[n] - before[n]) / requests * 1e6);
        println!(
            "{:<10} {what:<36} {:>8.0}/s  p50 {:>6.2} ms  p99 {:>6.2} ms  processor, µs each: server {server:.0}, \
             database {database:.0}, client {client:.0}",
            self.name,
            requests / seconds,
            at(50),
            at(99)
        );
        Ok(requests / seconds)
    }

    /// Seconds of server, database and client.
    fn processor(&self) -> Result<[f64; 3]> {
        let database = self
            .cluster
            .as_ref()
            .map_or(Ok(0.0), |cluster| gauge::cpu_seconds_of_family(cluster.process()?))?;
        Ok([gauge::cpu_seconds(&self.server.process().to_string())?, database, gauge::cpu_seconds("self")?])
    }

    /// The same request by all clients, again and again; gives how long each took, and all of them.
    async fn load(&self, request: &[u8], time: Duration) -> Result<(Vec<Duration>, f64)> {
        let address = self.server.address;
        let connections = try_join_all((0..self.args.clients).map(|_| Connection::open(address))).await?;
        let started = Instant::now();
        let took = try_join_all(connections.into_iter().map(|client| ask_on(client, request, started, time)))
            .await?;
        Ok((took.into_iter().flatten().collect(), started.elapsed().as_secs_f64()))
    }
}

/// One client's requests until `time` is over.
async fn ask_on(
    mut client: Connection,
    request: &[u8],
    started: Instant,
    time: Duration,
) -> Result<Vec<Duration>> {
    let mut took = Vec::new();
    while started.elapsed() < time {
        let asked = Instant::now();
        let (status, body) = client.ask(request).await?;
        took.push(asked.elapsed());
        ensure!(status == 202 || status == 200, "answered {status}: {}", String::from_utf8_lossy(body));
    }
    Ok(took)
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
