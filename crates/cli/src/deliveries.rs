//! What the keeper has told to the outside: webhooks, by the use case that signs and sends them.

use async_trait::async_trait;
use windrow_app::App;
use windrow_runtime::Deliver;

pub(crate) struct Deliveries(pub(crate) App);

#[async_trait]
impl Deliver for Deliveries {
    async fn deliver(&self) -> Result<usize, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.0.deliver_webhooks().await?)
    }
}
