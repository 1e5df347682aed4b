//! The one value that the composition root takes.

use std::sync::Arc;

use windrow_plugin::Plugin;

use crate::routes::routes;
use crate::store::MIGRATIONS;
use crate::workload::Generate;

/// The workload, whole.
pub fn plugin() -> Plugin {
    Plugin {
        workload: Arc::new(Generate),
        migrations: MIGRATIONS,
        routes: routes(),
        samples: crate::samples::objects(),
        commands: crate::commands::commands(),
    }
}
