//! Requests made at random from the OpenAPI document: whatever is sent, the answer is one that the document names, and
//! none is a 500.
//!
//! `WINDROW_REQUEST_SEED=s` replays one run; `WINDROW_REQUESTS=n` sends more of them (default 25 an operation).

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use reqwest::blocking::Client;
use reqwest::redirect::Policy;
use serde_json::{Map, Value, json};
use windrow_test_support::TestDb;

use crate::document::{instance, path_parameters};
use crate::harness::{Answer, Api, Windrow, number};
use crate::owners::one_of_each;

/// Texts that have broken parsers elsewhere. All can stand in a URL once they are escaped.
const HARSH: &[&str] = &[
    "",
    " ",
    "x",
    "0",
    "-1",
    "1e400",
    "9223372036854775808",
    "null",
    "true",
    "[]",
    "{}",
    "%",
    "%00",
    "\u{0}",
    "../../etc/passwd",
    "\u{202e}\u{feff}",
    "𝔘𝔫𝔦",
    "'; DROP TABLE jobs; --",
    "{{ 7 * 7 }}",
    "{% for i in range(100000) %}x{% endfor %}",
    "2026-13-45T99:99:99Z",
    "0199d0a8-5f6c-7000-8000-000000000001",
    "latest",
    "asc,desc",
    "a\r\nx-evil: 1",
];

struct Dice(ChaCha8Rng);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.0.next_u64() % n as u64).unwrap()
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    fn harsh(&mut self) -> String {
        if self.one_in(20) { "y".repeat(70_000) } else { (*self.of(HARSH)).to_owned() }
    }

    /// Any JSON at all.
    fn junk(&mut self) -> Value {
        match self.below(9) {
            0 => Value::Null,
            1 => json!(true),
            2 => json!(i64::MIN),
            3 => json!(u64::MAX),
            4 => json!(-0.5),
            5 => json!([]),
            6 => (0..200).fold(json!(1), |inner, _| json!([inner])),
            7 => json!({ "a": { "b": self.harsh() } }),
            _ => json!(self.harsh()),
        }
    }

    /// A value that mostly fits a schema, with what is optional there or not, and now and then something else.
    fn value(&mut self, document: &Value, schema: &Value, depth: usize) -> Value {
        if self.one_in(12) {
            return self.junk();
        }
        if depth > 12 {
            return Value::Null;
        }
        if let Some(reference) = schema["$ref"].as_str() {
            return self.value(document, document.pointer(&reference[1..]).unwrap(), depth + 1);
        }
        for choice in ["oneOf", "anyOf"] {
            if let Some(options) = schema[choice].as_array() {
                let option = self.of(options);
                return self.value(document, option, depth + 1);
            }
        }
        let Some(properties) = schema["properties"].as_object() else {
            return self.scalar(document, schema, depth);
        };
        let mut object = Map::new();
        for (name, property) in properties {
            let required = schema["required"].as_array().is_some_and(|list| list.contains(&json!(name)));
            if required != self.one_in(if required { 15 } else { 3 }) {
                // a claim that is told to wait, waits
                let value =
                    if name == "wait_ms" { json!(0) } else { self.value(document, property, depth + 1) };
                object.insert(name.clone(), value);
            }
        }
        if self.one_in(10) {
            object.insert(self.harsh(), self.junk());
        }
        Value::Object(object)
    }

    fn scalar(&mut self, document: &Value, schema: &Value, depth: usize) -> Value {
        if let Some(values) = schema["enum"].as_array() {
            return self.of(values).clone();
        }
        match schema["type"].as_str().or_else(|| schema["type"][0].as_str()) {
            Some("string") if self.one_in(2) => json!(self.harsh()),
            Some("integer" | "number") => self
                .of(&[json!(0), json!(-1), json!(1), json!(10_000_001), json!(i64::MAX), json!(1.5)])
                .clone(),
            Some("boolean") => json!(self.one_in(2)),
            Some("array") => {
                (0..self.below(4)).map(|_| self.value(document, &schema["items"], depth + 1)).collect()
            }
            _ if schema.is_object() => instance(document, schema, 0),
            _ => self.junk(),
        }
    }
}

/// Ids that exist, by the name that paths give them, and a schedule of operations.
struct Attack<'a> {
    api: &'a Api,
    document: &'a Value,
    ids: &'a BTreeMap<&'static str, String>,
    dice: Dice,
}

