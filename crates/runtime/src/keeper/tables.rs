//! Upkeep of the tables themselves.

use std::time::Duration;

use windrow_core::WorkerId;
use windrow_store::{Store, hot};

use super::chore::{Chore, Next};
use super::{KeeperError, KeeperParts, PAGE};

/// Frees what claims and completions leave behind in PostgreSQL's hot tables.
pub(super) struct Vacuum {
    store: Store,
}

impl Vacuum {
    pub(super) fn new(parts: &KeeperParts) -> Self {
        Self { store: parts.store.clone() }
    }
}

impl Chore for Vacuum {
    const NAME: &'static str = "vacuum";

    async fn turn(&mut self) -> Result<Next, KeeperError> {
        hot::vacuum(self.store.db()).await?;
        Ok(Next::Usual)
    }
}

/// Forgets leases of runs that have ended.
pub(super) struct EndedLeases {
    store: Store,
}

impl EndedLeases {
    pub(super) fn new(parts: &KeeperParts) -> Self {
        Self { store: parts.store.clone() }
    }
}

impl Chore for EndedLeases {
    const NAME: &'static str = "ended_leases";

    async fn turn(&mut self) -> Result<Next, KeeperError> {
        self.store.unit(|tx| Box::pin(hot::sweep_leases(tx))).await?;
        Ok(Next::Usual)
    }
}

/// Removes the rows of workers that ended long ago and that no run names: each start of a process leaves one.
pub(super) struct EndedWorkers {
    store: Store,
    keep: Duration,
}

impl EndedWorkers {
    pub(super) fn new(parts: &KeeperParts) -> Self {
        Self { store: parts.store.clone(), keep: parts.settings.keep_workers }
    }
}

impl Chore for EndedWorkers {
    const NAME: &'static str = "ended_workers";

    async fn turn(&mut self) -> Result<Next, KeeperError> {
        let before = self.store.now().minus(self.keep);
        let mut after = WorkerId(0);
        loop {
            let mut conn = self.store.read().await?;
            let (free, last) = hot::forgotten_workers(&mut conn, after, before, PAGE).await?;
            drop(conn);
            let Some(last) = last else { return Ok(Next::Usual) };
            after = last;
            if !free.is_empty() {
                let sweep = self.store.unit(move |tx| {
                    let free = free.clone();
                    Box::pin(async move { hot::sweep_workers(tx, &free).await })
                });
                sweep.await?;
            }
        }
    }
}
