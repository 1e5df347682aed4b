//! Looks below the marks of claims, on a connection of its own, so that no claim waits for it: dead index entries that a
//! long read keeps from VACUUM would cost each claim tens of milliseconds. Only PostgreSQL's claims leave marks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::wake::Wakes;
use crate::hot::{Cursor, LineKey, below_marks};
use crate::{Db, StoreError};

/// How long what came in below a mark waits at most for a look while claims take all that they can.
const AT_LEAST_EVERY: Duration = Duration::from_secs(1);

/// Claims that could take more ask for a look at once. It comes so long after the last one, or when that one has taken no more
/// than a tenth of the time.
const AT_MOST_EVERY: Duration = Duration::from_millis(20);
const REST: u32 = 9;

#[derive(Debug)]
pub(super) struct Looker {
    marks: watch::Sender<Vec<LineKey>>,
    asked: Instant,
    found: Arc<Found>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Found {
    keys: Mutex<Vec<LineKey>>,
}

impl Found {
    fn lock(&self) -> MutexGuard<'_, Vec<LineKey>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Looker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Looker {
    pub(super) fn start(db: Db, wakes: Wakes) -> Self {
        let (marks, asked) = watch::channel(Vec::new());
        let found = Arc::<Found>::default();
        let task = tokio::spawn(look(db, wakes, asked, Arc::clone(&found)));
        Self { marks, asked: Instant::now(), found, task }
    }

    /// Lets the next claim begin at what has been found.
    pub(super) fn lower(&self, cursor: &mut Cursor) {
        let found = std::mem::take(&mut *self.found.lock());
        if !found.is_empty() {
            cursor.lower(found);
        }
    }

    /// Asks for a look, if it is time for one.
    pub(super) fn after_claim(&mut self, cursor: &Cursor) {
        if cursor.came_short() || self.asked.elapsed() >= AT_LEAST_EVERY {
            self.asked = Instant::now();
            self.marks.send_replace(cursor.marks());
        }
    }
}

async fn look(db: Db, wakes: Wakes, mut marks: watch::Receiver<Vec<LineKey>>, found: Arc<Found>) {
    let mut next = Instant::now();
    while marks.changed().await.is_ok() {
        tokio::time::sleep_until(next).await;
        let marks = marks.borrow_and_update().clone();
        let began = Instant::now();
        let below = async { below_marks(&mut db.read().await?, &marks).await };
        match below.await {
            Ok(below) if below.is_empty() => {}
            Ok(below) => {
                found.lock().extend(below);
                wakes.work_here();
            }
            Err(StoreError::Closed) => return,
            Err(error) => tracing::debug!(%error, "nobody could look below the marks of claims"),
        }
        next = Instant::now() + (began.elapsed() * REST).clamp(AT_MOST_EVERY, AT_LEAST_EVERY);
    }
}
