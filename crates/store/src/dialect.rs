//! All that differs between the databases in SQL that is otherwise written once.

use std::fmt::Write as _;
use std::sync::OnceLock;

use serde::Serialize;
use uuid::Uuid;

/// Which SQL a connection speaks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Dialect {
    Sqlite,
    Postgres,
}

/// What a list that is bound as one JSON array holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ListOf {
    /// Bind [`json_ints`].
    Int,
    /// Bind [`json_texts`].
    Text,
    /// Bind [`json_uuids`].
    Uuid,
    /// Bind [`json_bytes`].
    Bytes,
}

/// What a column of [`Dialect::rows`] holds, and how its JSON is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Col {
    /// A number.
    Int,
    /// A string.
    Text,
    /// `true` or `false`.
    Bool,
    /// A UUID's text.
    Uuid,
    /// Hexadecimal digits.
    Bytes,
}

/// A statement whose text is put together once a dialect.
#[derive(Debug)]
pub struct Sql {
    build: fn(Dialect) -> String,
    texts: [OnceLock<String>; 2],
}

impl Sql {
    pub const fn new(build: fn(Dialect) -> String) -> Self {
        Self { build, texts: [const { OnceLock::new() }; 2] }
    }

    /// The text, which lives as long as the program: a driver's cache finds its prepared statement by it.
    pub fn of(&'static self, dialect: Dialect) -> &'static str {
        self.texts[dialect as usize].get_or_init(|| (self.build)(dialect))
    }
}

/// The JSON array of arrays that [`Dialect::rows`] reads: `json_rows` of tuples.
pub fn json_rows<T: Serialize>(rows: &[T]) -> String {
    serde_json::to_string(rows).expect("tuples of numbers, texts and options are JSON")
}

impl Dialect {
    /// `sqlite` or `postgres`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }

    /// One of two texts.
    pub const fn pick<T: Copy>(self, sqlite: T, postgres: T) -> T {
        match self {
            Self::Sqlite => sqlite,
            Self::Postgres => postgres,
        }
    }

    /// Ends a SELECT whose rows are to be changed. SQLite has one writer: being it is the lock.
    pub const fn for_update(self) -> &'static str {
        self.pick("", " FOR UPDATE")
    }

