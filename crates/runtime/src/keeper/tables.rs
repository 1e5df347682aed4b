//! Upkeep of the tables themselves.

use windrow_store::{Store, hot};

use super::chore::{Chore, Next};
use super::{KeeperError, KeeperParts};

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
