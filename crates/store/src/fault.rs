//! A hook by which tests strike between any two statements, and before or after a commit.

use std::fmt;
use std::sync::Arc;

/// Where a transaction stands when the hook is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultPoint<'a> {
    /// Before this statement is sent.
    Statement(&'a str),
    /// All statements have run; COMMIT has not been sent.
    BeforeCommit,
    /// COMMIT has been answered, the caller has not: a fault here is a lost reply.
    AfterCommit,
}

/// Asked at each point of every transaction of a [`crate::Db`] that was given the hook.
pub trait FaultHook: Send + Sync + fmt::Debug {
    /// Whether the caller is to see [`crate::StoreError::Injected`] here. Before the commit that rolls back, as a
    /// crash would.
    fn strikes(&self, point: FaultPoint<'_>) -> bool;
}

/// A hook that many connections share.
pub type SharedFaultHook = Arc<dyn FaultHook>;
