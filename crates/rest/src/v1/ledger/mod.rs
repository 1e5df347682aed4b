//! Money.

mod rollups;
mod settle;
mod unconfirmed;

use crate::{ApiRouter, routes};

pub(crate) fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(rollups::rollups))
        .routes(routes!(unconfirmed::unconfirmed))
        .routes(routes!(settle::settle))
}
