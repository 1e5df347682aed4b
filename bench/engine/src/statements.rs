//! How many statements one claim and one completion of a batch are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use windrow_bench_rig::Load;
use windrow_store::fault::{FaultHook, FaultPoint};
use windrow_store::hot::{End, EndRun};
use windrow_store::{Db, Store, StoreOptions};

#[derive(Debug, Default)]
struct Counter(AtomicU64);

impl FaultHook for Counter {
    fn strikes(&self, point: FaultPoint<'_>) -> bool {
        if matches!(point, FaultPoint::Statement(_)) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        false
    }
}

/// Of a full batch from a long line, without BEGIN and COMMIT.
pub async fn count(db: Db, slots: usize) -> Result<BTreeMap<&'static str, u64>> {
    let counter = Arc::new(Counter::default());
    let hook: windrow_store::fault::SharedFaultHook = Arc::<Counter>::clone(&counter);
    let clock = windrow_core::SystemClock::shared();
    let store = Store::open(db.with_faults(hook), clock, StoreOptions::default()).await?;
    let load = Load::new(store.clone(), slots).await?;
    load.submit_bulk(slots * 4, 10, 1).await?;
    let mut counts = BTreeMap::new();
    // the second batch: the first one's cursor knows nothing yet
    for _ in 0..2 {
        counter.0.store(0, Ordering::Relaxed);
        let claimed = store.claim(load.request()).await?;
        counts.insert("claim", counter.0.swap(0, Ordering::Relaxed));
        let ends = claimed.iter().map(|run| EndRun { at: run.at, end: End::Complete(None) }).collect();
        store.end_runs(ends).await?;
        counts.insert("complete", counter.0.swap(0, Ordering::Relaxed));
    }
    load.execute_all().await?;
    store.close().await;
    Ok(counts)
}
