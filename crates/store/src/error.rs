//! What can go wrong below the store's functions, and who is at fault.

use std::borrow::Cow;

use crate::migrate::MigrationError;

/// Who can mend it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// What was asked for: a duplicate, a value that the schema refuses.
    Caller,
    /// The machine, the network, the database server, the configuration.
    Environment,
    /// This program, or somebody who changed rows by hand.
    Program,
}

/// A statement or a transaction that did not do what it should.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The database's URL can't be understood.
    #[error("the database URL is not usable: {problem}; expected sqlite:PATH or postgres://USER@HOST/NAME")]
    BadUrl { problem: String },
    /// No connection, or it broke. Worth trying again; nothing is known to be committed.
    #[error("cannot reach the database: {0}")]
    Unreachable(String),
    /// Somebody else holds what is needed (locked, deadlock, serialization, no free connection). Worth trying again.
    #[error("the database is busy: {0}")]
    Busy(String),
    /// A row with this key is already there.
    #[error("already there: {constraint}")]
    Conflict {
        /// PostgreSQL: the constraint's name. SQLite: `table.column, …`.
        constraint: String,
    },
    /// A value that the schema refuses (CHECK, NOT NULL, foreign key).
    #[error("refused by the schema: {constraint}")]
    Refused { constraint: String },
    /// A text with a character that the database has none for: U+0000 in PostgreSQL.
    #[error("a text can't be kept: {0}")]
    BadText(String),
    /// No space, or the disk would not take the bytes (a failed fsync included). What was being committed is not.
    #[error("the disk under the database failed or is full: {0}; free space or mend the disk, then restart")]
    Disk(String),
    /// What stands where the database should is none, or bytes of it are lost.
    #[error(
        "the database is damaged, or is none of Windrow's: {0}; restore it from a backup, or name another in DATABASE_URL"
    )]
    Damaged(String),
    /// A statement took longer than readers may.
    #[error("a statement took longer than its time limit: {0}")]
    TimeLimit(String),
    /// A statement that this program should not have sent.
    #[error("{message} (statement: {statement})")]
    Statement { statement: String, message: String },
    /// A row breaks what the program takes for granted.
    #[error("row {id} of {table} breaks an invariant in {column}: {problem}")]
    Invariant { table: Cow<'static, str>, column: Cow<'static, str>, id: String, problem: String },
    /// The schema is not what this program needs.
    #[error(transparent)]
    Migration(#[from] MigrationError),
    /// The commit was sent and its reply never came: it may be on disk or not. Ask again with the same ids.
    #[error("the outcome of a commit is unknown: {0}")]
    UnknownOutcome(String),
    /// The batcher has stopped: the process is on its way out.
    #[error("the store is closed")]
    Closed,
    /// A test's fault hook struck here.
    #[error("injected fault at {0}")]
    Injected(String),
}

impl StoreError {
    /// A row of `table` that has no right to be as it is.
    pub fn invariant(
        table: impl Into<Cow<'static, str>>,
        column: impl Into<Cow<'static, str>>,
        id: impl std::fmt::Display,
        problem: impl std::fmt::Display,
    ) -> Self {
        Self::Invariant {
            table: table.into(),
            column: column.into(),
            id: id.to_string(),
            problem: problem.to_string(),
        }
    }

    pub const fn fault(&self) -> Fault {
        match self {
            Self::Conflict { .. } | Self::Refused { .. } | Self::BadText(_) => Fault::Caller,
            Self::BadUrl { .. }
            | Self::Unreachable(_)
            | Self::Busy(_)
            | Self::Disk(_)
            | Self::Damaged(_)
            | Self::TimeLimit(_)
            | Self::UnknownOutcome(_)
            | Self::Migration(_)
            | Self::Closed => Fault::Environment,
            Self::Statement { .. } | Self::Invariant { .. } | Self::Injected(_) => Fault::Program,
        }
    }

