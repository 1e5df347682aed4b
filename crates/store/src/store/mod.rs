//! One process's way to one database: all writes go through a batcher, reads have connections of their own, and whoever
//! waits for work or for a cancel is woken.

mod batch;
mod batcher;
mod lanes;
mod log;
mod looker;
mod operations;
mod unit;
mod wake;

pub use unit::UnitFuture;
pub use wake::Wakes;

use std::sync::Arc;

use tokio::sync::watch;
use windrow_core::{SharedClock, Timestamp};

use crate::{Conn, Db, StoreError};
use batcher::Batcher;
use lanes::Lanes;

/// How a store works.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// Where the process's first round of claims starts: a random number, so that processes start apart.
    pub random: u64,
    /// The most rows that one commit takes from typed operations.
    pub max_batch: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { random: 0, max_batch: 2_000 }
    }
}

/// One database with its batchers and its wake-ups. Cheap to clone; the batchers end when the last clone is gone, or by
/// [`Store::close`].
#[derive(Clone, Debug)]
pub struct Store {
    db: Db,
    clock: SharedClock,
    lanes: Lanes,
    wakes: Wakes,
    fatal: watch::Receiver<Option<StoreError>>,
    done: Arc<watch::Receiver<bool>>,
}

impl Store {
    /// Starts the batchers of a migrated database, and on PostgreSQL what sends and hears notifications.
    pub async fn open(db: Db, clock: SharedClock, options: StoreOptions) -> Result<Self, StoreError> {
        let (fatal_in, fatal) = watch::channel(None);
        let wakes = Wakes::start(&db).await?;
        let mut batchers = Vec::new();
        for _ in 0..Lanes::count(db.dialect()) {
            let fatal = fatal_in.clone();
            batchers.push(Batcher::new(db.clone(), Arc::clone(&clock), options, wakes.clone(), fatal).await?);
        }
        let (lanes, done) = Lanes::start(batchers);
        Ok(Self { db, clock, lanes, wakes, fatal, done: Arc::new(done) })
    }

    pub const fn db(&self) -> &Db {
        &self.db
    }

    pub const fn clock(&self) -> &SharedClock {
        &self.clock
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A connection for reads; see [`Db::read`].
    pub async fn read(&self) -> Result<Conn, StoreError> {
        self.db.read().await
    }

    /// Who hears of new work and of cancels.
    pub const fn wakes(&self) -> &Wakes {
        &self.wakes
    }

    /// Returns when the disk under the database has failed: what the process says from then on is not kept, so it must
    /// end.
    pub async fn failed(&self) -> StoreError {
        let mut fatal = self.fatal.clone();
        match fatal.wait_for(Option::is_some).await {
            Ok(error) => error.clone().unwrap_or(StoreError::Closed),
            // the batchers ended in order
            Err(_) => std::future::pending().await,
        }
    }

    /// Whether nothing will be written any more: after [`Store::close`], or when a batcher ended by a failure.
    pub fn is_closed(&self) -> bool {
        *self.done.borrow() || self.done.has_changed().is_err()
    }

    /// Answers what has been asked, then ends the batchers and closes all connections.
    pub async fn close(&self) {
        self.lanes.close();
        let mut done = (*self.done).clone();
        let _ = done.wait_for(|done| *done).await;
        self.wakes.stop();
        self.db.close().await;
    }
}
