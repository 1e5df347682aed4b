//! What caps cost those who have none.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use windrow_bench_rig::{self as rig, Load, Place};
use windrow_core::OwnerId;
use windrow_store::Store;
use windrow_store::hot::Caps;

use crate::Args;

const OWNERS: u64 = 100;

/// Measured until nine in ten jobs have begun: at the end only the capped owners' are left, which are meant to be slow.
const SHARE: (usize, usize) = (9, 10);

pub async fn measure(args: &Args, place: &Place) -> Result<()> {
    let store = place.open().await?;
    let tenth = (0..OWNERS).step_by(10).map(|owner| (OwnerId(i64::try_from(owner).unwrap_or(0)), args.cap));
    let caps = Caps { owners: HashMap::from_iter(tenth), ..Caps::default() };
    let (mut without, mut with) = (Vec::new(), Vec::new());
    // alternately, so that a machine that slows down slows both
    for _ in 0..args.times {
        without.push(execute(args, place, &store, Caps::default()).await?);
        with.push(execute(args, place, &store, caps.clone()).await?);
    }
    store.close().await;
    let (without, with) = (median(without), median(with));
    let slower = (1.0 - with / without) * 100.0;
    println!(
        "{:<10} {without:.0} jobs/s without caps, {with:.0} with one owner in ten capped at {}: {slower:.1} % slower",
        place.name(),
        args.cap
    );
    Ok(())
}

/// Jobs a second.
async fn execute(args: &Args, place: &Place, store: &Store, caps: Caps) -> Result<f64> {
    let settings = rig::Settings { caps, ..rig::Settings::default() };
    Load::new(store.clone(), settings.slots).await?.submit_bulk(args.jobs, OWNERS, 4).await?;
    let wanted = args.jobs * SHARE.0 / SHARE.1;
    let started = Instant::now();
    let worker = rig::start(store, settings, place.dir(), true).await?;
    while worker.count() < wanted {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let rate = f64::from(u32::try_from(wanted)?) / started.elapsed().as_secs_f64();
    while worker.count() < args.jobs || worker.held() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    worker.stop().await?;
    Ok(rate)
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
