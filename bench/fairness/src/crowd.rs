//! One owner with a long line, and ninety-nine who come by now and then.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use windrow_bench_rig::{self as rig, Load, Pickups, Place, RunningJobs, load, quantile};
use windrow_store::Store;

use crate::Args;

/// So many runs of so long each: 5,000 jobs a second, so that a line of 100,000 lasts longer than what is measured.
const SLOTS: usize = 100;
const LASTS: Duration = Duration::from_millis(20);

/// Between two jobs of the others, all of them together.
const PAUSE: Duration = Duration::from_millis(10);

pub async fn measure(args: &Args, place: &Place) -> Result<()> {
    let store = place.open().await?;
    let pickups = Arc::new(Pickups::default());
    let told = Arc::clone(&pickups);
    let settings = rig::Settings {
        slots: SLOTS,
        lasts: LASTS,
        ran: Box::new(move |job| told.ran(job)),
        ..rig::Settings::default()
    };
    let worker = rig::start(&store, settings, place.dir(), true).await?;
    let time = Duration::from_secs(args.seconds);
    let idle = others(&store, &pickups, time).await?;
    tell(place, "99 owners' pickup, nothing else to do", &idle);
    let before = worker.count();
    Load::new(store.clone(), SLOTS).await?.submit_bulk(args.crowd, 1, 4).await?;
    let crowded = others(&store, &pickups, time).await?;
    let left = left(args, &worker, before, crowded.len());
    tell(place, &format!("one owner has {} queued", args.crowd), &crowded);
    let more = (quantile(&crowded, 99).as_secs_f64() - quantile(&idle, 99).as_secs_f64()) * 1e3;
    println!("{:<10} p99 is {more:.1} ms above idle; {left} of the one owner's jobs were left", place.name());
    ensure!(left > 0, "the line was too short for {} s: give a larger --crowd", args.seconds);
    worker.stop().await?;
    store.close().await;
    Ok(())
}

/// How many of the one owner's jobs had not begun when the others had.
fn left(args: &Args, worker: &RunningJobs, before: usize, others: usize) -> usize {
    args.crowd.saturating_sub(worker.count() - before - others)
}

/// Jobs of the owners 1 to 99 in turn; gives their latencies, ascending.
async fn others(store: &Store, pickups: &Pickups, time: Duration) -> Result<Vec<Duration>> {
    let started = Instant::now();
    let mut ticks = tokio::time::interval(PAUSE);
    let mut owner = 0;
    while started.elapsed() < time {
        ticks.tick().await;
        owner = owner % 99 + 1;
        pickups.submit(store, vec![load::job(store, owner)]).await?;
    }
    while pickups.waiting() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(pickups.take())
}

fn tell(place: &Place, what: &str, latencies: &[Duration]) {
    let at = |share| quantile(latencies, share).as_secs_f64() * 1e3;
    println!("{:<10} {what:<40} p50 {:.2} ms, p99 {:.2} ms", place.name(), at(50), at(99));
}
