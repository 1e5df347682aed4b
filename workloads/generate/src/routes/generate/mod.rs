//! `/v1/generate`: what the workload knows about datasets besides their jobs.

mod estimate;
mod make_seeds;
mod records;
mod seed_check;

use windrow_rest::{ApiRouter, routes};

pub(super) fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(estimate::estimate))
        .routes(routes!(seed_check::seed_check))
        .routes(routes!(make_seeds::make_seeds))
        .routes(routes!(records::records))
}
