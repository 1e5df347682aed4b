//! The ledger's sums are made here, never in the transaction that settles a call; rows that are in them go some day.

use std::time::Duration;

use windrow_store::{Store, StoreError, ledger};

use super::chore::{Chore, Next};
use super::{KeeperError, KeeperParts, PAGE};

/// Adds new rows to the sums, from the watermark on.
pub(super) struct RollUps {
    store: Store,
}

impl RollUps {
    pub(super) fn new(parts: &KeeperParts) -> Self {
        Self { store: parts.store.clone() }
    }
}

impl Chore for RollUps {
    const NAME: &'static str = "roll_ups";

    async fn turn(&mut self) -> Result<Next, KeeperError> {
        // Finding out how far the ledger is settled holds its writers up for a moment: not for nothing.
        if !ledger::behind(&mut self.store.read().await?).await? {
            return Ok(Next::Usual);
        }
        let high = match self.store.alone(|tx| Box::pin(ledger::settled_up_to(tx))).await {
            Ok(high) => high,
            // Somebody writes to it for longer than it is worth waiting.
            Err(StoreError::Busy(why)) => {
                tracing::debug!(why, "the ledger's sums are made later");
                return Ok(Next::Usual);
            }
            Err(error) => return Err(error.into()),
        };
        while self.store.unit(move |tx| Box::pin(ledger::roll_up(tx, high, PAGE))).await? > 0 {}
        Ok(Next::Usual)
    }
}

/// Deletes rows that are old and in the sums.
pub(super) struct OldRows {
    store: Store,
    keep: Duration,
}

impl OldRows {
    pub(super) fn new(parts: &KeeperParts) -> Self {
        Self { store: parts.store.clone(), keep: parts.settings.keep_ledger }
    }
}

impl Chore for OldRows {
    const NAME: &'static str = "old_ledger_rows";

    async fn turn(&mut self) -> Result<Next, KeeperError> {
        let before = self.store.now().minus(self.keep);
        while self.store.unit(move |tx| Box::pin(ledger::delete_old(tx, before, PAGE))).await?
            >= u64::from(PAGE)
        {}
        Ok(Next::Usual)
    }
}

/// Deletes sums of jobs that are gone: of calls that were settled after their job was deleted.
pub(super) struct OrphanedSums {
    store: Store,
}

impl OrphanedSums {
    pub(super) fn new(parts: &KeeperParts) -> Self {
        Self { store: parts.store.clone() }
    }
}

impl Chore for OrphanedSums {
    const NAME: &'static str = "orphaned_sums";

    async fn turn(&mut self) -> Result<Next, KeeperError> {
        while self.store.unit(|tx| Box::pin(ledger::delete_orphans(tx, PAGE))).await? >= u64::from(PAGE) {}
        Ok(Next::Usual)
    }
}
