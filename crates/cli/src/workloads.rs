//! The workloads of this build. Adding one is a line here and a feature in `Cargo.toml`.

use std::sync::Arc;

use anyhow::Context as _;
use serde_json::Value;
use windrow_config::{Config, WorkloadSection};
use windrow_engine::{RemoteWorkload, Workload, WorkloadRegistry};
use windrow_plugin::{CommandError, Plugin};
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

/// The workloads that this program has code for.
pub(crate) fn registry(plugins: &[Plugin]) -> WorkloadRegistry {
    let workloads = plugins.iter().map(|plugin| Arc::clone(&plugin.workload) as Arc<dyn Workload>);
    WorkloadRegistry::new(workloads)
}

/// What a worker of this program is told to work for must be among what it has code for: it would wait for ever.
///
/// # Errors
/// The first that it has none for.
pub(crate) fn wanted(config: &Config) -> Result<(), CommandError> {
    let ours = registry(&plugins());
    let unknown = config.worker.workloads.iter().find(|name| ours.get(name).is_none());
    unknown.map_or(Ok(()), |name| {
        let known = ours.names().collect::<Vec<_>>().join(", ");
        Err(CommandError::usage(format!(
            "this program can't work for a workload named {name:?}, it has code for {known}: mend --workload or WINDROW_WORKER_WORKLOADS"
        )))
    })
}

/// Windrow's own workloads, each a cargo feature, of which a build may lack some: their settings are no mistake.
const OWN: &[&str] = &["generate"];

/// The same, and those that the configuration registers for workers of the worker protocol.
///
/// # Errors
/// A section `[workloads.NAME]` is for no workload that there is, or its schema can't be read.
pub(crate) fn registered(plugins: &[Plugin], config: &Config) -> anyhow::Result<WorkloadRegistry> {
    let ours = registry(plugins);
    let mut workloads: Vec<Arc<dyn Workload>> =
        ours.names().filter_map(|name| ours.get(name).cloned()).collect();
    for (name, section) in &config.workloads {
        let built_in = OWN.contains(&name.as_str()) || ours.get(name).is_some();
        match &section.spec_schema {
            None if built_in => {}
            None => anyhow::bail!(
                "[workloads.{name}]: there is no workload of this name (there are {}); with a spec_schema it becomes one, for workers of the worker protocol",
                ours.names().collect::<Vec<_>>().join(", ")
            ),
            Some(_) if built_in => {
                anyhow::bail!(
                    "[workloads.{name}]: it is Windrow's own, with a schema of its own; remove spec_schema or choose another name"
                )
            }
            Some(schema) => {
                let remote = remote(name, section, schema).with_context(|| format!("[workloads.{name}]"))?;
                workloads.push(Arc::new(remote));
            }
        }
    }
    Ok(WorkloadRegistry::new(workloads))
}

/// `schema` is JSON text, or the path of a file with some.
fn remote(name: &str, section: &WorkloadSection, schema: &str) -> anyhow::Result<RemoteWorkload> {
    let schema: Value = if schema.trim_start().starts_with('{') {
        serde_json::from_str(schema).context("spec_schema is no JSON")?
    } else {
        let text = std::fs::read_to_string(schema)
            .with_context(|| format!("spec_schema: the file {schema} can't be read"))?;
        serde_json::from_str(&text).with_context(|| format!("spec_schema: the file {schema} is no JSON"))?
    };
    anyhow::ensure!(schema.is_object(), "spec_schema: a JSON Schema is an object here");
    let limits = RemoteWorkload::limits_with(section.run_deadline, section.stall_limit, section.upload_max);
    Ok(RemoteWorkload::new(name, schema, limits)?)
}
