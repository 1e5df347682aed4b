//! Values in and out of both databases: what may stand behind a `$1`, and what a column may be read as.

use std::borrow::Cow;

use uuid::Uuid;
use windrow_core::{
    ApiKeyId, ArtifactId, BudgetId, CallId, ErrorClass, JobId, JobSeq, JobStatus, LedgerKind, OwnerId,
    PicoUsd, Priority, RequestId, Role, RunNo, RunOutcome, Timestamp, UploadId, UploadStatus, UserStatus,
    WorkerId,
};

/// What may be bound: ids as integers or UUIDs, times as microseconds, money as pico-USD, enums as their text.
pub trait IntoSql {
    type Sql;

    fn into_sql(self) -> Self::Sql;
}

/// What a column may be read as; `Raw` is what the drivers know.
pub trait FromSql: Sized {
    type Raw;

    /// The error is what is wrong with the value.
    fn from_sql(raw: Self::Raw) -> Result<Self, String>;
}

macro_rules! plain {
    ($($type:ty),*) => {$(
        impl IntoSql for $type {
            type Sql = $type;
            fn into_sql(self) -> $type {
                self
            }
        }
        impl FromSql for $type {
            type Raw = $type;
            fn from_sql(raw: $type) -> Result<Self, String> {
                Ok(raw)
            }
        }
    )*};
}
plain!(i64, f64, bool, String, Vec<u8>, Uuid);

macro_rules! integer_ids {
    ($($type:ident),*) => {$(
        impl IntoSql for $type {
            type Sql = i64;
            fn into_sql(self) -> i64 {
                self.0
            }
        }
        impl FromSql for $type {
            type Raw = i64;
            fn from_sql(raw: i64) -> Result<Self, String> {
                Ok(Self(raw))
            }
        }
    )*};
}
integer_ids!(OwnerId, JobSeq, RunNo, WorkerId);

macro_rules! uuid_ids {
    ($($type:ident),*) => {$(
        impl IntoSql for $type {
            type Sql = Uuid;
            fn into_sql(self) -> Uuid {
                self.0
            }
        }
        impl FromSql for $type {
            type Raw = Uuid;
            fn from_sql(raw: Uuid) -> Result<Self, String> {
                Ok(Self(raw))
            }
        }
    )*};
}
uuid_ids!(JobId, UploadId, ArtifactId, BudgetId, CallId, ApiKeyId, RequestId);

macro_rules! texts {
    ($($type:ident),*) => {$(
        impl IntoSql for $type {
            type Sql = &'static str;
            fn into_sql(self) -> &'static str {
                self.as_str()
            }
        }
        impl FromSql for $type {
            type Raw = String;
            fn from_sql(raw: String) -> Result<Self, String> {
                raw.parse().map_err(|error: windrow_core::status::ParseTextError| error.to_string())
            }
        }
    )*};
}
texts!(JobStatus, RunOutcome, ErrorClass, Role, UserStatus, UploadStatus, LedgerKind);

impl IntoSql for Timestamp {
    type Sql = i64;
    fn into_sql(self) -> i64 {
        self.as_micros()
    }
}

impl FromSql for Timestamp {
    type Raw = i64;
    fn from_sql(raw: i64) -> Result<Self, String> {
        Ok(Self::from_micros(raw))
    }
}

impl IntoSql for PicoUsd {
    type Sql = i64;
    fn into_sql(self) -> i64 {
        self.as_pico()
    }
}

impl FromSql for PicoUsd {
    type Raw = i64;
    fn from_sql(raw: i64) -> Result<Self, String> {
        Ok(Self::from_pico(raw))
    }
}

impl IntoSql for Priority {
    type Sql = i64;
    fn into_sql(self) -> i64 {
        i64::from(self.rank())
    }
}

impl FromSql for Priority {
    type Raw = i64;
    fn from_sql(raw: i64) -> Result<Self, String> {
        let rank = i16::try_from(raw).ok();
        rank.and_then(Self::from_rank).ok_or_else(|| format!("{raw} is no priority (0, 1 or 2)"))
    }
}

impl<'a> IntoSql for &'a str {
    type Sql = &'a str;
    fn into_sql(self) -> &'a str {
        self
    }
}

impl<'a> IntoSql for &'a String {
    type Sql = &'a str;
    fn into_sql(self) -> &'a str {
        self
    }
}

impl<'a> IntoSql for &'a Cow<'_, str> {
    type Sql = &'a str;
    fn into_sql(self) -> &'a str {
        self
    }
}

impl<'a> IntoSql for &'a [u8] {
    type Sql = &'a [u8];
    fn into_sql(self) -> &'a [u8] {
        self
    }
}

impl<T: IntoSql> IntoSql for Option<T> {
    type Sql = Option<T::Sql>;
    fn into_sql(self) -> Self::Sql {
        self.map(IntoSql::into_sql)
    }
}

impl<T: FromSql> FromSql for Option<T> {
    type Raw = Option<T::Raw>;
    fn from_sql(raw: Self::Raw) -> Result<Self, String> {
        raw.map(T::from_sql).transpose()
    }
}

macro_rules! unsigned {
    ($($type:ty),*) => {$(
        /// Stands as a bigint; what does not fit is bound as the largest bigint, which a CHECK or a comparison refuses.
        impl IntoSql for $type {
            type Sql = i64;
            fn into_sql(self) -> i64 {
                i64::try_from(self).unwrap_or(i64::MAX)
            }
        }
        impl FromSql for $type {
            type Raw = i64;
            fn from_sql(raw: i64) -> Result<Self, String> {
                Self::try_from(raw).map_err(|_| format!("{raw} does not fit its type"))
            }
        }
    )*};
}
unsigned!(u32, u64);

/// Reads one column of either database's row as any [`FromSql`] type.
pub fn column<'r, R, T>(row: &'r R, name: &str) -> Result<T, sqlx::Error>
where
    R: sqlx::Row,
    T: FromSql,
    T::Raw: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
    for<'n> &'n str: sqlx::ColumnIndex<R>,
{
    let raw: T::Raw = row.try_get(name)?;
    T::from_sql(raw)
        .map_err(|problem| sqlx::Error::ColumnDecode { index: name.to_owned(), source: problem.into() })
}

/// Defines a struct that is read from a row of either database, column by column by the fields' names. Fields are any
/// [`FromSql`] type: a column whose value the type refuses is an error that names the column.
///
/// ```
/// windrow_store::row! {
///     /// A job's owner and place in line.
///     pub struct Head {
///         pub seq: windrow_core::JobSeq,
///         pub owner_id: windrow_core::OwnerId,
///         pub run_at: Option<windrow_core::Timestamp>,
///     }
/// }
/// ```
#[macro_export]
macro_rules! row {
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($(#[$fmeta:meta])* $fvis:vis $field:ident : $type:ty),* $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug)]
        $vis struct $name { $($(#[$fmeta])* $fvis $field: $type),* }

        impl<'r> $crate::sqlx::FromRow<'r, $crate::sqlx::sqlite::SqliteRow> for $name {
            fn from_row(row: &'r $crate::sqlx::sqlite::SqliteRow) -> Result<Self, $crate::sqlx::Error> {
                Ok(Self { $($field: $crate::sql::column(row, stringify!($field))?),* })
            }
        }

        impl<'r> $crate::sqlx::FromRow<'r, $crate::sqlx::postgres::PgRow> for $name {
            fn from_row(row: &'r $crate::sqlx::postgres::PgRow) -> Result<Self, $crate::sqlx::Error> {
                Ok(Self { $($field: $crate::sql::column(row, stringify!($field))?),* })
            }
        }
    };
}
