//! The worker protocol: what passes between a worker and an engine, whether they share a process, a socket or only the
//! API. All of it is plain data in JSON, so that a worker can be written in any language.
//!
//! A lease's id in a path is its [`RunRef`] as text, `{job}.{run}`.

mod lease;
mod money;
mod output;
mod requests;

pub use lease::{BeatReply, ClaimRequest, Lease, ParseRunRefError, Progress, RunRef, StopOrder, StopReason};
pub use money::{Bill, JournalEntry, JournalLine, Reserve, Reserved, Settle, SettleResult};
pub use output::{
    ArtifactVersion, Checkpoint, Child, EndReply, FreeCall, NewArtifact, NewChild, Output, Part, RunEnd,
    StoredObject,
};
pub use requests::{
    AddChildrenRequest, AnnouncedObject, ChildrenQuery, ChildrenReply, ClaimReply, CompleteRequest,
    FailRequest, HeartbeatReply, JournalReply, MoneyReply, MoneyRequest, ObjectLink, ObjectName, ObjectQuery,
    PartsQuery, PartsReply, SaveRequest, SavedReply, WantedObject,
};

pub use crate::SCHEMA_VERSION;
