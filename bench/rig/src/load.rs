//! The load of clients, and of a worker without the layers above the store.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use anyhow::Result;
use futures::future::try_join_all;
use windrow_core::{JobId, OwnerId, Timestamp, WorkerId};
use windrow_store::Store;
use windrow_store::hot::{Caps, ClaimRequest, Claimed, End, EndRun, NewJob, WorkerKind};

/// The workload of all jobs.
pub const WORKLOAD: &str = "noop";

/// A spec of 300 bytes.
static SPEC: LazyLock<String> = LazyLock::new(|| format!(r#"{{"text":"{}"}}"#, "x".repeat(289)));

/// Jobs of one bulk submit.
const BULK: usize = 500;

/// Clients and a worker of one store.
pub struct Load {
    store: Store,
    worker: WorkerId,
    slots: usize,
}

impl Load {
    /// Registers the worker, which takes `slots` jobs at once.
    pub async fn new(store: Store, slots: usize) -> Result<Self> {
        let worker = store.register_worker("bench".to_owned(), WorkerKind::Process).await?;
        Ok(Self { store, worker, slots })
    }

    /// So many jobs of so many owners (numbered from 0), by clients that each wait for their answer; gives how long it took.
    pub async fn submit_bulk(&self, jobs: usize, owners: u64, clients: usize) -> Result<Duration> {
        let started = Instant::now();
        let left = Arc::new(AtomicU64::new(jobs as u64));
        let tasks = (0..clients).map(|_| {
            let (store, left) = (self.store.clone(), Arc::clone(&left));
            tokio::spawn(async move {
                loop {
                    let take = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                        (left > 0).then(|| left.saturating_sub(BULK as u64))
                    });
                    let Ok(before) = take else { return Ok::<_, anyhow::Error>(()) };
                    let batch = (0..before.min(BULK as u64)).map(|n| job(&store, (before - n) % owners));
                    store.submit(batch.collect()).await?;
                }
            })
        });
        try_join_all(tasks).await?.into_iter().collect::<Result<Vec<()>>>()?;
        Ok(started.elapsed())
    }

    /// Clients that submit one job each, again and again; gives how many jobs were made in how long.
    pub async fn submit_singly(&self, clients: usize, time: Duration) -> Result<(usize, Duration)> {
        let started = Instant::now();
        let tasks = (0..clients).map(|_| {
            let store = self.store.clone();
            tokio::spawn(async move {
                let mut count = 0;
                while started.elapsed() < time {
                    store.submit(vec![job(&store, 1)]).await?;
                    count += 1;
                }
                Ok::<usize, anyhow::Error>(count)
            })
        });
        let counts = try_join_all(tasks).await?.into_iter().collect::<Result<Vec<usize>>>()?;
        Ok((counts.into_iter().sum(), started.elapsed()))
    }

    /// Claims and ends until nothing is left. The end of one batch and the claim of the next ride in one commit.
    pub async fn execute_all(&self) -> Result<Duration> {
        let started = Instant::now();
        let mut held: Vec<Claimed> = self.store.claim(self.request()).await?;
        while !held.is_empty() {
            let ends = held.iter().map(|run| EndRun { at: run.at, end: End::Complete(None) }).collect();
            let (ended, next) = futures::join!(self.store.end_runs(ends), self.store.claim(self.request()));
            ended?;
            held = next?;
        }
        Ok(started.elapsed())
    }

    /// What the worker asks for.
    pub fn request(&self) -> ClaimRequest {
        let (worker, slots) = (self.worker, self.slots);
        ClaimRequest {
            worker,
            workloads: vec![WORKLOAD.to_owned()],
            slots,
            caps: Caps::default(),
            leased: false,
        }
    }
}

/// A job of this owner that is due.
pub fn job(store: &Store, owner: u64) -> NewJob {
    NewJob {
        spec: SPEC.clone(),
        ..NewJob::plain(
            JobId::new(&**store.clock()),
            OwnerId(i64::try_from(owner).unwrap_or(i64::MAX)),
            WORKLOAD,
            Timestamp::from_micros(0),
        )
    }
}
