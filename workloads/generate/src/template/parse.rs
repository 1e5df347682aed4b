//! From the text of a document to its type, with errors that name a pointer and a line.

use std::collections::HashMap;
use std::fmt::{self, Write as _};

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_path_to_error::{Path, Segment};
use serde_saphyr::Spanned;
use windrow_core::FieldError;

use super::document::{MAX_CHARS, TemplateDocument};

/// How deep a document may nest.
const MAX_DEPTH: usize = 32;

/// A path of serde as a JSON pointer (RFC 6901).
pub fn pointer_of(path: &Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        // Writing to a String cannot fail.
        let _ = match segment {
            Segment::Seq { index } => write!(pointer, "/{index}"),
            Segment::Map { key } => write!(pointer, "/{}", escape(key)),
            Segment::Enum { variant } => write!(pointer, "/{}", escape(variant)),
            Segment::Unknown => Ok(()),
        };
    }
    pointer
}

/// A key as it stands in a JSON pointer.
pub(super) fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Reads and checks a document.
pub(super) fn parse(text: &str) -> Result<TemplateDocument, Vec<FieldError>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let whole = |message: String| vec![FieldError::new("", message)];
    let chars = text.chars().count();
    if chars > MAX_CHARS {
        return Err(whole(format!("{chars} characters; a template has at most {MAX_CHARS}")));
    }
    if let Some(at) = text.find('\0') {
        let line = text[..at].matches('\n').count() + 1;
        return Err(whole(format!("line {line}: a NUL character; a template is text")));
    }
    let (value, lines) = if text.trim_start().starts_with('{') {
        (read_json(text).map_err(whole)?, Lines::default())
    } else {
        read_yaml(text).map_err(whole)?
    };
    let expanded = text_chars(&value);
    if expanded > MAX_CHARS {
        return Err(whole(format!(
            "{expanded} characters with its aliases; a template has at most {MAX_CHARS}"
        )));
    }
    typed(value).map_err(|errors| lines.attach(errors))
}

fn typed(value: Value) -> Result<TemplateDocument, Vec<FieldError>> {
    let Value::Object(mut outer) = value else {
        return Err(vec![FieldError::new("", "a template document is a mapping with the key template")]);
    };
    let Some(inner) = outer.shift_remove("template") else {
        return Err(vec![FieldError::new("", "the key template is missing: everything stands below it")]);
    };
    if let Some(key) = outer.keys().next() {
        let message = format!("unknown field `{key}`; everything stands below template");
        return Err(vec![FieldError::new(format!("/{}", escape(key)), message)]);
    }
    let document: TemplateDocument = serde_path_to_error::deserialize(inner)
        .map_err(|e| vec![FieldError::new(format!("/template{}", pointer_of(e.path())), e.inner())])?;
    let mut errors = document.problems();
    for error in &mut errors {
        error.pointer.insert_str(0, "/template");
    }
    if errors.is_empty() { Ok(document) } else { Err(errors) }
}

fn read_json(text: &str) -> Result<Value, String> {
    // serde_json itself stops at 128 levels; our own limit comes after, with a message of ours.
    let value: Value = serde_json::from_str(text).map_err(|e| format!("not valid JSON: {e}"))?;
    if depth(&value) > MAX_DEPTH {
        return Err(format!("nested deeper than {MAX_DEPTH} levels"));
    }
    Ok(value)
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn text_chars(value: &Value) -> usize {
    match value {
        Value::String(text) => text.chars().count(),
        Value::Array(items) => items.iter().map(text_chars).sum(),
        Value::Object(fields) => fields.iter().map(|(k, v)| k.chars().count() + text_chars(v)).sum(),
        _ => 0,
    }
}

fn read_yaml(text: &str) -> Result<(Value, Lines), String> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_documents: 1,
            max_events: 20_000,
            max_nodes: 20_000,
            max_anchors: 100,
            max_aliases: 100,
            max_total_scalar_bytes: 4 * MAX_CHARS,
            max_merge_keys: 100,
        },
        // A text may be repeated by aliases; the limit keeps a chain of them from growing without bound.
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 1_000,
            max_replay_stack_depth: 8,
        },
        strict_booleans: true,
        reject_unsupported_tags: true,
    };
    let root: Located = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let plain = error.without_snippet();
        match plain.location() {
            Some(at) if at.line() > 0 => {
                let message = plain.to_string();
                let message = message.split(" at line ").next().unwrap_or(&message).to_owned();
                format!("line {}, column {}: not valid YAML: {message}", at.line(), at.column())
            }
            _ => format!("not valid YAML: {plain}"),
        }
    })?;
    let mut lines = Lines::default();
    let value = root.into_value(&mut String::new(), &mut lines);
    Ok((value, lines))
}

/// On which line of the document each pointer stands.
#[derive(Default)]
struct Lines(HashMap<String, u64>);

impl Lines {
    /// Puts the line in front of each message whose place, or the nearest one above it, is known.
    fn attach(&self, mut errors: Vec<FieldError>) -> Vec<FieldError> {
        for error in &mut errors {
            let mut pointer = error.pointer.as_str();
            let line = loop {
                match (self.0.get(pointer), pointer.rfind('/')) {
                    (Some(line), _) => break Some(*line),
                    (None, Some(slash)) => pointer = &pointer[..slash],
                    (None, None) => break None,
                }
            };
            if let Some(line) = line.filter(|line| *line > 0) {
                error.message.insert_str(0, &format!("line {line}: "));
            }
        }
        errors
    }
}

/// A node of the document with its line.
struct Located {
    line: u64,
    tree: Tree,
}

enum Tree {
    Scalar(Value),
    List(Vec<Located>),
    Mapping(Vec<(String, Located)>),
}

impl Located {
    fn into_value(self, pointer: &mut String, lines: &mut Lines) -> Value {
        lines.0.insert(pointer.clone(), self.line);
        let base = pointer.len();
        match self.tree {
            Tree::Scalar(value) => value,
            Tree::List(items) => {
                let mut list = Vec::with_capacity(items.len());
                for (i, item) in items.into_iter().enumerate() {
                    let _ = write!(pointer, "/{i}");
                    list.push(item.into_value(pointer, lines));
                    pointer.truncate(base);
                }
                Value::Array(list)
            }
            Tree::Mapping(fields) => {
                let mut map = Map::with_capacity(fields.len());
                for (key, field) in fields {
                    let _ = write!(pointer, "/{}", escape(&key));
                    map.insert(key, field.into_value(pointer, lines));
                    pointer.truncate(base);
                }
                Value::Object(map)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Located {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = Spanned::<Tree>::deserialize(deserializer)?;
        Ok(Self { line: node.referenced.line(), tree: node.value })
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, number, boolean, null, list or mapping")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::Bool(value)))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Tree, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("a number must be finite"))?;
        Ok(Tree::Scalar(Value::Number(number)))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::String(value.to_owned())))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::String(value)))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::Null))
    }

    fn visit_none<E: de::Error>(self) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        Tree::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Tree::Mapping(fields))
    }
}

#[cfg(test)]
mod tests;