impl Attack<'_> {
    fn path(&mut self, template: &str, operation: &Value) -> String {
        let mut url = reqwest::Url::parse(&self.api.url).unwrap();
        let mut path = template.to_owned();
        for name in path_parameters(template) {
            let id = self.ids.get(name.as_str()).filter(|_| !self.dice.one_in(3)).cloned();
            let id = id.unwrap_or_else(|| self.dice.harsh());
            let escaped: String = id.bytes().take(3000).map(|byte| format!("%{byte:02x}")).collect();
            path = path.replace(&format!("{{{name}}}"), &escaped);
        }
        url.set_path(&path);
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            if parameter["in"] == "query" && self.dice.one_in(2) {
                let value = match self.dice.value(self.document, &parameter["schema"], 0) {
                    Value::String(text) => text,
                    value => value.to_string(),
                };
                let value: String = value.chars().take(2000).collect();
                url.query_pairs_mut().append_pair(parameter["name"].as_str().unwrap(), &value);
            }
        }
        url.to_string()
    }

    /// Sends one request; gives how it reads, and the answer.
    fn strike(&mut self, method: &str, template: &str, operation: &Value) -> (String, Answer) {
        let url = self.path(template, operation);
        let mut told = format!("{method} {url}");
        let mut request = self.api.request(&method.to_uppercase(), &url);
        let content = &operation["requestBody"]["content"];
        if let Some(body) = content.get("application/json") {
            let text = match self.dice.below(8) {
                0 => self.dice.harsh(),
                1 => {
                    let whole = self.dice.value(self.document, &body["schema"], 0).to_string();
                    whole.chars().take(whole.len() / 2).collect()
                }
                _ => self.dice.value(self.document, &body["schema"], 0).to_string(),
            };
            told += &format!("\n{}", text.chars().take(2000).collect::<String>());
            request = request.header("content-type", "application/json").body(text);
        } else if content.is_object() {
            request = request.body(self.dice.harsh());
        }
        if self.dice.one_in(4) {
            let key: String = self.dice.harsh().chars().filter(char::is_ascii_graphic).collect();
            request = request.header("idempotency-key", key);
        }
        (told, self.api.send(request))
    }
}

/// What is wrong with an answer, in a few words.
fn judge(operation: &Value, answer: &Answer) -> Result<(), String> {
    let status = answer.status;
    if status >= 500 {
        return Err(format!("{status}"));
    }
    if operation["responses"].get(status.to_string()).is_none() {
        return Err(format!("{status} is not in the document"));
    }
    if status < 400 {
        return Ok(());
    }
    let problem: Value =
        serde_json::from_slice(&answer.body).map_err(|_| format!("{status} without JSON"))?;
    if answer.headers["content-type"] != "application/problem+json" || !problem["code"].is_string() {
        return Err(format!("{status} is no problem"));
    }
    Ok(())
}

#[test]
fn every_answer_is_one_that_the_document_names() {
    attack(&Windrow::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_one_that_the_document_names_on_postgresql() {
    let db = TestDb::postgres().await;
    let url = db.url().to_owned();
    tokio::task::spawn_blocking(move || attack(&Windrow::new().with_env("DATABASE_URL", url))).await.unwrap();
}

fn attack(windrow: &Windrow) {
    let mut server = windrow.up();
    let mut ids = one_of_each(&server.api(&windrow.token("alice", "admin")));
    // whoever is disabled on the way is none of the two
    let carol = server.api(&windrow.token("carol", "consumer")).get("/v1/me").expect(200).json();
    ids.insert("user_id", carol["id"].to_string());
    let seed = number("WINDROW_REQUEST_SEED").unwrap_or(1);
    let each = number("WINDROW_REQUESTS").unwrap_or(25);
    let mut faults = BTreeMap::new();
    // the one owns what the ids name and may do all; the other may do little
    for (sub, role) in [("alice", "admin"), ("bob", "consumer")] {
        let token = windrow.token(sub, role);
        let mut api = server.api(&token);
        api.http = Client::builder().redirect(Policy::none()).build().unwrap();
        let document = api.get("/openapi.json").expect(200).json();
        let dice = Dice(ChaCha8Rng::seed_from_u64(seed));
        let mut attack = Attack { api: &api, document: &document, ids: &ids, dice };
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                for _ in 0..each {
                    let (told, answer) = attack.strike(method, path, operation);
                    if let Err(what) = judge(operation, &answer) {
                        let text = String::from_utf8_lossy(&answer.body).into_owned();
                        let kind = format!("{method} {path}: {what}");
                        faults
                            .entry(kind)
                            .or_insert_with(|| format!("{sub}: {told}\n{} {text}", answer.status));
                    }
                }
            }
        }
    }
    assert!(faults.is_empty(), "seed {seed}: {faults:#?}");
    let (code, log) = server.terminate();
    assert_eq!(code, 0, "{log}");
    assert!(!log.contains("panicked"), "{log}");
}
