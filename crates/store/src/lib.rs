//! The database: connections, transactions, migrations, and the statements of the platform's tables, on SQLite and
//! PostgreSQL.
//!
//! It knows no HTTP and no object storage, and of the domain only `windrow-core`. Nothing else in the workspace speaks
//! to a database but through this crate: [`Tx`], [`Conn`] and the macros [`execute!`], [`fetch_one!`],
//! [`fetch_optional!`] and [`fetch_all!`], which expand one SQL text into both drivers.

pub mod api_keys;
pub mod artifacts;
pub mod audit;
pub mod conn;
pub mod db;
pub mod dead_letters;
pub mod depth;
pub mod dialect;
mod direct;
pub mod ends;
pub mod error;
pub mod fault;
pub mod held;
pub mod history;
pub mod hot;
pub mod integrity;
pub mod jobs;
pub mod ledger;
mod macros;
pub mod migrate;
pub mod objects;
pub mod outbox;
pub mod prices;
pub mod runs;
pub mod sql;
pub mod store;
pub mod uploads;
pub mod users;

pub use conn::{Arm, Conn, Notes, Tx};
pub use db::{Db, DbOptions};
pub use dialect::{Col, Dialect, ListOf, Sql, json_bytes, json_ints, json_rows, json_texts, json_uuids};
pub use ends::{EndHook, SharedEndHook, UnrunEnd};
pub use error::{Fault, StoreError};
pub use migrate::{MigrationError, MigrationSet};
pub use prices::WorkPrices;
pub use store::{Store, StoreOptions, UnitFuture, Wakes};

/// For the macros, and for workloads' own row types.
pub use sqlx;
