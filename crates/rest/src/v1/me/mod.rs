//! The caller.

mod show;
mod webhook_secret;

use crate::{ApiRouter, routes};

pub(crate) fn routes() -> ApiRouter {
    ApiRouter::new().routes(routes!(show::show)).routes(routes!(webhook_secret::webhook_secret))
}
