//! The engine beside its database, on both databases.
#![allow(clippy::unwrap_used)]

mod cancels;
mod claims;
mod local;
mod processes;
mod storage;
mod support;
mod unrun;
mod versions;
