//! Answers that must be JSON of a given shape.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use serde_json::Value;
use sha2::{Digest, Sha256};
use windrow_json_schema::{Formats, Schema};

use crate::request::canonical_json;

/// How many compiled schemas are kept. A template has at most ten steps; when more than this many are in use, compiling
/// anew costs less than the memory.
const KEPT: usize = 256;

/// How many faults an error names: enough to mend an answer, short enough to send back.
const NAMED_FAULTS: usize = 5;

/// Reads `text` as JSON and checks it against `schema`. A Markdown code fence around it is ignored.
///
/// # Errors
/// What is wrong, in words that can be sent back to the model as they are; each fault with its JSON pointer. A schema that is none is
/// an error too.
pub fn validate_json(schema: &Value, text: &str) -> Result<Value, String> {
    let schema = compiled(schema)?;
    let value = parse(text)?;
    check(&schema, &value).map(|()| value)
}

/// Whether `schema` is a JSON Schema that answers can be checked against. References to other documents are refused.
///
/// # Errors
/// What is wrong with it.
pub fn check_schema(schema: &Value) -> Result<(), String> {
    compiled(schema).map(|_| ())
}

/// Checks a value that is JSON already.
pub(crate) fn check_value(schema: &Value, value: &Value) -> Result<(), String> {
    check(&*compiled(schema)?, value)
}

fn check(schema: &Schema, value: &Value) -> Result<(), String> {
    if schema.accepts(value) {
        return Ok(());
    }
    let faults = schema.faults(value, NAMED_FAULTS + 1);
    let mut lines: Vec<String> =
        faults.iter().take(NAMED_FAULTS).map(|fault| format!("- at {fault}")).collect();
    if faults.len() > NAMED_FAULTS {
        lines.push("- and more".to_owned());
    }
    Err(format!("The JSON does not match the schema:\n{}", lines.join("\n")))
}

fn parse(text: &str) -> Result<Value, String> {
    let body = unfenced(text);
    if body.is_empty() {
        return Err("The answer is empty; it must be one JSON value.".to_owned());
    }
    serde_json::from_str(body).map_err(|error| {
        format!("The answer is not valid JSON ({error}). Answer with one JSON value and nothing else.")
    })
}

/// The inside of the first Markdown code fence when the text begins with one, else the text itself.
fn unfenced(text: &str) -> &str {
    let text = text.trim().trim_start_matches('\u{feff}').trim_start();
    let Some(rest) = text.strip_prefix("```") else { return text };
    let rest = rest.strip_prefix("json").or_else(|| rest.strip_prefix("JSON")).unwrap_or(rest);
    rest.rfind("```").map_or(rest, |end| &rest[..end]).trim()
}

/// The schema, compiled at most once while it is in use.
fn compiled(schema: &Value) -> Result<Arc<Schema>, String> {
    static CACHE: OnceLock<Mutex<HashMap<[u8; 32], Arc<Schema>>>> = OnceLock::new();
    let mut canonical = Vec::new();
    canonical_json(schema, &mut canonical);
    let key: [u8; 32] = Sha256::digest(&canonical).into();
    let cache = CACHE.get_or_init(Mutex::default);
    if let Some(found) = cache.lock().expect(UNPOISONED).get(&key) {
        return Ok(Arc::clone(found));
    }
    let compiled = Schema::compile(schema, Formats::Checked)
        .map_err(|error| format!("not a usable JSON Schema, at {error}"))?;
    let compiled = Arc::new(compiled);
    let mut kept = cache.lock().expect(UNPOISONED);
    if kept.len() >= KEPT {
        kept.clear();
    }
    kept.insert(key, Arc::clone(&compiled));
    Ok(compiled)
}

const UNPOISONED: &str = "nothing panics while the schemas are locked";

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema() -> Value {
        json!({"type": "object", "required": ["name"], "properties": {
            "name": {"type": "string", "minLength": 2}, "age": {"type": "integer", "minimum": 0}}})
    }

    #[test]
    fn plain_and_fenced_json_is_read() {
        let expected = json!({"name": "Ada"});
        for text in [
            r#"{"name": "Ada"}"#,
            "\u{feff} {\"name\": \"Ada\"}\n",
            "```json\n{\"name\": \"Ada\"}\n```",
            "```\n{\"name\": \"Ada\"}```\nThere you are.",
            "```JSON {\"name\": \"Ada\"}",
        ] {
            assert_eq!(validate_json(&schema(), text), Ok(expected.clone()), "{text}");
        }
        let fence = json!({"name": "a ```b``` c"});
        assert_eq!(validate_json(&schema(), &format!("```json\n{fence}\n```")), Ok(fence));
    }

    #[test]
    fn faults_are_named_where_they_are() {
        let error = validate_json(&schema(), r#"{"name": "A", "age": -1}"#).unwrap_err();
        assert!(error.contains("at /name: ") && error.contains("at /age: "), "{error}");
        let error = validate_json(&schema(), "Sure! Here is your JSON").unwrap_err();
        assert!(error.contains("not valid JSON") && error.contains("line 1 column 1"), "{error}");
        assert!(validate_json(&schema(), "  ").unwrap_err().contains("empty"));
        let long = json!({"name": "x".repeat(5_000), "age": "y".repeat(5_000)});
        assert!(validate_json(&schema(), &long.to_string()).unwrap_err().len() < 1_000);
    }

    #[test]
    fn a_schema_that_is_none_is_refused() {
        assert!(check_schema(&json!({"type": "strin"})).is_err());
        assert!(check_schema(&json!({"$ref": "https://example.com/other.json"})).is_err());
        assert_eq!(check_schema(&json!({})), Ok(()));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_an_answer_or_told_what_is_wrong(
            text in "\\PC{0,100}|(```(json)?|\n|\\{|\\}|\\[|\\]|\"name\"|\"age\"|:|,|1|\"xy\"| |\\\\u0000){0,30}"
        ) {
            if let Err(problem) = validate_json(&schema(), &text) {
                proptest::prop_assert!(!problem.is_empty());
            }
        }
    }
}
