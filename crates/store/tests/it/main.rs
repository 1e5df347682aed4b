//! The store against both databases.

mod base;
mod migrations;
mod support;
