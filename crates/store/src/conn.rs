//! A connection for reads, and a transaction.

use std::ops::{Deref, DerefMut};

use futures::future::BoxFuture;
use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, Postgres, SqlStr, Sqlite, SqliteConnection, Transaction};

use crate::fault::{FaultPoint, Guard, SharedFaultHook};
use crate::{Dialect, SharedEndHook, StoreError, WorkPrices};

/// The driver's connection that the macros hand a statement to.
#[derive(Debug)]
pub enum Arm<'a> {
    Sqlite(&'a mut SqliteConnection),
    Postgres(&'a mut PgConnection),
}

#[derive(Debug)]
pub(crate) enum Link {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
    SqliteTx(Transaction<'static, Sqlite>),
    PostgresTx(Transaction<'static, Postgres>),
}

/// A connection of either database. Functions that only read take `&mut Conn`, which a `&mut Tx` also is. Outside a
/// transaction each statement sees its own snapshot.
#[derive(Debug)]
pub struct Conn {
    link: Link,
    faults: Option<SharedFaultHook>,
}

impl Conn {
    pub(crate) fn new(link: Link, faults: Option<SharedFaultHook>) -> Self {
        Self { link, faults }
    }

    pub const fn dialect(&self) -> Dialect {
        match self.link {
            Link::Sqlite(_) | Link::SqliteTx(_) => Dialect::Sqlite,
            Link::Postgres(_) | Link::PostgresTx(_) => Dialect::Postgres,
        }
    }

    /// What a statement is sent on. Fails only when a test's fault hook strikes.
    pub fn arm(&mut self, statement: &SqlStr) -> Result<Arm<'_>, StoreError> {
        self.announce(statement.as_str())?;
        Ok(self.link())
    }

    /// Tells a test's fault hook of a statement that is about to be sent; fails only when it strikes.
    pub(crate) fn announce(&self, statement: &str) -> Result<(), StoreError> {
        self.strike(FaultPoint::Statement(statement))
    }

    pub(crate) fn link(&mut self) -> Arm<'_> {
        match &mut self.link {
            Link::Sqlite(conn) => Arm::Sqlite(conn),
            Link::SqliteTx(tx) => Arm::Sqlite(tx),
            Link::Postgres(conn) => Arm::Postgres(conn),
            Link::PostgresTx(tx) => Arm::Postgres(tx),
        }
    }

    /// Runs one or more statements without parameters and without preparing them: migrations, PRAGMAs, savepoints.
    pub async fn raw(&mut self, sql: impl sqlx::SqlSafeStr) -> Result<(), StoreError> {
        let sql = sql.into_sql_str();
        let text = sql.clone();
        let done = match self.arm(&text)? {
            Arm::Sqlite(conn) => sqlx::raw_sql(sql).execute(conn).await.map(drop),
            Arm::Postgres(conn) => sqlx::raw_sql(sql).execute(conn).await.map(drop),
        };
        done.map_err(|error| StoreError::from_sqlx(text.as_str(), error))
    }

    /// Whether a test took this guard out.
    pub(crate) fn lacks(&self, guard: Guard) -> bool {
        self.faults.as_ref().is_some_and(|hook| hook.removes(guard))
    }

    fn strike(&self, point: FaultPoint<'_>) -> Result<(), StoreError> {
        match &self.faults {
            Some(hook) if hook.strikes(point) => Err(StoreError::Injected(format!("{point:?}"))),
            _ => Ok(()),
        }
    }
}

/// A transaction that owns its connection. On SQLite it is the one writer (BEGIN IMMEDIATE). Dropped without
/// [`Tx::commit`], it rolls back. The batcher also has PostgreSQL's own transaction of a single statement.
#[derive(Debug)]
pub struct Tx {
    conn: Conn,
    savepoints: usize,
    notes: Notes,
    means: Means,
    /// Cache tags to drop once it is committed.
    tags: Vec<String>,
}

/// What a database gives each of its transactions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Means {
    pub(crate) prices: WorkPrices,
    pub(crate) ends: Option<SharedEndHook>,
}

/// What others should hear of once a transaction is committed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Notes {
    /// Jobs may be claimed that could not before.
    pub work: bool,
    /// Runs were asked to stop.
    pub cancel: bool,
    /// Children of some parent are to be stopped: [`crate::hot::stop_children`].
    pub stopping: bool,
    /// Jobs were put in line for a time to come: the scheduler may have to rise earlier.
    pub later: bool,
}

