//! The store against both databases.

mod base;
mod cold;
mod migrations;
mod objects;
mod people;
mod support;
