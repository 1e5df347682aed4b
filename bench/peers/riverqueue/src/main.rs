//! riverqueue, on PostgreSQL and on SQLite.
//!
//! Settings: those of its own benchmark, `riverqueue bench` of the crate riverqueue-cli (2,000 workers, fetch cooldown
//! 2 ms, fetch poll 20 ms), but the shortest cooldown that `ClientBuilder::fetch_cooldown` allows, 1 ms: "throughput is
//! limited by this value". `insert_many` for bulk. SQLite as the README's section "Database support" says: WAL and a
//! busy timeout; `synchronous = FULL`, as every database here.
//!
//! Usage: `peer-riverqueue URL`; the commands on standard input are those of `measure.py`.

use std::error::Error;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use riverqueue::migrate::{PostgresMigrator, SqliteMigrator};
use riverqueue::sqlx::postgres::PgPoolOptions;
use riverqueue::sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use riverqueue::sqlx::{self, PgPool, SqlitePool};
use riverqueue::{BoxError, Client, Job, JobArgs, QueueConfig, RunHandle, WorkContext, WorkOutcome, Workers};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{sleep, timeout};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Jobs of one bulk call, and calls at once: the best of 500 to 5,000 and of 1 to 16.
const BULK: usize = 1_000;
const BULK_CLIENTS: usize = 2;

#[derive(Clone, Debug, Deserialize, JobArgs, Serialize)]
#[river(kind = "noop")]
struct Noop {
    pad: String,
}

/// 300 bytes of JSON.
fn payload() -> Noop {
    Noop { pad: "x".repeat(290) }
}

enum Pool {
    Postgres(PgPool),
    Sqlite(SqlitePool),
}

impl Pool {
    async fn open(url: &str) -> Result<Self> {
        if url.starts_with("postgres") {
            let pool = PgPoolOptions::new().max_connections(20).connect(url).await?;
            PostgresMigrator::new(pool.clone()).migrate_up().await?;
            return Ok(Self::Postgres(pool));
        }
        let options = SqliteConnectOptions::from_str(url)?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(30));
        let pool = SqlitePoolOptions::new().max_connections(5).connect_with(options).await?;
        SqliteMigrator::new(pool.clone()).migrate_up().await?;
        Ok(Self::Sqlite(pool))
    }

    /// Jobs that are not yet completed in the database.
    async fn left(&self) -> Result<u64> {
        let sql = "SELECT count(*) FROM river_job WHERE state <> 'completed'";
        let count: i64 = match self {
            Self::Postgres(pool) => sqlx::query_scalar(sql).fetch_one(pool).await?,
            Self::Sqlite(pool) => sqlx::query_scalar(sql).fetch_one(pool).await?,
        };
        Ok(u64::try_from(count)?)
    }

    /// A client with or without a worker; every job that runs is counted on the channel.
    fn client(&self, works: bool) -> Result<(Client, UnboundedReceiver<Instant>)> {
        let (ran, runs) = unbounded_channel();
        let mut builder = match self {
            Self::Postgres(pool) => Client::builder(pool.clone()),
            Self::Sqlite(pool) => Client::builder(pool.clone()),
        };
        if works {
            let mut workers = Workers::new();
            workers.add_fn(move |_: WorkContext, _: Job<Noop>| {
                let ran = ran.clone();
                async move {
                    ran.send(Instant::now()).map_err(|gone| Box::new(gone) as BoxError)?;
                    Ok::<_, BoxError>(WorkOutcome::Complete)
                }
            })?;
            let queue = QueueConfig::new(2_000).with_fetch_poll_interval(Duration::from_millis(20));
            builder = builder.workers(workers).queue("default", queue);
        }
        Ok((builder.fetch_cooldown(Duration::from_millis(1)).build()?, runs))
    }
}

