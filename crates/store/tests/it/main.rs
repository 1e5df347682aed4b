//! The store against both databases.

mod base;
mod migrations;
mod objects;
mod people;
mod support;
