//! What needs no login: health, metrics, the document and its viewer, the issuer's keys, signed objects.

mod blobs;
mod health;
mod jwks;
mod metrics;

use crate::{ApiRouter, routes};

pub(crate) fn routes() -> ApiRouter {
    probes().routes(routes!(jwks::jwks)).merge(blobs::routes())
}

/// What a supervisor or a load balancer asks.
pub(crate) fn probes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(health::alive))
        .routes(routes!(health::alive_v1))
        .routes(routes!(health::ready))
        .merge(metrics::routes())
}
