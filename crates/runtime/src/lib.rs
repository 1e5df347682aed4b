//! The worker: what claims jobs, runs them, keeps them alive and stops them, and what keeps the tables moving beside it.
//!
//! - [`Worker`] runs jobs on any [`Engine`](windrow_engine::Engine): a claimer, an executor a run, a beater on a thread of its own, a poll for
//!   stop orders.
