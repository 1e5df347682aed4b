//! One SQL text for both databases. The first argument is a `&mut Conn` or `&mut Tx`; placeholders are `$1`, `$2`, …;
//! arguments are any [`crate::sql::IntoSql`] values. The text is a literal, or a `sqlx::AssertSqlSafe(String)` that was
//! put together from literals with [`crate::Dialect`].

/// Runs a statement; gives the number of rows that it changed.
///
/// `execute!(tx, "UPDATE users SET status = $1 WHERE id = $2", "disabled", owner)?`: the macro awaits by itself.
#[macro_export]
macro_rules! execute {
    ($conn:expr, $sql:expr $(, $arg:expr)* $(,)?) => {{
        let sql = $crate::sqlx::SqlSafeStr::into_sql_str($sql);
        let conn: &mut $crate::Conn = &mut *$conn;
        match conn.arm(&sql) {
            Ok($crate::Arm::Sqlite(arm)) => $crate::sqlx::query::<$crate::sqlx::Sqlite>(sql.clone())
                $(.bind($crate::sql::IntoSql::into_sql($arg)))*
                .execute(arm)
                .await
                .map(|done| done.rows_affected())
                .map_err(|error| $crate::StoreError::from_sqlx(sql.as_str(), error)),
            Ok($crate::Arm::Postgres(arm)) => $crate::sqlx::query::<$crate::sqlx::Postgres>(sql.clone())
                $(.bind($crate::sql::IntoSql::into_sql($arg)))*
                .execute(arm)
                .await
                .map(|done| done.rows_affected())
                .map_err(|error| $crate::StoreError::from_sqlx(sql.as_str(), error)),
            Err(error) => Err(error),
        }
    }};
}

/// The three fetches differ in one method.
#[doc(hidden)]
#[macro_export]
macro_rules! __fetch {
    ($query:ident, $fetch:ident, $conn:expr, $row:ty, $sql:expr $(, $arg:expr)*) => {{
        let sql = $crate::sqlx::SqlSafeStr::into_sql_str($sql);
        let conn: &mut $crate::Conn = &mut *$conn;
        match conn.arm(&sql) {
            Ok($crate::Arm::Sqlite(arm)) => $crate::sqlx::$query::<$crate::sqlx::Sqlite, $row>(sql.clone())
                $(.bind($crate::sql::IntoSql::into_sql($arg)))*
                .$fetch(arm)
                .await
                .map_err(|error| $crate::StoreError::from_sqlx(sql.as_str(), error)),
            Ok($crate::Arm::Postgres(arm)) => $crate::sqlx::$query::<$crate::sqlx::Postgres, $row>(sql.clone())
                $(.bind($crate::sql::IntoSql::into_sql($arg)))*
                .$fetch(arm)
                .await
                .map_err(|error| $crate::StoreError::from_sqlx(sql.as_str(), error)),
            Err(error) => Err(error),
        }
    }};
}

/// The one row of a statement, as a [`row!`](crate::row) struct or a tuple: `fetch_one!(conn, (i64, String), "…", id)`;
/// one column: `fetch_one!(conn, scalar i64, "…")`.
#[macro_export]
macro_rules! fetch_one {
    ($conn:expr, scalar $type:ty, $sql:expr $(, $arg:expr)* $(,)?) => {
        $crate::__fetch!(query_as, fetch_one, $conn, ($type,), $sql $(, $arg)*).map(|(value,)| value)
    };
    ($conn:expr, $row:ty, $sql:expr $(, $arg:expr)* $(,)?) => {
        $crate::__fetch!(query_as, fetch_one, $conn, $row, $sql $(, $arg)*)
    };
}

/// The first row of a statement, if there is one.
#[macro_export]
macro_rules! fetch_optional {
    ($conn:expr, scalar $type:ty, $sql:expr $(, $arg:expr)* $(,)?) => {
        $crate::__fetch!(query_as, fetch_optional, $conn, ($type,), $sql $(, $arg)*)
            .map(|row| row.map(|(value,)| value))
    };
    ($conn:expr, $row:ty, $sql:expr $(, $arg:expr)* $(,)?) => {
        $crate::__fetch!(query_as, fetch_optional, $conn, $row, $sql $(, $arg)*)
    };
}

/// All rows of a statement.
#[macro_export]
macro_rules! fetch_all {
    ($conn:expr, scalar $type:ty, $sql:expr $(, $arg:expr)* $(,)?) => {
        $crate::__fetch!(query_as, fetch_all, $conn, ($type,), $sql $(, $arg)*)
            .map(|rows| rows.into_iter().map(|(value,)| value).collect::<Vec<$type>>())
    };
    ($conn:expr, $row:ty, $sql:expr $(, $arg:expr)* $(,)?) => {
        $crate::__fetch!(query_as, fetch_all, $conn, $row, $sql $(, $arg)*)
    };
}
