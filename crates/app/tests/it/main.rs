//! The use cases on both databases.
#![allow(clippy::unwrap_used, reason = "the bodies of `on_both!` tests are functions of their own")]

mod approval;
mod artifacts;
mod crossing;
mod dead_letters;
mod events;
mod jobs;
mod keys;
mod money;
mod places;
mod submit;
mod uploads;
mod users;
mod webhooks;
