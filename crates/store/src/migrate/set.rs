//! What a source of migrations brings.

use sha2::{Digest, Sha256};

use crate::Dialect;

/// One step of a schema, in one dialect.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// From 1, ascending, never reused.
    pub version: i64,
    pub name: &'static str,
    pub up: &'static str,
    /// Undoes `up` and leaves nothing of it.
    pub down: &'static str,
}

impl Migration {
    /// SHA-256 of `up`, hexadecimal.
    pub fn checksum(&self) -> String {
        hex::encode(Sha256::digest(self.up))
    }
}

/// The migrations of one source (the platform, or a workload by its name), in both dialects. Made by
/// [`migration_set!`](crate::migration_set).
#[derive(Clone, Copy, Debug)]
pub struct MigrationSet {
    pub source: &'static str,
    pub sqlite: &'static [Migration],
    pub postgres: &'static [Migration],
}

impl MigrationSet {
    pub const fn of(&self, dialect: Dialect) -> &'static [Migration] {
        match dialect {
            Dialect::Sqlite => self.sqlite,
            Dialect::Postgres => self.postgres,
        }
    }
}

/// Embeds `migrations/{sqlite,postgres}/FILE.{up,down}.sql` of the crate that calls it.
///
/// `migration_set!("generate", [(1, "templates", "0001_templates")])`
#[macro_export]
macro_rules! migration_set {
    ($source:literal, [$(($version:literal, $name:literal, $file:literal)),* $(,)?]) => {
        $crate::migrate::MigrationSet {
            source: $source,
            sqlite: &[$($crate::migration_set!(@one "sqlite", $version, $name, $file)),*],
            postgres: &[$($crate::migration_set!(@one "postgres", $version, $name, $file)),*],
        }
    };
    (@one $dialect:literal, $version:literal, $name:literal, $file:literal) => {
        $crate::migrate::Migration {
            version: $version,
            name: $name,
            up: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/", $dialect, "/", $file, ".up.sql")),
            down: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/", $dialect, "/", $file, ".down.sql")),
        }
    };
}
