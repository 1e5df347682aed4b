//! The workloads of this build. Adding one is a line here and a feature in `Cargo.toml`.

use std::sync::Arc;

use windrow_engine::{Workload, WorkloadRegistry};
use windrow_plugin::Plugin;
use windrow_store::MigrationSet;

pub(crate) fn plugins() -> Vec<Plugin> {
    vec![
        #[cfg(feature = "generate")]
        windrow_generate::plugin(),
    ]
}

/// The platform's migrations, then the workloads'.
pub(crate) fn migrations(plugins: &[Plugin]) -> Vec<MigrationSet> {
    let mut sets = vec![windrow_store::migrate::PLATFORM];
    sets.extend(plugins.iter().map(|plugin| plugin.migrations));
    sets
}

pub(crate) fn registry(plugins: &[Plugin]) -> WorkloadRegistry {
    let workloads = plugins.iter().map(|plugin| Arc::clone(&plugin.workload) as Arc<dyn Workload>);
    WorkloadRegistry::new(workloads)
}
