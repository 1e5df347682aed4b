//! What the OpenAPI document says of an operation: its parameters, and bodies that fit it.

use serde_json::{Value, json};

use crate::harness::Api;

/// The names in braces.
pub fn path_parameters(path: &str) -> Vec<String> {
    path.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name.to_owned()).collect()
}

/// What a query must have, all of it 1.
pub fn required_query(operation: &Value) -> String {
    let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
    let required = parameters.iter().filter(|p| p["in"] == "query" && p["required"] == true);
    let pairs: Vec<String> = required.map(|p| format!("{}=1", p["name"].as_str().unwrap())).collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

pub fn with_body(
    api: &Api,
    document: &Value,
    operation: &Value,
    method: &str,
    path: &str,
) -> reqwest::blocking::RequestBuilder {
    let request = api.request(&method.to_uppercase(), path);
    let content = &operation["requestBody"]["content"];
    match content.get("application/json") {
        Some(body) => request.json(&instance(document, &body["schema"], 0)),
        None if content.is_object() => request.body("x"),
        None => request,
    }
}

/// The smallest value that fits a schema of the document.
pub fn instance(document: &Value, schema: &Value, depth: usize) -> Value {
    assert!(depth < 16, "a schema without end: {schema}");
    if let Some(reference) = schema["$ref"].as_str() {
        return instance(document, document.pointer(&reference[1..]).unwrap(), depth + 1);
    }
    if let Some(example) = schema["examples"].get(0) {
        return example.clone();
    }
    for choice in ["oneOf", "anyOf"] {
        if let Some(options) = schema[choice].as_array() {
            let option = options.iter().find(|option| option["type"] != "null").unwrap();
            return instance(document, option, depth + 1);
        }
    }
    if let Some(all) = schema["allOf"].as_array() {
        let parts = all.iter().map(|part| instance(document, part, depth + 1));
        return parts.fold(json!({}), |mut sum, part| {
            sum.as_object_mut().unwrap().extend(part.as_object().cloned().unwrap_or_default());
            sum
        });
    }
    if let Some(value) = schema["enum"].get(0) {
        return value.clone();
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().find(|kind| *kind != "null").cloned().unwrap_or_default(),
        kind => kind.clone(),
    };
    match kind.as_str() {
        Some("string") if schema["format"] == "uuid" => json!("0199d0a8-5f6c-7000-8000-000000000001"),
        Some("string") => json!("x"),
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or(json!(1)),
        Some("boolean") => json!(false),
        Some("array") => json!([]),
        _ => {
            let required = schema["required"].as_array().cloned().unwrap_or_default();
            let fields = required.iter().map(|name| {
                let name = name.as_str().unwrap();
                (name.to_owned(), instance(document, &schema["properties"][name], depth + 1))
            });
            Value::Object(fields.collect())
        }
    }
}
