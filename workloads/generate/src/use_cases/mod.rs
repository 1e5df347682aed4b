//! What users do with templates and datasets, one function a use case. Routes, commands and the workload's own submit
//! call these; each takes the owner who asks.

pub mod templates;
