//! Watching jobs: one statement a tick serves all watchers of a process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;
use windrow_core::JobSeq;
use windrow_store::history::{self, Mark};
use windrow_store::{Db, StoreError};

/// How often the database is asked, while somebody watches.
const TICK: Duration = Duration::from_millis(200);

/// Who watches what. The loop that asks runs only while somebody does.
#[derive(Clone)]
pub(crate) struct Watchers {
    shared: Arc<Shared>,
}

struct Shared {
    db: Db,
    watched: Mutex<Watched>,
}

#[derive(Default)]
struct Watched {
    jobs: HashMap<JobSeq, watch::Sender<Option<Arc<Mark>>>>,
    running: bool,
}

/// Tells when there is something new about one job.
pub(crate) struct Watcher {
    changes: watch::Receiver<Option<Arc<Mark>>>,
}

impl Watcher {
    /// Waits until the job's history has grown since the last call; gives what it has come to.
    pub(crate) async fn changed(&mut self) -> Arc<Mark> {
        loop {
            if self.changes.changed().await.is_err() {
                // the loop is gone with its process: nothing will change any more, and the stream is dropped with us
                std::future::pending::<()>().await;
            }
            if let Some(mark) = self.changes.borrow_and_update().clone() {
                return mark;
            }
        }
    }
}

impl Watchers {
    pub(crate) fn new(db: Db) -> Self {
        Self { shared: Arc::new(Shared { db, watched: Mutex::default() }) }
    }

    pub(crate) fn watch(&self, job: JobSeq) -> Watcher {
        let mut watched = self.shared.lock();
        let sender = watched.jobs.entry(job).or_insert_with(|| watch::Sender::new(None));
        let changes = sender.subscribe();
        if !watched.running {
            watched.running = true;
            tokio::spawn(tick(Arc::downgrade(&self.shared)));
        }
        Watcher { changes }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Watched> {
        // a panic in between leaves the map as whole as it was
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is watched now; none when nobody watches any more, and then the loop has ended.
    fn jobs(&self) -> Option<Vec<JobSeq>> {
        let mut watched = self.lock();
        watched.jobs.retain(|_, sender| sender.receiver_count() > 0);
        if watched.jobs.is_empty() {
            watched.running = false;
            return None;
        }
        Some(watched.jobs.keys().copied().collect())
    }

    async fn look(&self, jobs: &[JobSeq]) -> Result<Vec<Mark>, StoreError> {
        history::marks(&mut self.db.read().await?, jobs).await
    }

    fn tell(&self, mark: Arc<Mark>) {
        if let Some(sender) = self.lock().jobs.get(&mark.job_seq) {
            sender.send_replace(Some(mark));
        }
    }
}

async fn tick(shared: Weak<Shared>) {
    let mut seen: HashMap<JobSeq, Arc<Mark>> = HashMap::new();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(shared) = shared.upgrade() else { return };
        let Some(jobs) = shared.jobs() else { return };
        seen.retain(|job, _| jobs.contains(job));
        let marks = match shared.look(&jobs).await {
            Ok(marks) => marks,
            Err(error) => {
                tracing::warn!(%error, "watched jobs can't be looked at; trying again");
                continue;
            }
        };
        for mark in marks.into_iter().map(Arc::new) {
            // the first look tells too: something may have happened between the watcher's own read and this one
            if seen.get(&mark.job_seq) != Some(&mark) {
                seen.insert(mark.job_seq, Arc::clone(&mark));
                shared.tell(mark);
            }
        }
    }
}
