//! The workload `generate`: seed records and a prompt template in, a synthetic dataset out.
//!
//! The domain's own modules are pure and stand below everything else in this crate: they read and write through
//! `std::io` and the [`export::Sink`] they are given, and know no database, engine, network or clock. Randomness is
//! seeded ([`sampler`]), so that a resumed job asks for the same prompts.
//!
//! - [`seed`] reads, validates and indexes seed files;
//! - [`template`] parses, analyses, compiles and renders templates;
//! - [`sampler`] says which seed record and which random choices record `i` gets;
//! - [`spec`] is what a job is submitted with, and what it is pinned to;
//! - [`estimate`] says what a job would cost;
//! - [`record`] is what a job makes, and the part files it is kept in;
//! - [`dedup`] finds records that stand in the dataset already;
//! - [`export`] writes the dataset in its formats.
//!
//! Above it: [`store`] (its tables), [`use_cases`] (what users do with templates and datasets), [`run`] (what a run does)
//! and [`workload`], which hands it to the engine; [`routes`] and [`commands`], the doors, which speak [`wire`]; and
//! [`plugin()`], which hands all of it to the composition root.

pub mod commands;
pub mod dedup;
pub mod estimate;
pub mod export;
pub mod plugin;
pub mod record;
pub mod routes;
pub mod run;
pub mod sampler;
pub mod samples;
pub mod seed;
pub mod spec;
pub mod store;
pub mod template;
pub mod use_cases;
pub mod wire;
pub mod workload;

pub use plugin::plugin;
pub use workload::{Generate, NAME};
