//! Worker processes that this process starts, watches and answers for. They run handlers and speak the worker protocol
//! through its socket; it holds the database. It sees a child's exit at once, so nobody waits for a lease.
//!
//! The two sides talk through the child's standard input: a line is an order, and its end means that the parent is gone.

mod child;
mod order;
mod process;
mod share;
mod supervisor;

pub(crate) use child::{Calling, run};
pub(crate) use process::ChildCommand;
pub(crate) use share::{Share, too_small as limits_too_small};
pub(crate) use supervisor::{Supervisor, SupervisorParts};
