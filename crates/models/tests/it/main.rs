//! The crate from outside: real HTTP against a local server, limits on a paused clock, the offline model on invented schemas.
#![allow(clippy::unwrap_used)]

mod model;
mod offline;
mod openai;
mod registry;
