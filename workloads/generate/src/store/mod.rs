//! The workload's own tables, on both databases.

pub mod lengths;
pub mod parts;
pub mod shards;
pub mod templates;

use windrow_store::{MigrationSet, migration_set};

/// The migrations of the workload's tables; they stand on the platform's.
pub const MIGRATIONS: MigrationSet = migration_set!("generate", [(1, "templates", "0001_templates")]);
