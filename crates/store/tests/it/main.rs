//! The store against both databases.
#![allow(clippy::unwrap_used, reason = "the bodies of `on_both!` tests are functions of their own")]
mod base;
mod batcher;
mod cold;
mod histories;
mod hot;
mod integrity;
mod migrations;
mod objects;
mod people;
mod plans;
mod support;
