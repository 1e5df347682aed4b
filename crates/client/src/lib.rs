//! The typed HTTP client that the command line, remote workers and the tests use.
//!
//! Knows `core` and `api-types` only: no server crate. One [`Client`] speaks to a server over TCP (`http`, `https`) or
//! through the Unix socket of a data directory.

mod error;
mod events;
mod partial;
mod transport;
mod worker;

pub use error::ClientError;
pub use events::EventStream;
pub use transport::{Client, Endpoint};
pub use worker::{Attendance, WorkerClient};
