//! Schema migrations, up and down, for both databases. The platform and each workload bring a set of their own; the
//! ledger is keyed (source, version), so that rows of a source that this binary doesn't know are no error.

mod ledger;
mod set;

pub(crate) use ledger::LEDGER;
pub use set::{Migration, MigrationSet};

use std::fmt;

use uuid::Uuid;
use windrow_core::Timestamp;

use crate::{Db, StoreError, Tx, fetch_optional, hot};
use ledger::LedgerRow;

/// The platform's own tables.
pub const PLATFORM: MigrationSet = crate::migration_set!(
    "platform",
    [
        (1, "engine", "0001_engine"),
        (2, "platform", "0002_platform"),
        (3, "estimate", "0003_estimate"),
        (4, "traceparent", "0004_traceparent"),
        (5, "work", "0005_work"),
        (6, "budget_parent", "0006_budget_parent"),
        (7, "cancels", "0007_cancels"),
    ]
);

/// The schema is not what this program needs.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MigrationError {
    #[error(
        "migration {source_name}/{version} ({name}) was changed after it was applied: checksum {found} is not {applied}; restore its text, or reset a database that may be lost"
    )]
    Changed { source_name: String, version: i64, name: String, found: String, applied: String },
    #[error("{count} migrations are pending, the first is {first}; run `windrow db migrate`")]
    Pending { count: usize, first: String },
    #[error(
        "migration {source_name}/{version} is applied, but {missing} before it is not; restore the order of versions"
    )]
    OutOfOrder { source_name: String, version: i64, missing: i64 },
    #[error(
        "{file} is another program's: it has tables ({tables}) and none of Windrow's; name another in DATABASE_URL, or choose another --data-dir"
    )]
    Foreign { file: String, tables: String },
    #[error("migration {source_name}/{version} can't be rolled back: this binary doesn't know it")]
    Unknown { source_name: String, version: i64 },
}

/// A migration that was applied or taken back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    pub source: String,
    pub version: i64,
    pub name: String,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:04}_{}", self.source, self.version, self.name)
    }
}

/// Where a migration stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    Applied(Timestamp),
    Pending,
    /// In the ledger, but of a source or version that this binary doesn't bring.
    Foreign(Timestamp),
}

impl State {
    /// `applied`, `pending` or `foreign`.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Applied(_) => "applied",
            Self::Pending => "pending",
            Self::Foreign(_) => "foreign",
        }
    }
}

/// One line of `windrow db status`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    pub step: Step,
    pub state: State,
}

/// Applies what is pending, set by set in the order given, all in one transaction under a lock.
pub async fn up(db: &Db, sets: &[MigrationSet], now: Timestamp) -> Result<Vec<Step>, StoreError> {
    let mut tx = ledger::lock(db).await?;
    let applied = ledger::read(&mut tx).await?;
    verify(db, sets, &applied)?;
    let mut steps = Vec::new();
    for (set, migration) in pending(db, sets, &applied) {
        tx.raw(migration.up).await?;
        ledger::insert(&mut tx, set.source, migration, now).await?;
        steps.push(step(set.source, migration));
    }
    tx.commit().await?;
    Ok(steps)
}

/// Takes back the `count` migrations that were applied last.
pub async fn rollback(db: &Db, sets: &[MigrationSet], count: usize) -> Result<Vec<Step>, StoreError> {
    let mut tx = ledger::lock(db).await?;
    let steps = take_back(db, &mut tx, sets, count).await?;
    tx.commit().await?;
    Ok(steps)
}

/// Takes everything back and applies it again: all rows are lost. The installation keeps its id, for the objects in its
/// storage are marked with it.
pub async fn reset(db: &Db, sets: &[MigrationSet], now: Timestamp) -> Result<Vec<Step>, StoreError> {
    let find = "SELECT id FROM installation WHERE one = 1";
    let id = match fetch_optional!(&mut db.read().await?, scalar Uuid, find) {
        // what was never migrated has no such table
        Err(StoreError::Statement { .. }) => None,
        found => found?,
    };
    rollback(db, sets, usize::MAX).await?;
    let steps = up(db, sets, now).await?;
    if let Some(id) = id {
        let mut tx = db.begin().await?;
        hot::installation(&mut tx, id).await?;
        tx.commit().await?;
    }
    Ok(steps)
}

