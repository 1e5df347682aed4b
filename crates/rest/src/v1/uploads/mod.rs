//! Objects that users put.

mod complete;
mod create;
mod list;
mod show;

use crate::{ApiRouter, routes};

pub(crate) fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(create::create))
        .routes(routes!(complete::complete))
        .routes(routes!(show::show))
        .routes(routes!(list::list))
}
