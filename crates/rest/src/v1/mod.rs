//! Version 1 of the API, a folder a resource and a file an operation.

mod admin_dead_letters;
mod artifacts;
mod audit;
mod dead_letters;
mod jobs;
mod keys;
mod ledger;
mod me;
mod smoke;
mod trace;
mod uploads;
mod users;
pub(crate) mod worker;
mod workloads;

use axum::extract::DefaultBodyLimit;

use crate::ApiRouter;

/// `max_batch_bytes` is the largest body of a batch.
pub(crate) fn routes(max_batch_bytes: usize) -> ApiRouter {
    let batch = jobs::batch_routes().layer(DefaultBodyLimit::max(max_batch_bytes));
    ApiRouter::new()
        .merge(batch)
        .merge(jobs::routes())
        .merge(admin_dead_letters::routes())
        .merge(dead_letters::routes())
        .merge(uploads::routes())
        .merge(artifacts::routes())
        .merge(users::routes())
        .merge(me::routes())
        .merge(keys::routes())
        .merge(audit::routes())
        .merge(ledger::routes())
        .merge(trace::routes())
        .merge(smoke::routes())
        .merge(workloads::routes())
        .merge(worker::routes())
}
