//! The OpenAPI document as it is served: a change of the API shows in its snapshot.

use serde_json::json;

use crate::harness::Windrow;

#[test]
fn the_openapi_document_is_stable() {
    let windrow = Windrow::new();
    let server = windrow.up();
    // without a token: whoever writes a client reads it first
    let answer = reqwest::blocking::get(format!("{}/openapi.json", server.url)).unwrap();
    assert_eq!(answer.status(), 200);
    let mut document: serde_json::Value = answer.json().unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    document["info"]["version"] = json!("VERSION");
    let operations = document["paths"].as_object_mut().unwrap().iter_mut().flat_map(|(path, item)| {
        item.as_object_mut().unwrap().iter_mut().map(move |(method, operation)| (path, method, operation))
    });
    for (path, method, operation) in operations {
        for (status, response) in operation["responses"].as_object_mut().unwrap() {
            if status.starts_with(['4', '5']) {
                // all errors have one form; the statuses are enough to read
                let Some(content) = response["content"].get("application/problem+json") else { continue };
                let schema = &content["schema"]["$ref"];
                assert_eq!(schema, "#/components/schemas/Problem", "{method} {path} {status}");
                *response = json!("Problem");
            }
        }
    }
    insta::assert_snapshot!(serde_json::to_string_pretty(&document).unwrap());
}
