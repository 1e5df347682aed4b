//! The REST door over real connections.
#![allow(clippy::unwrap_used)]

mod worker;
