//! What tests share: a database of their own on SQLite and on PostgreSQL, and a small real language model.
//!
//! A dev-dependency only; nothing that ships may use it. The servers it starts listen on the loopback interface and hold
//! nothing worth keeping (`fsync` is off), so benchmarks must not use them.
//!
//! A missing server fails the test with the command that installs it: a test that skips itself proves nothing.

#[cfg(feature = "app")]
pub mod app;
mod cluster;
mod database;
mod own_cluster;
mod python;

#[cfg(feature = "app")]
pub use app::{Echo, TestApp};
pub use cluster::{Cluster, ClusterError};
pub use database::{Dialect, TestDb, for_both};
pub use own_cluster::OwnCluster;
pub use python::{SmallModel, python};
