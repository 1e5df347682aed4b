//! What waits to be told to the outside is told.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::KeeperError;
use super::chore::{Chore, Next};

/// Whoever tells the outside what waits for it: webhooks. What is told, and how, is above this crate.
#[async_trait]
pub trait Deliver: Send + Sync {
    /// Tries some of what is due; gives how many, 0 when nothing is. May be dropped wherever it waits: what was not noted as
    /// told is told again.
    ///
    /// # Errors
    /// Why nothing could be tried, or what was told could not be noted.
    async fn deliver(&self) -> Result<usize, Box<dyn std::error::Error + Send + Sync>>;
}

pub(super) struct Deliveries(pub(super) Arc<dyn Deliver>);

impl Chore for Deliveries {
    const NAME: &'static str = "deliveries";

    async fn turn(&mut self) -> Result<Next, KeeperError> {
        let tried = self.0.deliver().await.map_err(KeeperError::Deliver)?;
        // there may be more than one turn tries
        Ok(if tried == 0 { Next::Usual } else { Next::In(Duration::ZERO) })
    }
}
