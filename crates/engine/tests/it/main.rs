//! The engine beside its database, on both databases.
#![allow(clippy::unwrap_used)]

mod local;
mod processes;
mod storage;
mod unrun;
mod versions;
