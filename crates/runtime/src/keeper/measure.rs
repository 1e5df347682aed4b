//! How the queue stands, as metrics.

use std::collections::HashSet;

use windrow_store::dead_letters::{self, DeadLetterFilter};
use windrow_store::depth::{Depth, depths};
use windrow_store::{Store, StoreError};

use super::chore::{Chore, Next};
use super::{KeeperError, KeeperParts};

/// Sets `windrow_jobs` (by workload and place), `windrow_queue_lag_seconds` (by workload: how long the oldest job that may
/// be claimed has waited) and `windrow_dead_letters`. What is empty is told as zero once it has been told as something; the
/// queue of a known workload always.
pub(super) struct Gauges {
    store: Store,
    told: HashSet<(String, String)>,
}

impl Gauges {
    pub(super) fn new(parts: &KeeperParts) -> Self {
        // so that the first turn tells every queue, an empty one too
        let told = parts.registry.names().map(|workload| (workload.to_owned(), "queued".to_owned()));
        Self { store: parts.store.clone(), told: told.collect() }
    }

    pub(super) async fn measure(&self) -> Result<(Vec<Depth>, i64), StoreError> {
        let mut conn = self.store.read().await?;
        let dead = dead_letters::count(&mut conn, &DeadLetterFilter::default()).await?;
        Ok((depths(&mut conn).await?, dead))
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of rows are far below 2^52")]
    fn tell(&mut self, depth: &Depth) {
        let Depth { workload, place, jobs, oldest } = depth;
        metrics::gauge!("windrow_jobs", "workload" => workload.clone(), "place" => place.clone())
            .set(*jobs as f64);
        if place == "queued" {
            let lag = oldest.map_or(0.0, |oldest| self.store.now().since(oldest).as_secs_f64());
            metrics::gauge!("windrow_queue_lag_seconds", "workload" => workload.clone()).set(lag);
        }
    }
}

impl Chore for Gauges {
    const NAME: &'static str = "gauges";

    async fn turn(&mut self) -> Result<Next, KeeperError> {
        let (depths, dead) = self.measure().await?;
        let full: HashSet<_> =
            depths.iter().map(|depth| (depth.workload.clone(), depth.place.clone())).collect();
        for (workload, place) in self.told.difference(&full).cloned().collect::<Vec<_>>() {
            self.tell(&Depth { workload, place, jobs: 0, oldest: None });
        }
        for depth in &depths {
            self.tell(depth);
        }
        self.told = full;
        #[expect(clippy::cast_precision_loss, reason = "counts of rows are far below 2^52")]
        metrics::gauge!("windrow_dead_letters").set(dead as f64);
        Ok(Next::Usual)
    }
}
