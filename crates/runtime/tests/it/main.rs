//! Workers and keepers on both databases.
#![allow(clippy::unwrap_used)]

mod support;

mod ends;
mod losses;
mod stops;
