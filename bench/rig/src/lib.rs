//! What the benchmarks of the engine set up alike: an empty database of either kind, the load of clients, and a worker with the
//! whole engine that runs jobs which do nothing. For benchmarks only; the machine itself is read with `windrow-bench-gauge`.

pub mod load;
pub mod log;
mod pickups;
mod place;
mod worker;

pub use load::{Load, WORKLOAD};
pub use pickups::Pickups;
pub use place::{Database, Place, Where};
pub use worker::{RunningJobs, Settings, start};

/// What a share (in percent) of these is at most; they are ascending. Zero when there are none.
pub fn quantile(ascending: &[std::time::Duration], share: usize) -> std::time::Duration {
    let last = ascending.len().saturating_sub(1);
    ascending.get(last * share / 100).copied().unwrap_or_default()
}
