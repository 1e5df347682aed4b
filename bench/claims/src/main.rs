//! Whether a claim takes longer when the tables are full: its latency with a thousand ready jobs against a million ready and a
//! million scheduled ones, before and after ANALYZE, with one owner and with a thousand, on both databases.
//!
//! `cargo run --release -p windrow-bench-claims`. The statements of the claim are timed apart from their commit, whose
//! time is the disk's. What a claim takes is ended and replaced, so that the tables stay as full as they were.
#![allow(clippy::print_stdout, reason = "a report is printed")]

use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser;
use futures::future::try_join_all;
use windrow_bench_gauge as gauge;
use windrow_bench_rig::{Load, Place, Where, load, quantile};
use windrow_core::Timestamp;
use windrow_store::Store;
use windrow_store::hot::{self, Cursor, End, EndRun, NewJob};

/// Jobs of one submit, and submits at once, while the tables are filled.
const BULK: usize = 1_000;
const CLIENTS: usize = 4;

/// How far in the future the first scheduled job is, in microseconds: a day.
const LATER: i64 = 24 * 3600 * 1_000_000;

/// Claims that are not counted: the statements are prepared in them.
const WARM_UP: usize = 20;

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    place: Where,
    /// Ready jobs of the short line.
    #[arg(long, default_value_t = 1_000)]
    few: usize,
    /// Ready jobs of the long line.
    #[arg(long, default_value_t = 1_000_000)]
    ready: usize,
    /// Scheduled jobs beside the long line.
    #[arg(long, default_value_t = 1_000_000)]
    scheduled: usize,
    /// Jobs that one claim takes.
    #[arg(long, default_value_t = 10)]
    slots: usize,
    /// Claims that are timed.
    #[arg(long, default_value_t = 2_000)]
    samples: usize,
    /// See that everything runs: 20,000 jobs, 200 claims.
    #[arg(long)]
    quick: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = Args::parse();
    if args.quick {
        (args.ready, args.scheduled, args.samples) = (20_000, 20_000, 200);
    }
    for database in args.place.databases() {
        for owners in [1, 1_000] {
            let mut few = Vec::new();
            let mut place = args.place.place(database)?;
            Line { args: &args, place: &place, owners, ready: args.few, scheduled: 0 }
                .measure(&mut few, None)
                .await?;
            place = args.place.place(database)?;
            let (ready, scheduled) = (args.ready, args.scheduled);
            Line { args: &args, place: &place, owners, ready, scheduled }
                .measure(&mut Vec::new(), Some(&few))
                .await?;
        }
    }
    Ok(())
}

/// Tables that are so full.
struct Line<'a> {
    args: &'a Args,
    place: &'a Place,
    owners: u64,
    ready: usize,
    scheduled: usize,
}

/// Latencies of claims, ascending: of their statements, and with the commit.
struct Claims {
    statements: Vec<Duration>,
    committed: Vec<Duration>,
}

impl Line<'_> {
    /// Before ANALYZE and after it; against a shorter line's where there is one.
    async fn measure(&self, measured: &mut Vec<Claims>, shorter: Option<&[Claims]>) -> Result<()> {
        let store = self.place.open().await?;
        let clock = store.clock().clone();
        let started = Instant::now();
        self.fill(&store, self.ready, Timestamp::from_micros(0)).await?;
        self.fill(&store, self.scheduled, Timestamp::from_micros(clock.now().as_micros() + LATER)).await?;
        println!(
            "{:<10} {:>5} owners, {} ready, {} scheduled, filled in {:.0} s; load {}, {:.0} fdatasync/s",
            self.place.name(),
            self.owners,
            self.ready,
            self.scheduled,
            started.elapsed().as_secs_f64(),
            gauge::load()?,
            gauge::syncs(self.place.dir())?
        );
        let load = Load::new(store.clone(), self.args.slots).await?;
        for analysed in [false, true] {
            if analysed {
                let mut tx = store.db().begin().await?;
                tx.raw("ANALYZE").await?;
                tx.commit().await?;
            }
            let claims = self.claim(&store, &load).await?;
            let than = shorter.and_then(|shorter| shorter.get(measured.len()));
            self.tell(if analysed { "after ANALYZE" } else { "before ANALYZE" }, &claims, than);
            measured.push(claims);
        }
        store.close().await;
        Ok(())
    }

    /// Submits so many jobs of all owners in turn, due at `run_at` and the microseconds after it.
    async fn fill(&self, store: &Store, jobs: usize, run_at: Timestamp) -> Result<()> {
        let clients = (0..CLIENTS).map(|client| async move {
            for first in (client * BULK..jobs).step_by(CLIENTS * BULK) {
                let batch = (first..jobs.min(first + BULK)).map(|n| self.job(store, n as u64, run_at));
                store.submit(batch.collect()).await?;
            }
            Ok::<_, anyhow::Error>(())
        });
        try_join_all(clients).await?;
        Ok(())
    }

    fn job(&self, store: &Store, n: u64, run_at: Timestamp) -> NewJob {
        let after = i64::try_from(n).unwrap_or(0);
        let run_at = Timestamp::from_micros(run_at.as_micros() + after);
        NewJob { run_at, ..load::job(store, n % self.owners) }
    }

    async fn claim(&self, store: &Store, load: &Load) -> Result<Claims> {
        let mut cursor = Cursor::new(0);
        let request = load.request();
        let (mut statements, mut committed) = (Vec::new(), Vec::new());
        for sample in 0..self.args.samples + WARM_UP {
            let mut tx = store.db().begin().await?;
            let (now, tick, began) = (store.now(), store.clock().monotonic(), Instant::now());
            let claimed = hot::claim(&mut tx, &request, &mut cursor, now, tick).await?;
            let took = began.elapsed();
            tx.commit().await?;
            if sample >= WARM_UP {
                statements.push(took);
                committed.push(began.elapsed());
            }
            let ends = claimed.iter().map(|run| EndRun { at: run.at, end: End::Complete(None) });
            let jobs = claimed.iter().map(|run| {
                let owner = u64::try_from(run.owner.0).unwrap_or(0);
                load::job(store, owner)
            });
            let (ended, submitted) =
                futures::join!(store.end_runs(ends.collect()), store.submit(jobs.collect()));
            ended?;
            submitted?;
        }
        statements.sort_unstable();
        committed.sort_unstable();
        Ok(Claims { statements, committed })
    }

    fn tell(&self, when: &str, claims: &Claims, than: Option<&Claims>) {
        let at = |of: &[Duration], share| quantile(of, share).as_secs_f64() * 1e3;
        let compared = than.map_or_else(String::new, |than| {
            let times = |of: fn(&Claims) -> &Vec<Duration>| at(of(claims), 99) / at(of(than), 99);
            let (statements, committed) =
                (times(|claims| &claims.statements), times(|claims| &claims.committed));
            format!("; p99 is {statements:.2} times the short line's, with the commit {committed:.2} times")
        });
        println!(
            "{:<10} {:>5} owners, {:>8} ready, {when:<14} claim of {} p50 {:.2} p99 {:.2} ms, with its commit p50 {:.2} \
             p99 {:.2} ms{compared}",
            self.place.name(),
            self.owners,
            self.ready,
            self.args.slots,
            at(&claims.statements, 50),
            at(&claims.statements, 99),
            at(&claims.committed, 50),
            at(&claims.committed, 99),
        );
    }
}