impl Notes {
    /// Takes what the other says too.
    pub fn add(&mut self, other: Self) {
        self.work |= other.work;
        self.cancel |= other.cancel;
        self.stopping |= other.stopping;
        self.later |= other.later;
    }

    pub const fn is_empty(self) -> bool {
        !(self.work || self.cancel || self.stopping || self.later)
    }
}

impl Tx {
    pub(crate) fn new(link: Link, faults: Option<SharedFaultHook>, means: Means) -> Self {
        let conn = Conn::new(link, faults);
        Self { conn, savepoints: 0, notes: Notes::default(), means, tags: Vec::new() }
    }

    /// What the work of runs is booked at.
    pub(crate) const fn prices(&self) -> WorkPrices {
        self.means.prices
    }

    pub(crate) fn end_hook(&self) -> Option<SharedEndHook> {
        self.means.ends.clone()
    }

    /// Has these cache tags dropped once it is committed.
    pub(crate) fn drop_later(&mut self, tags: Vec<String>) {
        self.tags.extend(tags);
    }

    /// What is to be told after the commit; a part that was rolled back may have left a word too many.
    pub const fn notes(&self) -> Notes {
        self.notes
    }

    pub(crate) fn note(&mut self, notes: Notes) {
        self.notes.add(notes);
    }

    /// Returns once the commit is on disk. An error of the kind [`StoreError::UnknownOutcome`] leaves open whether it
    /// is; after any other it is not.
    pub fn commit(mut self) -> BoxFuture<'static, Result<(), StoreError>> {
        Box::pin(async move {
            let (hook, tags) = (self.means.ends.take(), std::mem::take(&mut self.tags));
            if let Err(error) = self.conn.strike(FaultPoint::BeforeCommit) {
                self.rollback().await?;
                return Err(error);
            }
            let Conn { link, faults } = self.conn;
            let done = match link {
                Link::SqliteTx(tx) => tx.commit().await,
                Link::PostgresTx(tx) => tx.commit().await,
                // its one statement is durable already
                Link::Postgres(_) => Ok(()),
                Link::Sqlite(_) => unreachable!("a Tx is only made of a transaction"),
            };
            done.map_err(|error| match StoreError::from_sqlx("COMMIT", error) {
                StoreError::Unreachable(message) => StoreError::UnknownOutcome(message),
                error => error,
            })?;
            if let Some(hook) = hook.filter(|_| !tags.is_empty()) {
                hook.committed(tags);
            }
            match faults {
                Some(hook) if hook.strikes(FaultPoint::AfterCommit) => {
                    Err(StoreError::UnknownOutcome("injected: the reply was lost".to_owned()))
                }
                _ => Ok(()),
            }
        })
    }

    pub fn rollback(self) -> BoxFuture<'static, Result<(), StoreError>> {
        Box::pin(async move {
            let done = match self.conn.link {
                Link::SqliteTx(tx) => tx.rollback().await,
                Link::PostgresTx(tx) => tx.rollback().await,
                Link::Postgres(_) => Ok(()),
                Link::Sqlite(_) => unreachable!("a Tx is only made of a transaction"),
            };
            done.map_err(|error| StoreError::from_sqlx("ROLLBACK", error))
        })
    }

    /// Starts a part that can be undone alone. Must be ended by [`Tx::release`] or [`Tx::rollback_to`], innermost
    /// first.
    pub async fn savepoint(&mut self) -> Result<(), StoreError> {
        self.savepoints += 1;
        let sql = format!("SAVEPOINT part_{}", self.savepoints);
        self.conn.raw(sqlx::AssertSqlSafe(sql)).await
    }

    /// Keeps what was done since the innermost savepoint.
    pub async fn release(&mut self) -> Result<(), StoreError> {
        debug_assert!(self.savepoints > 0, "release without savepoint");
        let sql = format!("RELEASE SAVEPOINT part_{}", self.savepoints);
        self.savepoints -= 1;
        self.conn.raw(sqlx::AssertSqlSafe(sql)).await
    }

    /// Undoes what was done since the innermost savepoint, and ends it.
    pub async fn rollback_to(&mut self) -> Result<(), StoreError> {
        debug_assert!(self.savepoints > 0, "rollback without savepoint");
        let name = self.savepoints;
        self.savepoints -= 1;
        let sql = format!("ROLLBACK TO SAVEPOINT part_{name}; RELEASE SAVEPOINT part_{name}");
        self.conn.raw(sqlx::AssertSqlSafe(sql)).await
    }
}

impl Deref for Tx {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        &self.conn
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut Conn {
        &mut self.conn
    }
}
