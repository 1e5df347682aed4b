//! What the workload's library does, seen from outside.
#![allow(clippy::unwrap_used)]

mod examples;
mod export_in_python;
