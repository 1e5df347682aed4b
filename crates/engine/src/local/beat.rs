//! Signs of life: this process's own, and renewals of the leases that it serves.

use std::time::Duration;

use async_trait::async_trait;
use windrow_api_types::worker::{BeatReply, RunRef, StopReason};
use windrow_store::hot::{self, Beat, Fenced};
use windrow_store::{Db, Dialect};

use super::{LocalEngine, at};
use crate::{Beater, EngineError};

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
}
