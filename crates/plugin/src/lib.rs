//! What a workload hands to the composition root: one [`Plugin`] value with its name, engine part, migrations, routes
//! and commands. It is the only thing of the platform's doors that a workload sees besides `rest`'s parts.
//!
//! It holds types and no work: no SQL, no route of its own, no file, and nothing of any one workload.

mod command;

use std::sync::Arc;

pub use command::{CommandError, Console, Embedded, ExitCode, Host, WorkloadCommand};
use windrow_engine::Workload;
use windrow_rest::ApiRouter;
use windrow_store::MigrationSet;

/// One workload, whole.
pub struct Plugin {
    pub workload: Arc<dyn Workload>,
    /// The workload's own tables; the set's source is the workload's name.
    pub migrations: MigrationSet,
    /// Routes under `/v1`, with their OpenAPI paths.
    pub routes: ApiRouter,
    /// Objects that every server puts in storage at its start, when they are not there yet.
    pub samples: Vec<SampleObject>,
    /// Command groups (`windrow generate …`, `windrow template …`).
    pub commands: Vec<Box<dyn WorkloadCommand>>,
}

/// A bundled object, shared and read-only.
pub struct SampleObject {
    /// Under the storage prefix `sample-datasets/`.
    pub key: String,
    pub content_type: &'static str,
    pub bytes: &'static [u8],
}
