//! The offline model: reproducible, within its limits, and valid for whatever schema it can serve.

use proptest::prelude::*;
use serde_json::{Value, json};
use windrow_core::SystemClock;
use windrow_models::{FinishReason, ModelRequest, Models, ModelsSettings, Offline, validate_json};

fn request(prompt: &str, max_tokens: u32, schema: Option<Value>) -> ModelRequest {
    ModelRequest { response_schema: schema, ..ModelRequest::new("offline/ngram-v1", prompt, max_tokens) }
}

const PROMPT: &str =
    "Write about the lighthouse keeper Amara, who repairs old radios and listens to distant storms.";

#[tokio::test]
async fn a_call_costs_nothing_and_stays_within_its_bound() {
    let models = Models::new(ModelsSettings::default(), SystemClock::shared()).unwrap();
    let model = models.resolve("offline").unwrap();
    let request = request(PROMPT, 200, None);
    let response = model.call(&request).await.unwrap();
    let bound = model.token_bound(&request);
    assert!(response.usage.input_tokens <= bound.input && response.usage.output_tokens <= bound.output);
    assert_eq!(model.count_tokens(&response.text), response.usage.output_tokens);
    assert!(model.cost(&response.usage).is_zero() && model.worst_case(&request).is_zero());
    assert_eq!(response.finish_reason, FinishReason::Stop);
}

#[test]
fn the_same_question_has_the_same_answer_and_the_seed_changes_it() {
    let plain = request(PROMPT, 200, None);
    let first = Offline::answer(&plain).unwrap();
    assert_eq!(Offline::answer(&plain).unwrap(), first);
    let answers: std::collections::HashSet<String> = (0..50)
        .map(|seed| Offline::answer(&ModelRequest { seed: Some(seed), ..plain.clone() }).unwrap().0)
        .collect();
    assert_eq!(answers.len(), 50);
    insta::assert_snapshot!(first.0, @"A record of the lighthouse keeper Amara, who wait for paper boats, and tested each of the question they were about. Visitors stay longer way. Visitors stay longer in this room was called empty. His cook wrote only about the chisel, who wait for them have already made coffee for two books a reader can almost.");
}

#[test]
fn short_room_is_kept() {
    for max_tokens in 1..40 {
        let (text, reason) = Offline::answer(&request(PROMPT, max_tokens, None)).unwrap();
        let used = windrow_models::Tokenizer::Words.count(&text);
        assert!(used <= u64::from(max_tokens) && used > 0, "{max_tokens}: {text}");
        assert_eq!(reason == FinishReason::Stop, text.ends_with('.'), "{text}");
    }
    let schema = json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}, "b": {"type": "string"}}});
    let (text, reason) = Offline::answer(&request(PROMPT, 5, Some(schema.clone()))).unwrap();
    assert_eq!(reason, FinishReason::Length, "{text}");
    let (text, reason) = Offline::answer(&request(PROMPT, 16, Some(schema.clone()))).unwrap();
    assert_eq!(reason, FinishReason::Stop, "the sparse instance fits: {text}");
    validate_json(&schema, &text).unwrap();
}

