//! SQLite's hot statements, without the driver's detour: its connection lives on a thread of its own, and each statement
//! and each row costs a message there and back, which is more than the statement itself. Here the statements of a batch are
//! prepared once and run row by row on the caller's thread, in the transaction that the driver began.

use rusqlite::types::FromSql as Readable;
use rusqlite::{Connection, Params, Row};
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::sql::FromSql;
use crate::{Arm, StoreError, Tx};

/// A statement's text, fit for the driver's types and for this module.
pub(crate) type Text = &'static str;

/// The connection of a transaction on SQLite, while nothing else can use it.
pub(crate) struct Direct<'c> {
    connection: &'c Connection,
}

impl<'c> Direct<'c> {
    pub(crate) fn prepare(&self, text: Text) -> Result<Statement<'c>, StoreError> {
        let inner = self.connection.prepare(text).map_err(|error| StoreError::from_rusqlite(text, &error))?;
        Ok(Statement { inner, text })
    }

    /// The key that SQLite gave to the row inserted last.
    pub(crate) fn last_key(&self) -> i64 {
        self.connection.last_insert_rowid()
    }
}

/// A prepared statement; parameters are `?1`, `?2`, …
pub(crate) struct Statement<'c> {
    inner: rusqlite::Statement<'c>,
    text: Text,
}

impl Statement<'_> {
    /// Gives the number of rows that it changed.
    pub(crate) fn run(&mut self, params: impl Params) -> Result<usize, StoreError> {
        self.inner.execute(params).map_err(|error| StoreError::from_rusqlite(self.text, &error))
    }

    /// The first row, if there is one.
    pub(crate) fn first<T>(
        &mut self,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let wrong = |error| StoreError::from_rusqlite(self.text, &error);
        let mut rows = self.inner.query(params).map_err(wrong)?;
        let first = rows.next().map_err(wrong)?.map(read).transpose();
        first.map_err(|error| named(error, self.text))
    }

    /// Reads all rows.
    pub(crate) fn all<T>(
        &mut self,
        params: impl Params,
        mut read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let wrong = |error| StoreError::from_rusqlite(self.text, &error);
        let mut rows = self.inner.query(params).map_err(wrong)?;
        let mut all = Vec::new();
        while let Some(row) = rows.next().map_err(wrong)? {
            all.push(read(row).map_err(|error| named(error, self.text))?);
        }
        Ok(all)
    }
}

/// The tables that a statement reads from or writes to, in its own words: what a bad value in its rows is in.
fn tables(text: &str) -> String {
    let mut words = text.split_whitespace();
    let mut tables: Vec<&str> = Vec::new();
    while let Some(word) = words.next() {
        if matches!(word, "FROM" | "JOIN" | "INTO" | "UPDATE")
            && let Some(table) =
                words.next().map(|table| table.trim_matches(|c: char| !c.is_alphanumeric() && c != '_'))
            && table.starts_with(|c: char| c.is_ascii_lowercase())
            && !tables.contains(&table)
        {
            tables.push(table);
        }
    }
    tables.join(", ")
}

/// Says which statement's tables a row is of that could not be read.
fn named(error: StoreError, text: &str) -> StoreError {
    match error {
        StoreError::Invariant { table, column, id, problem } if table == UNNAMED => {
            StoreError::Invariant { table: tables(text).into(), column, id, problem }
        }
        error => error,
    }
}

/// Stands for the tables until the statement says which they are.
const UNNAMED: &str = "?";

/// Reads a row's column by its place, from 0.
pub(crate) fn at<T>(row: &Row<'_>, place: usize) -> Result<T, StoreError>
where
    T: FromSql,
    T::Raw: Readable,
{
    let refused = |problem: String| {
        let column = row.as_ref().column_name(place).unwrap_or("?").to_owned();
        StoreError::invariant(UNNAMED, column, "?", problem)
    };
    let raw: T::Raw = row.get(place).map_err(|error| refused(error.to_string()))?;
    T::from_sql(raw).map_err(refused)
}

impl Tx {
    /// Runs `work` on SQLite's connection itself. `texts` are the statements that it sends: a test's hook is asked before each.
    ///
    /// # Panics
    /// On PostgreSQL.
    pub(crate) async fn direct<T>(
        &mut self,
        texts: &[Text],
        work: impl FnOnce(&Direct<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        for text in texts {
            self.announce(text)?;
        }
        let Arm::Sqlite(arm) = self.link() else { unreachable!("asked for by dialect") };
        let mut handle = arm.lock_handle().await.map_err(|error| StoreError::from_sqlx("lock", error))?;
        // SAFETY: the handle is open, and stays locked, so that nobody else uses or closes it, until `connection`, which
        // doesn't own it, and all statements borrowed from it are dropped at the end of this function.
        #[expect(unsafe_code, reason = "two libraries share one connection")]
        let connection = unsafe { Connection::from_handle(handle.as_raw_handle().as_ptr()) };
        let connection = connection.map_err(|error| StoreError::from_rusqlite("open", &error))?;
        blocking(|| work(&Direct { connection: &connection }))
    }
}

/// A batch takes milliseconds: other work of this thread goes elsewhere meanwhile.
fn blocking<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_can_not_be_read_is_told_with_its_table() {
        let text =
            "SELECT j.id, c.state FROM jobs j LEFT JOIN checkpoints c ON c.job_seq = j.seq WHERE j.seq = ?1";
        assert_eq!(tables(text), "jobs, checkpoints");
        assert_eq!(tables("\nDELETE FROM running WHERE job_seq = ?1\nRETURNING run"), "running");
        assert_eq!(tables("INSERT INTO ready (run_at) VALUES (?1)"), "ready");
        assert_eq!(tables("SELECT 1 FROM (SELECT run FROM runs) AS r"), "runs");
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE notes (n); INSERT INTO notes VALUES ('no number')").unwrap();
        let direct = Direct { connection: &connection };
        let error =
            direct.prepare("SELECT n FROM notes").unwrap().first([], |row| at::<i64>(row, 0)).unwrap_err();
        assert!(error.to_string().contains("notes") && !error.to_string().contains("?."), "{error}");
    }
}
