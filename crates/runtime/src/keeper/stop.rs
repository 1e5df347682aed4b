//! Stops children of parents that were cancelled, have ended, or lost a child for good.

use windrow_store::Store;

use super::chore::{Chore, Next};
use super::{KeeperError, KeeperParts};

pub(super) struct Stopper {
    store: Store,
}

impl Stopper {
    pub(super) fn new(parts: &KeeperParts) -> Self {
        Self { store: parts.store.clone() }
    }
}

impl Chore for Stopper {
    const NAME: &'static str = "stop_children";

    async fn turn(&mut self) -> Result<Next, KeeperError> {
        let stopped = self.store.stop_children().await?;
        if stopped > 0 {
            tracing::debug!(stopped, "children were stopped");
        }
        Ok(Next::Usual)
    }
}
