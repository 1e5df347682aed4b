//! The store against both databases.
#![allow(clippy::unwrap_used, reason = "the bodies of `on_both!` tests are functions of their own")]
#![allow(clippy::unwrap_used, reason = "a test that fails should say where")]

mod base;
mod cold;
mod hot;
mod migrations;
mod objects;
mod people;
mod support;
