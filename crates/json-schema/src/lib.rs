//! JSON Schemas, compiled once and held against values; each fault is told by its JSON pointer.
//!
//! A crate of its own because its library is generic all through: whoever names it compiles it once more. It reads no
//! file and no network: a reference to another document is an error of the schema.

mod expansion;

use std::fmt;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{ValidationError, Validator};
use serde_json::Value;
use windrow_core::FieldError;

/// A fault's message may quote the value, which may be large. Characters.
const LONGEST_MESSAGE: usize = 300;

/// Whether a schema's `format` says something: drafts from 2019-09 on leave that to whoever validates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Formats {
    Ignored,
    Checked,
}

/// A compiled JSON Schema.
pub struct Schema(Validator);

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Schema")
    }
}

impl Schema {
    /// Draft 2020-12, unless its `$schema` names another.
    ///
    /// # Errors
    /// What is wrong with the schema, by the pointer into it; also when its references come to so much, or lead in such a ring, that
    /// checking a value could take very long.
    pub fn compile(schema: &Value, formats: Formats) -> Result<Self, FieldError> {
        expansion::check(schema)?;
        let options = jsonschema::options().offline();
        let built = options
            .should_validate_formats(formats == Formats::Checked)
            .build(schema)
            .map_err(|error| FieldError::new(error.instance_path().as_str(), shorten(&error.to_string())))?;
        Ok(Self(built))
    }

    pub fn accepts(&self, value: &Value) -> bool {
        self.0.is_valid(value)
    }

    /// The first `max` faults of a value, each by the pointer of the field that is wrong, missing or unknown; none when
    /// the schema accepts it.
    pub fn faults(&self, value: &Value, max: usize) -> Vec<FieldError> {
        self.0.iter_errors(value).flat_map(|error| faults(&error)).take(max).collect()
    }
}

fn faults(error: &ValidationError<'_>) -> Vec<FieldError> {
    let place = error.instance_path().as_str();
    let below = |name: &str| format!("{place}/{}", escape(name));
    match error.kind() {
        ValidationErrorKind::Required { property } => {
            vec![FieldError::new(below(property.as_str().unwrap_or_default()), "is missing")]
        }
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => unexpected
            .iter()
            .map(|name| FieldError::new(below(name), "is no field that is known here"))
            .collect(),
        _ => vec![FieldError::new(place, shorten(&error.to_string()))],
    }
}

/// RFC 6901, section 3.
fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Keeps both ends: the value stands at the one, what is wrong with it at the other.
fn shorten(message: &str) -> String {
    if message.chars().count() <= LONGEST_MESSAGE {
        return message.to_owned();
    }
    let half = LONGEST_MESSAGE / 2;
    let end: Vec<char> = message.chars().rev().take(half).collect();
    let start: String = message.chars().take(half).collect();
    format!("{start} … {}", end.into_iter().rev().collect::<String>())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn pointers(schema: &Value, value: &Value) -> Vec<String> {
        let schema = Schema::compile(schema, Formats::Ignored).unwrap();
        assert_eq!(schema.accepts(value), schema.faults(value, 1).is_empty());
        schema.faults(value, 50).into_iter().map(|fault| fault.pointer).collect()
    }

    #[test]
    fn each_bad_field_is_named_by_its_pointer() {
        let schema = json!({
            "type": "object",
            "required": ["records", "a/b"],
            "additionalProperties": false,
            "properties": {
                "records": {"type": "integer", "minimum": 1},
                "a/b": {"type": "string"},
                "nested": {"type": "object", "properties": {"list": {"type": "array", "items": {"type": "string"}}}},
            },
        });
        let mut found = pointers(&schema, &json!({"records": 0, "x~y": 1, "nested": {"list": ["a", 2]}}));
        found.sort_unstable();
        assert_eq!(found, ["/a~1b", "/nested/list/1", "/records", "/x~0y"]);
        assert_eq!(pointers(&schema, &json!([])), [""]);
        assert!(pointers(&schema, &json!({"records": 1, "a/b": ""})).is_empty());
    }

    #[test]
    fn no_more_faults_are_told_than_asked_for_and_none_at_length() {
        let schema = Schema::compile(&json!({"items": {"type": "integer"}}), Formats::Ignored).unwrap();
        let value = json!(["x".repeat(1_000_000), "y", "z"]);
        assert_eq!(schema.faults(&value, 2).len(), 2);
        assert!(schema.faults(&value, 1)[0].message.len() < 1000);
    }

    #[test]
    fn a_format_says_something_only_where_asked() {
        let schema = json!({"format": "email"});
        for (formats, accepts) in [(Formats::Ignored, true), (Formats::Checked, false)] {
            assert_eq!(Schema::compile(&schema, formats).unwrap().accepts(&json!("nobody")), accepts);
        }
    }

    #[test]
    fn a_schema_that_is_none_is_refused_where_it_is_wrong() {
        let refused = |schema: Value| Schema::compile(&schema, Formats::Ignored).unwrap_err();
        assert_eq!(refused(json!({"properties": {"a": {"type": "strin"}}})).pointer, "/properties/a/type");
        refused(json!({"$ref": "https://example.com/other.json"}));
    }

    fn schema() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!(true)),
            Just(json!({})),
            Just(json!({"type": "string"})),
            Just(json!({"type": ["integer", "null"]})),
            Just(json!({"pattern": "(a*)*b"})),
            Just(json!({"pattern": "["})),
            Just(json!({"minLength": -1})),
            Just(json!({"multipleOf": 0})),
            Just(json!({"multipleOf": 1e-300})),
            Just(json!({"$ref": "#"})),
            Just(json!({"$ref": "#/$defs/x"})),
            Just(json!({"$ref": "file:///etc/passwd"})),
            Just(json!({"$schema": "x"})),
            Just(json!({"format": "date-time"})),
            Just(json!({"enum": []})),
            Just(json!({"const": {"a": 1}})),
            Just(json!(7)),
            Just(json!({"maxItems": 1e300})),
            Just(json!({"$id": "http://["})),
            Just(json!({"type": "nonsense"})),
        ];
        leaf.prop_recursive(3, 20, 3, |inner| {
            let place = proptest::sample::select(
                &[
                    "items",
                    "additionalProperties",
                    "not",
                    "contains",
                    "propertyNames",
                    "unevaluatedProperties",
                    "if",
                    "then",
                ][..],
            );
            prop_oneof![
                (place, inner.clone()).prop_map(|(place, inner)| json!({place: inner})),
                proptest::collection::vec(inner.clone(), 0..3).prop_map(|all| json!({"allOf": all})),
                proptest::collection::vec(inner.clone(), 0..3).prop_map(|all| json!({"anyOf": all})),
                (inner.clone(), inner).prop_map(
                    |(a, x)| json!({"properties": {"a": a, "a/~b": {}}, "required": ["a"], "$defs": {"x": x}})
                ),
            ]
        })
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(|n| json!(n)),
            "[ab]{0,9}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 20, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                (inner.clone(), inner).prop_map(|(a, b)| json!({"a": a, "a/~b": b})),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_schema_is_refused_or_says_the_same_twice_of_any_value(schema in schema(), value in value()) {
            if let Ok(schema) = Schema::compile(&schema, Formats::Checked) {
                prop_assert_eq!(schema.accepts(&value), schema.faults(&value, 1).is_empty());
            }
        }
    }
}
