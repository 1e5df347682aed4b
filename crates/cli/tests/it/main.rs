//! The binary, tested as a binary: real processes, real HTTP, real kills.
#![allow(clippy::unwrap_used)]

mod bad_input;
mod budgets;
mod dead_letters;
mod demo;
mod document;
mod environment;
mod generate_run;
mod harness;
mod kills;
mod owners;
mod provider;
mod random_requests;
mod remote_worker;
mod small_model;
mod smoke;
mod traces;
mod twenty_kills;
mod usage;
mod webhooks;
mod workers;
