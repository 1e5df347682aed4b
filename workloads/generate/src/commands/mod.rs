//! `windrow generate …` and `windrow template …`.

use windrow_plugin::WorkloadCommand;

/// All of them.
pub fn commands() -> Vec<Box<dyn WorkloadCommand>> {
    Vec::new()
}
