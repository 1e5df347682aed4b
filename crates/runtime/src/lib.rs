//! The worker: what claims jobs, runs them, keeps them alive and stops them; and what keeps the database in order.
//!
//! [`Worker`] runs jobs on any [`Engine`](windrow_engine::Engine): a claimer, an executor, a watcher of what takes too long,
//! a beater on a thread of its own, a poll for stop orders. [`Keeper`] is what goes on beside the workers wherever a database is: the scheduler, the
//! rescuer, the sweeper.
//!
//! It knows no HTTP server, no SQL and no workload by name, and reads time from a [`Clock`](windrow_core::Clock) only.

mod beater;
mod board;
mod claimer;
mod executor;
mod keeper;
mod scratch;
mod settings;
mod watcher;
mod worker;

pub use beater::Pulse;
pub use keeper::{Deliver, Keeper, KeeperHandle, KeeperParts, KeeperSettings, Retaken, retake};
pub use scratch::sweep_scratch;
pub use settings::WorkerSettings;
pub use worker::{Drained, Worker, WorkerHandle};
