//! What it takes to keep running jobs alive: a process beats once for all that it runs; of remote workers each job has a lease
//! that is renewed.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use windrow_bench_rig::{self as rig, Load, Place};
use windrow_store::Store;
use windrow_store::hot::{ClaimRequest, RunRef};

use crate::Args;

/// Longer than anything here takes.
const LASTS: Duration = Duration::from_secs(24 * 3600);

/// Renewals that happen to come at the same time.
const TOGETHER: usize = 10;

/// How often a remote worker renews a lease of 30 s.
const RENEW_EVERY: Duration = Duration::from_secs(10);

pub async fn measure(args: &Args, place: &Place) -> Result<()> {
    let store = place.open().await?;
    let settings = rig::Settings { slots: args.running, lasts: LASTS, ..rig::Settings::default() };
    let worker = rig::start(&store, settings, place.dir(), true).await?;
    let time = Duration::from_secs(args.seconds);
    let idle = busy(place, rest(time)).await?;
    let load = Load::new(store.clone(), args.running).await?;
    load.submit_bulk(args.running, 100, 4).await?;
    while worker.held() < args.running {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // their start is over, with what it leaves to be cleaned
    tokio::time::sleep(Duration::from_secs(2)).await;
    let held = busy(place, rest(time)).await?;
    tell(place, &format!("{} runs of one process", args.running), held - idle);
    worker.stop().await?;
    // what it gave back is claimed as by remote workers
    let leases = leases(&store, &load, args.running).await?;
    let renewing = busy(place, renew(&store, &leases, time)).await?;
    tell(place, &format!("{} leases, each renewed alone", args.running), renewing - idle);
    store.close().await;
    Ok(())
}

/// Processor time of this process and the database's over `during`, as a share of that time on all cores.
async fn busy(place: &Place, during: impl Future<Output = Result<()>>) -> Result<f64> {
    let (ours, theirs) = place.processor()?;
    let started = Instant::now();
    during.await?;
    let elapsed = started.elapsed().as_secs_f64();
    let (ours_now, theirs_now) = place.processor()?;
    let cores = std::thread::available_parallelism()?.get();
    Ok((ours_now - ours + theirs_now - theirs) / elapsed / f64::from(u32::try_from(cores)?) * 100.0)
}

async fn rest(time: Duration) -> Result<()> {
    tokio::time::sleep(time).await;
    Ok(())
}

fn tell(place: &Place, what: &str, percent: f64) {
    println!("{:<10} {what:<40} {percent:.2} % of the processors more than an idle worker", place.name());
}

async fn leases(store: &Store, load: &Load, wanted: usize) -> Result<Vec<RunRef>> {
    let request = ClaimRequest { leased: true, slots: 500, ..load.request() };
    let mut leases = Vec::new();
    while leases.len() < wanted {
        let claimed = store.claim(request.clone()).await?;
        ensure!(!claimed.is_empty(), "only {} of {wanted} jobs are there to claim", leases.len());
        leases.extend(claimed.into_iter().map(|run| run.at));
    }
    Ok(leases)
}

/// Renews each lease every ten seconds, evenly.
async fn renew(store: &Store, leases: &[RunRef], time: Duration) -> Result<()> {
    let started = Instant::now();
    let mut ticks = tokio::time::interval(RENEW_EVERY.mul_f64(TOGETHER as f64 / leases.len() as f64));
    for some in leases.chunks(TOGETHER).cycle() {
        if started.elapsed() >= time {
            break;
        }
        ticks.tick().await;
        try_join_all(some.iter().map(|lease| store.renew(vec![*lease]))).await?;
    }
    Ok(())
}