    /// Whether the same operation may succeed when it is tried again.
    pub const fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Unreachable(_)
                | Self::Busy(_)
                | Self::TimeLimit(_)
                | Self::UnknownOutcome(_)
                | Self::Injected(_)
        )
    }

    /// Whether a unique key was already taken.
    pub const fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. })
    }

    /// Whether the process must end because the disk no longer keeps what it is given.
    pub const fn is_disk(&self) -> bool {
        matches!(self, Self::Disk(_))
    }

    /// Sorts a driver's error. `statement` is shown when the statement itself is at fault.
    pub fn from_sqlx(statement: &str, error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) => {
                if let Some(error) = error.try_downcast_ref::<sqlx::sqlite::SqliteError>() {
                    use sqlx::error::DatabaseError;
                    let code = DatabaseError::code(error).and_then(|code| code.parse().ok()).unwrap_or(1);
                    from_sqlite(statement, code, error.message())
                } else if let Some(error) = error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>() {
                    from_postgres(statement, error)
                } else {
                    Self::Statement { statement: shorten(statement), message: error.to_string() }
                }
            }
            sqlx::Error::PoolTimedOut => Self::Busy(
                "no connection became free in time; raise the pool's size or look for long work".into(),
            ),
            sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => Self::Closed,
            error @ (sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_)) => {
                Self::Unreachable(error.to_string())
            }
            sqlx::Error::ColumnDecode { index, source } => Self::Invariant {
                table: shorten(statement).into(),
                column: index.trim_matches('"').to_owned().into(),
                id: "?".into(),
                problem: source.to_string(),
            },
            error => Self::Statement { statement: shorten(statement), message: error.to_string() },
        }
    }

    /// The same for statements that don't go through the driver.
    pub(crate) fn from_rusqlite(statement: &str, error: &rusqlite::Error) -> Self {
        match error {
            rusqlite::Error::SqliteFailure(failure, message) => {
                let said = message.clone().unwrap_or_else(|| failure.to_string());
                from_sqlite(statement, failure.extended_code, &said)
            }
            error => Self::Statement { statement: shorten(statement), message: error.to_string() },
        }
    }
}

/// Result codes: <https://www.sqlite.org/rescode.html>; the low byte is the primary code.
fn from_sqlite(statement: &str, code: i32, message: &str) -> StoreError {
    let message = message.to_owned();
    match (code & 0xff, code) {
        (5 | 6, _) => StoreError::Busy(message),
        (9, _) => StoreError::TimeLimit(message),
        // a file system that failed is often read-only from then on
        (8, _) => StoreError::Disk(format!(
            "{message} (may this user write there, and is the disk mounted to be written?)"
        )),
        (10 | 13, _) => StoreError::Disk(message),
        (11 | 26, _) => StoreError::Damaged(message),
        (14, _) => StoreError::Unreachable(message),
        // PRIMARYKEY, UNIQUE, ROWID
        (_, 1555 | 2067 | 2579) => {
            let constraint =
                message.strip_prefix("UNIQUE constraint failed: ").unwrap_or(&message).to_owned();
            StoreError::Conflict { constraint }
        }
        (19, _) => StoreError::Refused { constraint: message },
        _ => StoreError::Statement { statement: shorten(statement), message },
    }
}

/// SQLSTATEs: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn from_postgres(statement: &str, error: &sqlx::postgres::PgDatabaseError) -> StoreError {
    let message = error.message().to_owned();
    let constraint = || error.constraint().map_or_else(|| message.clone(), str::to_owned);
    match error.code() {
        "23505" => StoreError::Conflict { constraint: constraint() },
        code if code.starts_with("23") => StoreError::Refused { constraint: constraint() },
        // as it is, and escaped within JSON
        "22021" | "22P05" => StoreError::BadText(message),
        "40001" | "40P01" | "55P03" => StoreError::Busy(message),
        "57014" => StoreError::TimeLimit(message),
        "53100" | "58030" => StoreError::Disk(message),
        "25P03" => StoreError::TimeLimit(message),
        // of a standby, which is soon the new primary or is reached no more
        "25006" => StoreError::Unreachable(message),
        code if ["08", "53", "57"].iter().any(|class| code.starts_with(class)) => {
            StoreError::Unreachable(message)
        }
        code => {
            StoreError::Statement { statement: shorten(statement), message: format!("{message} [{code}]") }
        }
    }
}

fn shorten(statement: &str) -> String {
    let mut words = statement.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = words.char_indices().nth(200) {
        words.truncate(end);
        words.push('…');
    }
    words
}
