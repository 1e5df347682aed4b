//! The binary, tested as a binary: real processes, real HTTP, real kills.
#![allow(clippy::unwrap_used)]

mod bad_input;
mod broken_postgres;
mod budgets;
mod ctrl_c;
mod dead_letters;
mod demo;
mod disk;
mod document;
mod embedded;
mod environment;
mod events;
mod examples;
mod generate_run;
mod half_downloads;
mod harness;
mod http;
mod kills;
mod many_kills;
mod one_owner;
mod openapi;
mod owners;
mod owners_in_bodies;
mod paid;
mod provider;
mod random_requests;
mod remote_worker;
mod small_model;
mod smoke;
mod suspects;
mod terminal;
mod tour;
mod traces;

mod usage;
mod webhooks;
mod workers;
