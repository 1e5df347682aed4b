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
mod tests {
    use super::*;

    fn errors(text: &str) -> Vec<FieldError> {
        parse(text).expect_err(text)
    }

    const STEPS: &str = "  steps:\n    - id: a\n      prompt: p\n";

    fn with(head: &str) -> String {
        format!("template:\n  name: t\n{head}{STEPS}")
    }

    #[test]
    fn yaml_and_json_are_the_same_document() {
        let yaml = parse("template:\n  name: t\n  schema_requirements: [a.b, 'c[0]']\n  steps:\n    - id: s\n      prompt: |\n        two\n        lines\n      temperature: 0.5\n").unwrap();
        let json = parse(r#"{"template": {"name": "t", "schema_requirements": ["a.b", "c[0]"], "steps": [{"id": "s", "prompt": "two\nlines\n", "temperature": 0.5}]}}"#).unwrap();
        assert_eq!(yaml, json);
        let again = serde_json::to_string(&serde_json::json!({ "template": yaml })).unwrap();
        assert_eq!(parse(&again).unwrap(), yaml);
    }

    /// Each document is wrong in one way; the error names the place, its line, and why.
    #[test]
    fn errors_name_pointer_line_and_reason() {
        let eleven: String = (0..11).map(|i| format!("    - {{id: s{i}, prompt: p}}\n")).collect();
        for (text, pointer, line, why) in [
            (with("  colour: red\n"), "/template/colour", 3, "unknown field"),
            (with("  description: [a]\n"), "/template/description", 3, "string"),
            (with("  schema_requirements: ['a..b']\n"), "/template/schema_requirements/0", 3, "not a path"),
            (with("  schema_requirements: [steps.x]\n"), "/template/schema_requirements/0", 3, "rename"),
            (with("  output: {}\n"), "/template/output", 3, "at least one"),
            (with("  output:\n    index: x\n"), "/template/output/index", 4, "field of every record"),
            (with("  fragment: x\n"), "/template/fragment", 3, "not both"),
            ("template:\n  name: T t\n".to_owned() + STEPS, "/template/name", 2, "lower-case"),
            ("template:\n  name: t\n".to_owned(), "/template/steps", 2, "at least one step"),
            (format!("template:\n  name: t\n  steps:\n{eleven}"), "/template/steps", 4, "at most 10"),
            (with("") + "    - {id: a, prompt: q}\n", "/template/steps/1/id", 6, "unique"),
            (with("") + "    - {id: 1a, prompt: q}\n", "/template/steps/1/id", 6, "lower-case"),
            (with("") + "    - {id: meta, prompt: q}\n", "/template/steps/1/id", 6, "field of every record"),
            (with("") + "    - {id: b}\n", "/template/steps/1", 6, "missing field `prompt`"),
            (with("") + "    - {id: b, prompt: ' '}\n", "/template/steps/1/prompt", 6, "empty"),
            (
                with("") + "    - {id: b, prompt: q, temperature: 3}\n",
                "/template/steps/1/temperature",
                6,
                "0 to 2",
            ),
            (
                with("") + "    - {id: b, prompt: q, max_tokens: -1}\n",
                "/template/steps/1/max_tokens",
                6,
                "u32",
            ),
            (
                with("") + "    - {id: b, prompt: q, output: xml}\n",
                "/template/steps/1/output",
                6,
                "unknown variant",
            ),
            (
                with("") + "    - {id: b, prompt: q, schema: {}}\n",
                "/template/steps/1/schema",
                6,
                "output: json",
            ),
            (
                with("") + "    - {id: b, prompt: q, output: json, schema: {type: 5}}\n",
                "/template/steps/1/schema",
                6,
                "not a JSON Schema",
            ),
            (
                with("") + "    - {id: b, prompt: q, output: json, schema: {$ref: 'http://127.0.0.1/x'}}\n",
                "/template/steps/1/schema",
                6,
                "not a JSON Schema",
            ),
        ] {
            let errors = errors(&text);
            assert_eq!(errors[0].pointer, pointer, "{text}\n{errors:?}");
            assert!(errors[0].message.starts_with(&format!("line {line}: ")), "{text}\n{errors:?}");
            assert!(errors[0].message.contains(why), "{text}\n{errors:?}");
        }
    }

    #[test]
    fn broken_documents_name_the_line() {
        for (text, why) in [
            ("template:\n  name: [t\n", "line "),
            ("template:\n  name: t\n name: u\n", "line "),
            ("template:\n  name: t\n  name: u\n", "line 3"),
            ("{\"template\": {\n\"name\": }}", "line 2"),
            ("", "mapping"),
            ("- a\n", "mapping"),
            ("name: t\n", "template is missing"),
            ("template: {}\nother: 1\n", "unknown field"),
            ("template: !!python/object x\n", "line 1"),
            ("template:\n  na\0me: t\n", "line 2: a NUL"),
            ("a: 1\n---\nb: 2\n", "not valid YAML"),
        ] {
            let errors = errors(text);
            assert!(errors[0].message.contains(why), "{text:?}: {errors:?}");
        }
    }

    #[test]
    fn several_problems_are_all_reported() {
        let text = "template:\n  name: ''\n  steps:\n    - {id: A, prompt: ''}\n    - {id: b, prompt: q, temperature: 9}\n";
        let pointers: Vec<String> = errors(text).into_iter().map(|e| e.pointer).collect();
        assert_eq!(
            pointers,
            [
                "/template/name",
                "/template/steps/0/id",
                "/template/steps/0/prompt",
                "/template/steps/1/temperature"
            ]
        );
    }

    #[test]
    fn bombs_are_refused() {
        let mut laughs = String::from("a: &a [x,x,x,x,x,x,x,x,x,x]\n");
        for (name, before) in
            ["b", "c", "d", "e", "f", "g", "h"].iter().zip(["a", "b", "c", "d", "e", "f", "g"])
        {
            let many = vec![format!("*{before}"); 10].join(",");
            laughs.push_str(&format!("{name}: &{name} [{many}]\n"));
        }
        let long = "x".repeat(40_000);
        let repeated = format!("template:\n  name: &n {long}\n  a: [{}]\n", vec!["*n"; 90].join(", "));
        let deep_json = format!("{{\"template\": {}{}}}", "[".repeat(20_000), "]".repeat(20_000));
        let shallower = format!("{{\"template\": {}1{}}}", "[".repeat(100), "]".repeat(100));
        let deep_yaml = format!("template: {}{}", "[".repeat(20_000), "]".repeat(20_000));
        let deep_block: String = (0..300).map(|i| format!("{}a:\n", " ".repeat(i))).collect();
        for text in [laughs, repeated, deep_json, shallower, deep_yaml, deep_block, "a".repeat(50_001)] {
            let errors = errors(&text);
            assert!(errors[0].message.len() < 2_000, "{errors:?}");
        }
    }

    #[test]
    fn limits_are_inclusive() {
        let fill = |n: usize| {
            let head = "template: {name: t, steps: [{id: a, prompt: '";
            let tail = "'}]}";
            format!("{head}{}{tail}", "ü".repeat(n - head.len() - tail.len()))
        };
        assert!(parse(&fill(MAX_CHARS)).is_ok());
        assert!(errors(&fill(MAX_CHARS + 1))[0].message.contains("50001 characters"));
    }
}
