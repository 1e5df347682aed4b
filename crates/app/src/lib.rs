//! The platform's use cases, one function each: authorise, one transaction, enqueue. REST, console and command line all
//! call them, so that a rule stands in one place.
//!
//! No SQL text here (that is `windrow-store`), no HTTP server, no page. Each use case is a method of [`App`], in the file
//! of its resource; it takes the [`Actor`] who asks and refuses with an [`AppError`] that says who is at fault.

mod actor;
mod app;
mod artifacts;
mod audit;
mod blobs;
mod cursor;
mod error;
mod events;
mod health;
mod jobs;
mod ledger;
mod login;
mod lookups;
mod settings;
mod smoke;
mod trace;
mod uploads;
mod users;
mod watch;
mod webhooks;

pub use actor::{Actor, Authority, Login};
pub use app::{App, AppInner, AppParts, BuildError};
pub use blobs::Served;
pub use error::AppError;
pub use jobs::{DeadLetterAct, SubmitReply};
pub use login::StoredKeys;
pub use settings::AppSettings;
pub use trace::KeptLines;
pub use webhooks::{Reach, Webhooks};
