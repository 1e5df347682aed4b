//! Dotted paths into a record: `author.biography`, `poems[0].text`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    Field(String),
    /// A position in a list, from 0.
    Index(usize),
}

/// A path to a value in a record. It begins with a field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldPath(Vec<Segment>);

/// Why a text is not a path.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{text}\" is not a path: {why}; write fields with dots and positions in brackets, such as poems[0].text"
)]
pub struct PathError {
    text: String,
    why: &'static str,
}

/// The largest position in a path: a CSV header must not make a list of a billion nulls.
const MAX_INDEX: usize = 9_999;
/// The most segments of a path.
const MAX_SEGMENTS: usize = 32;

/// What was found at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Value,
    Null,
    Missing,
}

impl FieldPath {
    /// A path of one field, which may contain any character.
    pub fn field(name: impl Into<String>) -> Self {
        Self(vec![Segment::Field(name.into())])
    }

    /// This path, one step further down.
    #[must_use]
    pub fn join(mut self, segment: Segment) -> Self {
        self.0.push(segment);
        self
    }

    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// The field that the path begins with.
    pub fn root(&self) -> &str {
        match self.0.first() {
            Some(Segment::Field(name)) => name,
            _ => "",
        }
    }

    /// Whether a value at `self` implies one at `other`: whether `other` is the same path or one above it.
    pub fn implies(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    /// What a record has at this path.
    pub fn find(&self, record: &Value) -> Found {
        let mut value = record;
        for segment in &self.0 {
            let next = match segment {
                Segment::Field(name) => value.get(name),
                Segment::Index(i) => value.get(i),
            };
            match next {
                Some(next) => value = next,
                None => return Found::Missing,
            }
        }
        if value.is_null() { Found::Null } else { Found::Value }
    }
}

impl FromStr for FieldPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |why| PathError { text: text.chars().take(100).collect(), why };
        let mut segments = Vec::new();
        for part in text.split('.') {
            let (name, mut positions) = match part.find('[') {
                Some(at) => part.split_at(at),
                None => (part, ""),
            };
            if name.is_empty() {
                return Err(error("a field's name is missing"));
            }
            if name.contains(']') || name.chars().any(char::is_control) {
                return Err(error("a field's name has a character that it can't have"));
            }
            segments.push(Segment::Field(name.to_owned()));
            while !positions.is_empty() {
                let inner = positions.strip_prefix('[').and_then(|rest| rest.split_once(']'));
                let Some((digits, rest)) = inner else {
                    return Err(error("a bracket is not closed"));
                };
                let index = Some(digits)
                    .filter(|d| d.bytes().all(|b| b.is_ascii_digit()))
                    .and_then(|d| d.parse().ok())
                    .filter(|i| *i <= MAX_INDEX);
                segments.push(Segment::Index(index.ok_or_else(|| error("a position is from 0 to 9999"))?));
                positions = rest;
            }
        }
        if segments.len() > MAX_SEGMENTS {
            return Err(error("it has more than 32 parts"));
        }
        Ok(Self(segments))
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Field(name) if i == 0 => f.write_str(name)?,
                Segment::Field(name) => write!(f, ".{name}")?,
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

impl Serialize for FieldPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FieldPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn paths_find_values() {
        let record =
            json!({"author": {"biography": "b", "born": null}, "poems": [{"text": "t"}], "n": [[1]]});
        for (path, found) in [
            ("author.biography", Found::Value),
            ("author", Found::Value),
            ("author.born", Found::Null),
            ("author.died", Found::Missing),
            ("author.biography.x", Found::Missing),
            ("poems[0].text", Found::Value),
            ("poems[1].text", Found::Missing),
            ("poems.text", Found::Missing),
            ("n[0][0]", Found::Value),
        ] {
            assert_eq!(path.parse::<FieldPath>().unwrap().find(&record), found, "{path}");
        }
    }

    #[test]
    fn bad_paths_are_refused() {
        let deep = ["a"; 33].join(".");
        for path in [
            "", ".", "a.", ".a", "a..b", "a[", "a[0", "a[x]", "a[-1]", "a[]", "[0]", "a]b", "a[0]b",
            "a[99999]", &deep,
        ] {
            assert!(path.parse::<FieldPath>().is_err(), "{path}");
        }
    }

    #[test]
    fn a_deeper_path_implies_a_shallower_one() {
        let path = |text: &str| text.parse::<FieldPath>().unwrap();
        assert!(path("a.b[0].c").implies(&path("a.b")));
        assert!(path("a.b").implies(&path("a.b")));
        assert!(!path("a.b").implies(&path("a.b.c")));
        assert!(!path("a.bc").implies(&path("a.b")));
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_survives_display(text in ".{0,40}") {
            if let Ok(path) = text.parse::<FieldPath>() {
                prop_assert_eq!(path.to_string().parse::<FieldPath>(), Ok(path));
            }
        }
    }
}
