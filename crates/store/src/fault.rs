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

/// What keeps the engine's promises; each is shown by a test to be needed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Guard {
    /// A run's end deletes `running` WHERE job AND run number.
    Fence,
    /// A settle only counts against a reservation.
    Reservation,
    /// A worker is buried only WHERE its beat is the one that was seen.
    BeatNo,
    /// A child's end decrements its parent, and only an inserted child counts.
    ChildOnce,
    /// A run reads the answers that earlier runs paid for.
    Journal,
}

/// Asked at each point of every transaction of a [`crate::Db`] that was given the hook.
pub trait FaultHook: Send + Sync + fmt::Debug {
    /// Whether the caller is to see [`crate::StoreError::Injected`] here. Before the commit that rolls back, as a
    /// crash would.
    fn strikes(&self, point: FaultPoint<'_>) -> bool;

    /// Whether this guard is taken out, so that a test can show that it would be missed.
    fn removes(&self, _guard: Guard) -> bool {
        false
    }
}

/// A hook that many connections share.
pub type SharedFaultHook = Arc<dyn FaultHook>;
