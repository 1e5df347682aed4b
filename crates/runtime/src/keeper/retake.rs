//! The start of the process that owns an embedded database.

use uuid::Uuid;
use windrow_core::ids::uuid_v7;
use windrow_engine::WorkloadRegistry;
use windrow_store::{Store, StoreError};

use super::rescue::rescue_all;

/// What was found at the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retaken {
    /// This installation's id, made at its first start.
    pub installation: Uuid,
    /// How often the database has had a new owner, this one included.
    pub epoch: i64,
    /// Runs that the owner before left going on. They count as lost: an orderly stop gives its runs back.
    pub lost: usize,
}

/// Takes an embedded database over from the process that owned it before: raises the boot epoch, and puts what its
/// workers still held back in line at once, without waiting for anybody's beats. Leases of remote workers go on: those
/// outlive the server. Call it after the data directory's lock was taken, and before any worker claims.
///
/// # Errors
/// When the database fails; call it again then, or don't start.
pub async fn retake(store: &Store, registry: &WorkloadRegistry) -> Result<Retaken, StoreError> {
    let (installation, epoch) = store.boot(uuid_v7(&**store.clock())).await?;
    let lost = rescue_all(store, registry).await?;
    if lost > 0 {
        tracing::warn!(lost, epoch, "the process before ended without giving its runs back");
    }
    Ok(Retaken { installation, epoch, lost })
}
