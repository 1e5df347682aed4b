//! What a workload is, what a run may do to the world, and the engine that carries it out.
//!
//! - [`Workload`]: the three steps `load`, `run`, `commit`. Only `load` and `commit` see a database; `run` sees a
//!   [`JobContext`] and may be anywhere.
//! - [`Engine`]: the operations behind a [`JobContext`]. The local engine has a database, the remote one speaks the
//!   worker protocol; one conformance suite runs on both.
//!
//! This crate knows no HTTP server, no page, no command line, and no workload by name.

pub mod assets;
pub mod backoff;
pub mod context;
pub mod engine;
pub mod local;
pub mod lost;
mod meter;
pub mod remote;
pub mod remote_workload;
pub mod spans;
pub mod stop;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod unrun;
pub mod workload;

pub use assets::AssetCache;
pub use backoff::Backoff;
pub use context::{CallAnswer, JobContext, RunError, RunServices};
pub use engine::{
    Beater, Engine, EngineError, MAX_CHILDREN_A_CALL, MAX_PAGE, ObjectStream, PutPlace, RUN_PREFIXES,
};
pub use local::{
    Departure, DropTags, LimitOverride, LocalEngine, LocalParts, LocalSettings, count_from_zero,
};
pub use lost::{LostRuns, end_lost};
pub use remote::RemoteEngine;
pub use remote_workload::{RemoteWorkload, WorkloadNameError};
pub use stop::{Stop, StopSignal};
pub use unrun::UnrunCommits;
pub use windrow_api_types::worker::{
    ArtifactVersion, BeatReply, Bill, Checkpoint, Child, ClaimRequest, EndReply, FreeCall, JournalEntry,
    JournalLine, Lease, NewArtifact, NewChild, Output, Part, Progress, Reserve, Reserved, RunEnd, RunRef,
    SCHEMA_VERSION, Settle, SettleResult, StopOrder, StopReason, StoredObject,
};
pub use workload::{
    AfterCommit, Ended, JobRecord, Limits, Outcome, PrepareError, Prepared, SubmitContext, Workload,
    WorkloadRegistry,
};
