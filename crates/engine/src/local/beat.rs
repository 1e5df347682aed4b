//! Signs of life: this process's own, and renewals of the leases that it serves.

use std::sync::PoisonError;
use std::time::Duration;

use async_trait::async_trait;
use windrow_api_types::worker::{BeatReply, RunRef, StopOrder, StopReason};
use windrow_core::JobSeq;
use windrow_store::hot::{self, Beat, Fenced};
use windrow_store::{Db, Dialect};

use super::runs::Runs;
use super::{LocalEngine, at};
use crate::{Beater, EngineError};

/// Up to so many runs are asked for one by one.
const FEW: usize = 256;

/// Of more it is asked what somebody wanted cancelled so lately, and of each one only now and then: by then a cancel is heard of
/// that came from a machine whose clock is later than that. (Asked one by one, twice a second, 10,000 runs took 5 % of two
/// processors.)
const LATELY: Duration = Duration::from_secs(60);
const EACH_EVERY: Duration = Duration::from_secs(10);

/// Beats through a connection of its own, opened in the thread that beats.
pub(super) struct LocalBeater {
    engine: LocalEngine,
    own: Option<Db>,
}

impl LocalBeater {
    pub(super) fn new(engine: LocalEngine) -> Self {
        Self { engine, own: None }
    }
}

#[async_trait]
impl Beater for LocalBeater {
    fn every(&self) -> Duration {
        self.engine.inner.settings.beat_every
    }

    async fn beat(&mut self, _held: &[RunRef]) -> Result<BeatReply, EngineError> {
        // One process owns an embedded database, and its end is seen by whoever takes the lock: nobody counts its beats.
        // Nor does anybody count those of an engine whose runs are held by leases.
        let db = self.engine.store().db();
        if db.dialect() == Dialect::Sqlite || self.engine.inner.settings.leased {
            return Ok(BeatReply::default());
        }
        let own = self.own.get_or_insert_with(|| db.reconnect(1));
        let mut conn = own.aside().await?;
        match hot::beat(&mut conn, self.engine.worker()).await? {
            Beat::Alive => Ok(BeatReply::default()),
            Beat::Dead => {
                drop(conn);
                self.engine.rise().await?;
                Err(EngineError::WorkerDead)
            }
        }
    }
}

impl Runs {
    /// Whether it is; then that is noted.
    fn is_time_to_ask_of_each(&self, tick: Duration) -> bool {
        let mut asked = self.cancels_asked.lock().unwrap_or_else(PoisonError::into_inner);
        let is_time = asked.is_none_or(|asked| tick.saturating_sub(asked) >= EACH_EVERY);
        if is_time {
            *asked = Some(tick);
        }
        is_time
    }
}

impl LocalEngine {
    /// A heartbeat of somebody who holds a lease of this engine ([`LocalSettings::leased`](super::LocalSettings)): renews it and says whether
    /// the run must stop.
    ///
    /// # Errors
    /// [`EngineError::Stale`] when the lease is gone.
    pub async fn renew(&self, run: RunRef) -> Result<Option<StopReason>, EngineError> {
        let served = self.served(run).await?;
        if self.inner.settings.leased {
            let renewed = self.store().renew(vec![at(run, &served)]).await?;
            if renewed.first() != Some(&Fenced::Applied) {
                return Err(EngineError::Stale);
            }
        }
        let orders = self.stop_orders(&[run]).await?;
        Ok(orders.stop.first().map(|order| order.reason))
    }

    /// Which of these runs somebody wants stopped.
    pub(super) async fn stop_orders(&self, held: &[RunRef]) -> Result<BeatReply, EngineError> {
        let (mut by_seq, unknown) = self.inner.runs.by_number(held);
        for run in unknown {
            by_seq.insert(self.served(run).await?.record.seq, run);
        }
        let tick = self.inner.parts.clock.monotonic();
        let asks_of_each = by_seq.len() <= FEW || self.inner.runs.is_time_to_ask_of_each(tick);
        let mut conn = self.store().read().await?;
        let cancelled = if asks_of_each {
            let seqs: Vec<JobSeq> = by_seq.keys().copied().collect();
            hot::poll_cancelled(&mut conn, &seqs).await?
        } else {
            hot::cancels_since(&mut conn, self.now().minus(LATELY)).await?
        };
        let runs = cancelled.iter().filter_map(|seq| by_seq.get(seq));
        let order = |run: &RunRef| StopOrder { run: *run, reason: StopReason::Cancelled };
        Ok(BeatReply { stop: runs.map(order).collect() })
    }
}
