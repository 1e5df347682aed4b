//! Somebody who reads all jobs in one snapshot, and takes their time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use windrow_store::{Db, DbOptions, fetch_one};

/// How long a snapshot stays open, and how long there is none after it.
const OPEN: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_secs(40);

/// Connections whose reads may take longer than the snapshot is open.
pub fn patient() -> DbOptions {
    DbOptions { max_connections: 1, read_limit: OPEN * 3, ..DbOptions::default() }
}

/// Sets `reading` while the snapshot is open.
pub async fn read_now_and_then(db: Db, reading: Arc<AtomicBool>) -> Result<()> {
    loop {
        tokio::time::sleep(PAUSE / 2).await;
        let mut tx = db.snapshot().await?;
        reading.store(true, Ordering::Relaxed);
        for _ in 0..2 {
            let _jobs = fetch_one!(&mut tx, scalar i64, "SELECT count(*) FROM jobs WHERE length(spec) > 0")?;
            tokio::time::sleep(OPEN / 2).await;
        }
        tx.rollback().await?;
        reading.store(false, Ordering::Relaxed);
        tokio::time::sleep(PAUSE / 2).await;
    }
}
