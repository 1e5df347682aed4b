//! Users, by admins.

mod change;
mod list;
mod show;

use crate::{ApiRouter, routes};

pub(crate) fn routes() -> ApiRouter {
    ApiRouter::new().routes(routes!(list::list)).routes(routes!(show::show)).routes(routes!(change::change))
}
