//! Loading, and the files that are written from the contract.
#![allow(clippy::unwrap_used)]

mod drift;
mod embedded;
mod loading;
mod reads;