    /// Ends a SELECT whose rows must stay as they are until the commit.
    pub const fn for_share(self) -> &'static str {
        self.pick("", " FOR SHARE")
    }

    /// Ends a SELECT that takes only rows which nobody else is changing.
    pub const fn for_update_skip_locked(self) -> &'static str {
        self.pick("", " FOR UPDATE SKIP LOCKED")
    }

    /// `column IN (the list bound at placeholder)`; the list is one JSON array, so that the statement's text does not
    /// depend on its length.
    pub fn member(self, column: &str, placeholder: &str, of: ListOf) -> String {
        let select = self.list(placeholder, of);
        format!("{column} IN ({select})")
    }

    /// A SELECT of the list bound at `placeholder`, one row an element.
    pub fn list(self, placeholder: &str, of: ListOf) -> String {
        match (self, of) {
            (Self::Sqlite, ListOf::Int | ListOf::Text) => {
                format!("SELECT value FROM json_each({placeholder})")
            }
            (Self::Sqlite, ListOf::Uuid | ListOf::Bytes) => {
                format!("SELECT unhex(value) FROM json_each({placeholder})")
            }
            (Self::Postgres, ListOf::Bytes) => {
                format!("SELECT decode(value, 'hex') FROM json_array_elements_text({placeholder}::json)")
            }
            (Self::Postgres, of) => {
                let cast = match of {
                    ListOf::Int => "::bigint",
                    ListOf::Text | ListOf::Bytes => "",
                    ListOf::Uuid => "::uuid",
                };
                format!("SELECT value{cast} FROM json_array_elements_text({placeholder}::json)")
            }
        }
    }

    /// A table in a FROM clause that is made of the JSON array of arrays bound at `placeholder`: one row an inner array,
    /// in the columns named, and `ord`, its place from 0. So a batch of any length is one statement with one argument.
    pub fn rows(self, placeholder: &str, alias: &str, columns: &[(&str, Col)]) -> String {
        let mut select = String::new();
        for (i, (name, kind)) in columns.iter().enumerate() {
            let value = match (self, kind) {
                (Self::Sqlite, Col::Int | Col::Text | Col::Bool) => format!("json_extract(value, '$[{i}]')"),
                (Self::Sqlite, Col::Uuid) => format!("unhex(json_extract(value, '$[{i}]'), '-')"),
                (Self::Sqlite, Col::Bytes) => format!("unhex(json_extract(value, '$[{i}]'))"),
                (Self::Postgres, Col::Int) => format!("(e.value->>{i})::bigint"),
                (Self::Postgres, Col::Text) => format!("e.value->>{i}"),
                (Self::Postgres, Col::Bool) => format!("(e.value->>{i})::boolean"),
                (Self::Postgres, Col::Uuid) => format!("(e.value->>{i})::uuid"),
                (Self::Postgres, Col::Bytes) => format!("decode(e.value->>{i}, 'hex')"),
            };
            let _ = write!(select, ", {value} AS {name}");
        }
        match self {
            Self::Sqlite => format!("(SELECT key AS ord{select} FROM json_each({placeholder})) AS {alias}"),
            Self::Postgres => format!(
                "(SELECT e.place - 1 AS ord{select} FROM jsonb_array_elements({placeholder}::jsonb) \
                 WITH ORDINALITY AS e(value, place)) AS {alias}"
            ),
        }
    }

    /// The text at a path of object keys inside a JSON text column: `spec.model` is `json_text("spec", &["model"])`.
    /// Keys are literals of this program, never a user's.
    pub fn json_text(self, column: &str, path: &[&str]) -> String {
        debug_assert!(path.iter().all(|key| key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')));
        match self {
            Self::Sqlite => format!("json_extract({column}, '$.{}')", path.join(".")),
            Self::Postgres => format!("({column}::json #>> '{{{}}}')", path.join(",")),
        }
    }
}

/// A JSON array of integers, for [`ListOf::Int`].
pub fn json_ints(values: impl IntoIterator<Item = i64>) -> String {
    json_list(values, |text, value| {
        let _ = write!(text, "{value}");
    })
}

/// A JSON array of strings, for [`ListOf::Text`].
pub fn json_texts<'a>(values: impl IntoIterator<Item = &'a str>) -> String {
    json_list(values, |text, value| {
        let _ = write!(text, "{}", serde_json::Value::from(value));
    })
}

/// A JSON array of UUIDs as 32 hex digits, for [`ListOf::Uuid`].
pub fn json_uuids(values: impl IntoIterator<Item = Uuid>) -> String {
    json_list(values, |text, value| {
        let _ = write!(text, "\"{}\"", value.simple());
    })
}

/// A JSON array of byte strings as hex digits, for [`ListOf::Bytes`].
pub fn json_bytes<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> String {
    json_list(values, |text, value| {
        let _ = write!(text, "\"{}\"", hex::encode(value));
    })
}

fn json_list<T>(values: impl IntoIterator<Item = T>, write: impl Fn(&mut String, T)) -> String {
    let mut text = String::from("[");
    for value in values {
        if text.len() > 1 {
            text.push(',');
        }
        write(&mut text, value);
    }
    text.push(']');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_json() {
        assert_eq!(json_ints([1, -2]), "[1,-2]");
        assert_eq!(json_ints([]), "[]");
        assert_eq!(json_texts(["a\"b", "c"]), r#"["a\"b","c"]"#);
        assert_eq!(json_uuids([Uuid::nil()]), format!("[\"{}\"]", "0".repeat(32)));
    }
}