/// All migrations of the sets and of the ledger, in order of application, then what is pending.
pub async fn status(db: &Db, sets: &[MigrationSet]) -> Result<Vec<Status>, StoreError> {
    let mut tx = ledger::lock(db).await?;
    let applied = ledger::read(&mut tx).await?;
    tx.commit().await?;
    verify(db, sets, &applied)?;
    let known = |row: &LedgerRow| find(db, sets, row).is_some();
    let done = applied.iter().map(|row| Status {
        step: Step { source: row.source.clone(), version: row.version, name: row.name.clone() },
        state: if known(row) { State::Applied(row.applied_at) } else { State::Foreign(row.applied_at) },
    });
    let open = pending(db, sets, &applied)
        .map(|(set, migration)| Status { step: step(set.source, migration), state: State::Pending });
    Ok(done.chain(open).collect())
}

/// Fails when a migration is pending or was changed: what every process does before it serves.
pub async fn check(db: &Db, sets: &[MigrationSet]) -> Result<(), StoreError> {
    let status = status(db, sets).await?;
    let open: Vec<&Step> = status.iter().filter(|s| s.state == State::Pending).map(|s| &s.step).collect();
    match open.first() {
        None => Ok(()),
        Some(first) => {
            let first = format!("{}/{} ({})", first.source, first.version, first.name);
            Err(MigrationError::Pending { count: open.len(), first }.into())
        }
    }
}

async fn take_back(
    db: &Db,
    tx: &mut Tx,
    sets: &[MigrationSet],
    count: usize,
) -> Result<Vec<Step>, StoreError> {
    let applied = ledger::read(tx).await?;
    let mut steps = Vec::new();
    for row in applied.iter().rev().take(count) {
        let Some(migration) = find(db, sets, row) else {
            return Err(
                MigrationError::Unknown { source_name: row.source.clone(), version: row.version }.into()
            );
        };
        tx.raw(migration.down).await?;
        ledger::delete(tx, row).await?;
        steps.push(step(&row.source, migration));
    }
    Ok(steps)
}

fn find(db: &Db, sets: &[MigrationSet], row: &LedgerRow) -> Option<&'static Migration> {
    let set = sets.iter().find(|set| set.source == row.source)?;
    set.of(db.dialect()).iter().find(|migration| migration.version == row.version)
}

fn pending<'a>(
    db: &Db,
    sets: &'a [MigrationSet],
    applied: &'a [LedgerRow],
) -> impl Iterator<Item = (&'a MigrationSet, &'static Migration)> {
    let dialect = db.dialect();
    let is_open = |set: &MigrationSet, version: i64| {
        !applied.iter().any(|row| row.source == set.source && row.version == version)
    };
    sets.iter()
        .flat_map(move |set| set.of(dialect).iter().map(move |migration| (set, migration)))
        .filter(move |(set, migration)| is_open(set, migration.version))
}

/// Applied texts are unchanged, and nothing is pending below something applied.
fn verify(db: &Db, sets: &[MigrationSet], applied: &[LedgerRow]) -> Result<(), MigrationError> {
    for row in applied {
        let Some(migration) = find(db, sets, row) else { continue };
        let found = migration.checksum();
        if found != row.checksum {
            let (source_name, version) = (row.source.clone(), row.version);
            let (name, applied) = (row.name.clone(), row.checksum.clone());
            return Err(MigrationError::Changed { source_name, version, name, found, applied });
        }
    }
    for (set, migration) in pending(db, sets, applied) {
        let above = applied.iter().find(|row| row.source == set.source && row.version > migration.version);
        if let Some(row) = above {
            let (source_name, version) = (row.source.clone(), row.version);
            return Err(MigrationError::OutOfOrder { source_name, version, missing: migration.version });
        }
    }
    Ok(())
}

fn step(source: &str, migration: &Migration) -> Step {
    Step { source: source.to_owned(), version: migration.version, name: migration.name.to_owned() }
}
