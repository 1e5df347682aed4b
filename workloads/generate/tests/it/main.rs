//! What the workload's library does, seen from outside.

mod export_in_python;
