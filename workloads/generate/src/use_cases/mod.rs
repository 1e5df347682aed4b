//! What users do with templates and datasets, one function a use case. Routes, commands and the workload's own submit
//! call these; each takes the owner who asks.

pub mod error_rate;
pub mod estimate;
pub mod pinning;
pub mod preview;
pub mod records;
pub mod seeds;
pub mod templates;