/// Inserts jobs by several clients, `BULK` a call.
async fn bulk(pool: &Pool, jobs: usize, limit: Duration) -> Result<Value> {
    let (client, _) = pool.client(false)?;
    let left = Arc::new(AtomicU64::new(jobs as u64));
    let started = Instant::now();
    let clients = (0..BULK_CLIENTS).map(|_| {
        let (client, left) = (client.clone(), Arc::clone(&left));
        tokio::spawn(async move {
            while started.elapsed() < limit {
                let before = left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                        Some(left.saturating_sub(BULK as u64))
                    })
                    .unwrap_or(0);
                let batch = usize::try_from(before)?.min(BULK);
                if batch == 0 {
                    break;
                }
                client.insert_many((0..batch).map(|_| payload())).await?;
            }
            Ok::<_, Box<dyn Error + Send + Sync>>(())
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await??;
    }
    let submitted = jobs as u64 - left.load(Ordering::Relaxed);
    Ok(json!({"jobs": submitted, "seconds": started.elapsed().as_secs_f64()}))
}

/// Runs what is queued, until all of it is completed in the database or `limit` is over.
async fn work(pool: &Pool, limit: Duration) -> Result<Value> {
    let queued = pool.left().await?;
    let (client, mut runs) = pool.client(true)?;
    let started = Instant::now();
    let run = client.start()?;
    let all = async {
        for _ in 0..queued {
            runs.recv().await;
        }
    };
    let _ = timeout(limit, all).await;
    let (left, seconds) = loop {
        let asked = started.elapsed();
        let left = pool.left().await?;
        if left == 0 || asked >= limit {
            break (left, asked.as_secs_f64());
        }
        sleep(Duration::from_millis(1)).await;
    };
    stop(run).await?;
    Ok(json!({"done": queued - left, "queued": queued, "seconds": seconds}))
}

async fn single(pool: &Pool, clients: usize, time: Duration) -> Result<Value> {
    let (client, _) = pool.client(false)?;
    let started = Instant::now();
    let clients = (0..clients).map(|_| {
        let client = client.clone();
        tokio::spawn(async move {
            let mut count = 0;
            while started.elapsed() < time {
                client.insert(payload()).await?;
                count += 1;
            }
            Ok::<u64, riverqueue::Error>(count)
        })
    });
    let mut jobs = 0;
    for client in clients.collect::<Vec<_>>() {
        jobs += client.await??;
    }
    Ok(json!({"jobs": jobs, "seconds": started.elapsed().as_secs_f64()}))
}

/// From the call of an insert to the run of its job, one at a time.
async fn pickup(pool: &Pool, samples: usize, limit: Duration) -> Result<Value> {
    let (client, mut runs) = pool.client(true)?;
    let run = client.start()?;
    sleep(Duration::from_millis(500)).await;
    let (mut latencies, started) = (Vec::new(), Instant::now());
    while latencies.len() < samples && started.elapsed() < limit {
        let asked = Instant::now();
        client.insert(payload()).await?;
        let ran = runs.recv().await.ok_or("the worker ended")?;
        latencies.push(ran.duration_since(asked).as_secs_f64() * 1e3);
        sleep(Duration::from_millis(4)).await;
    }
    stop(run).await?;
    Ok(json!({"latencies": latencies}))
}

async fn stop(mut run: RunHandle) -> Result<()> {
    run.stop().await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let url = std::env::args().nth(1).ok_or("usage: peer-riverqueue URL")?;
    let pool = Pool::open(&url).await?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let mut words = line.split(' ');
        let command = words.next().unwrap_or_default();
        let numbers = words.map(str::parse::<usize>).collect::<std::result::Result<Vec<_>, _>>()?;
        let seconds = |at: usize| Duration::from_secs(numbers[at] as u64);
        let answer = match command {
            "bulk" => bulk(&pool, numbers[0], seconds(1)).await?,
            "work" => work(&pool, seconds(0)).await?,
            "single" => single(&pool, numbers[0], seconds(1)).await?,
            "pickup" => pickup(&pool, numbers[0], seconds(1)).await?,
            other => return Err(format!("no command '{other}'").into()),
        };
        println!("{answer}");
    }
    Ok(())
}