#[test]
fn schemas_of_every_kind_are_served() {
    for schema in [
        json!(true),
        json!({}),
        json!({"const": {"a": [1, null]}}),
        json!({"enum": ["x", 2, null]}),
        json!({"type": ["integer", "null"]}),
        json!({"type": "string", "minLength": 300}),
        json!({"type": "string", "maxLength": 3}),
        json!({"type": "string", "maxLength": 0}),
        json!({"type": "string", "pattern": "^[A-Z]{2}-[0-9]{4}$"}),
        json!({"type": "integer", "minimum": 3, "maximum": 3}),
        json!({"type": "integer", "exclusiveMinimum": -2, "exclusiveMaximum": 0}),
        json!({"type": "integer", "multipleOf": 7, "minimum": 50, "maximum": 60}),
        json!({"type": "number", "minimum": 0.001, "maximum": 0.002}),
        json!({"type": "number", "multipleOf": 0.05, "maximum": 1}),
        json!({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}),
        json!({"type": "number", "maximum": -1e12}),
        json!({"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 6}, "minItems": 5, "uniqueItems": true}),
        json!({"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "items": false, "minItems": 2}),
        json!({"type": "array", "maxItems": 0}),
        json!({"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 3}),
        json!({"type": "object", "properties": {"a": {}, "b": {}, "c": {}}, "maxProperties": 1, "required": ["b"]}),
        json!({"required": ["not_described"]}),
        json!({"anyOf": [{"type": "integer"}, {"type": "object", "required": ["x"]}]}),
        json!({"allOf": [{"properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {"properties": {"b": {"const": 1}}, "required": ["b"]}]}),
        json!({"type": "string", "not": {"const": "x"}}),
        json!({"$defs": {"node": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"},
            "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}}}}, "$ref": "#/$defs/node"}),
    ] {
        serve(&schema);
    }
    for format in
        ["date", "time", "date-time", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"]
    {
        serve(&json!({"type": "string", "format": format}));
    }
}

fn serve(schema: &Value) {
    for seed in 0..20 {
        let request = ModelRequest { seed: Some(seed), ..request(PROMPT, 4_000, Some(schema.clone())) };
        let (text, reason) = Offline::answer(&request).unwrap_or_else(|error| panic!("{error}: {schema}"));
        assert_eq!(reason, FinishReason::Stop);
        validate_json(schema, &text).unwrap_or_else(|error| panic!("{error}: {schema}: {text}"));
    }
}

#[test]
fn a_schema_it_cannot_serve_is_a_clear_error() {
    for schema in [
        json!(false),
        json!({"type": "string", "pattern": "(?=a)b"}),
        json!({"type": "integer", "minimum": 2, "maximum": 1}),
        json!({"$ref": "#/$defs/absent"}),
        json!({"$defs": {"a": {"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#/$defs/a"}}}}, "$ref": "#/$defs/a"}),
        json!({"type": "array", "minItems": 1_000_000}),
        json!({"type": "string", "enum": [1]}),
    ] {
        let error = Offline::answer(&request(PROMPT, 100, Some(schema.clone()))).unwrap_err();
        assert_eq!(error.code, "offline_schema_unsupported", "{schema}");
        assert!(error.user_fault && !error.sent);
    }
}

#[tokio::test]
async fn a_small_schema_for_a_huge_answer_is_a_clear_error() {
    let mut defs = json!({"a0": {"type": "string"}});
    for level in 1..=22 {
        let below = json!({"$ref": format!("#/$defs/a{}", level - 1)});
        defs[format!("a{level}")] =
            json!({"type": "object", "required": ["l", "r"], "properties": {"l": below, "r": below}});
    }
    let longest = |items: Value| json!({"type": "array", "minItems": 10_000, "items": items});
    let models = Models::new(ModelsSettings::default(), SystemClock::shared()).unwrap();
    let model = models.resolve("offline").unwrap();
    for schema in
        [longest(longest(json!({"type": "integer"}))), json!({"$defs": defs, "$ref": "#/$defs/a22"})]
    {
        let error = model.call(&request(PROMPT, 100, Some(schema))).await.unwrap_err();
        assert_eq!(error.code, "offline_schema_unsupported");
        assert!(error.user_fault && error.message.contains("more than 200000 JSON values"), "{error}");
    }
}

/// Schemas as templates have them: nested objects and arrays of bounded texts, numbers and enums.
fn schemas() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        (0u64..30, 0u64..60).prop_map(
            |(least, more)| json!({"type": "string", "minLength": least, "maxLength": least + more})
        ),
        (-100i64..100, 0i64..50)
            .prop_map(|(low, span)| json!({"type": "integer", "minimum": low, "maximum": low + span})),
        (-100i64..100, 1i64..50).prop_map(
            |(low, span)| json!({"type": "number", "minimum": low, "exclusiveMaximum": low + span})
        ),
        proptest::collection::vec("[a-z]{1,6}", 1..4).prop_map(|options| json!({"enum": options})),
        Just(json!({"type": "boolean"})),
        Just(json!({"type": ["string", "null"]})),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let members = proptest::collection::btree_map("[a-z]{1,8}", (inner.clone(), any::<bool>()), 0..4);
        prop_oneof![
            (inner.clone(), 0u64..4, 0u64..3)
                .prop_map(|(items, least, more)| json!({"type": "array", "items": items, "minItems": least, "maxItems": least + more})),
            (members, any::<bool>()).prop_map(|(members, open)| {
                let required: Vec<&String> = members.iter().filter(|(_, (_, required))| *required).map(|(name, _)| name).collect();
                let properties: Value = members.iter().map(|(name, (schema, _))| (name.clone(), schema.clone())).collect();
                json!({"type": "object", "properties": properties, "required": required, "additionalProperties": open})
            }),
            proptest::collection::vec(inner, 1..3).prop_map(|options| json!({"anyOf": options})),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_generated_schema_is_met(schema in schemas(), seed: u64, prompt in "\\PC{0,80}") {
        let request = ModelRequest { seed: Some(seed), ..request(&prompt, 100_000, Some(schema.clone())) };
        let (text, reason) = Offline::answer(&request).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(reason, FinishReason::Stop);
        prop_assert!(validate_json(&schema, &text).is_ok(), "{}", text);
        prop_assert_eq!(Offline::answer(&request).unwrap().0, text);
    }
}
