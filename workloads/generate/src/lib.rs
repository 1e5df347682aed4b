//! The workload `generate`: seed records and a template become a dataset.
//!
//! The domain's own modules (`record`, `export`) are pure: they touch no database, engine or network, and write only
//! through the [`export::Sink`] that they are given.

pub mod export;
pub mod record;
