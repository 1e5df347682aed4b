//! The seam between Windrow and whoever runs a model.

use std::fmt;

use async_trait::async_trait;

use crate::error::ModelError;
use crate::request::ModelRequest;
use crate::response::ModelResponse;

/// Somebody who runs models.
///
/// `complete` makes exactly one attempt: every attempt reserves money anew, so retries belong to the caller
/// ([`ModelError::advice`]). `request.model` is a resolved id; a provider strips its own prefix from it.
#[async_trait]
pub trait ModelProvider: Send + Sync + fmt::Debug {
    /// The name in the configuration: what stands before the colon of a model id.
    fn name(&self) -> &str;

    async fn complete(&self, request: &ModelRequest) -> Result<ModelResponse, ModelError>;
}
