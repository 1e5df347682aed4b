//! Jobs: submit, look, decide.

mod approve;
mod artifacts;
mod cancel;
mod children;
mod events;
mod ledger;
mod list;
mod reject;
mod retry;
mod runs;
mod show;
mod submit;
mod submit_batch;

use crate::{ApiRouter, routes};

pub(crate) fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(submit::submit))
        .routes(routes!(list::list))
        .routes(routes!(show::show))
        .routes(routes!(cancel::cancel))
        .routes(routes!(retry::retry))
        .routes(routes!(approve::approve))
        .routes(routes!(reject::reject))
        .routes(routes!(runs::runs))
        .routes(routes!(ledger::ledger))
        .routes(routes!(artifacts::artifacts))
        .routes(routes!(children::children))
        .routes(routes!(events::events))
}

/// Apart, because a batch's body may be larger than others.
pub(crate) fn batch_routes() -> ApiRouter {
    ApiRouter::new().routes(routes!(submit_batch::submit_batch))
}
