//! What the workload's library does, seen from outside.
#![allow(clippy::unwrap_used)]

mod crashes;
mod doors;
mod examples;
mod export_in_python;
mod installation;
mod runs;
mod stub;
mod work;
