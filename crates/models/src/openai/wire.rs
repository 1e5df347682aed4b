//! Requests and answers as they go over the wire.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::status::Said;
use crate::error::ModelError;
use crate::request::{Message, ModelRequest};
use crate::response::{FinishReason, Usage};

#[derive(Serialize)]
pub(super) struct ChatRequest<'a> {
    model: &'a str,
    messages: &'a [Message],
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<ResponseFormat<'a>>,
}

#[derive(Serialize)]
struct ResponseFormat<'a> {
    r#type: &'static str,
    json_schema: NamedSchema<'a>,
}

#[derive(Serialize)]
struct NamedSchema<'a> {
    name: &'static str,
    schema: &'a Value,
    strict: bool,
}

impl<'a> ChatRequest<'a> {
    pub(super) fn new(request: &'a ModelRequest, model: &'a str) -> Self {
        let reasons = is_reasoning(model);
        let named = |schema| NamedSchema { name: "answer", schema, strict: is_strict(schema) };
        let format = |schema| ResponseFormat { r#type: "json_schema", json_schema: named(schema) };
        Self {
            model,
            messages: &request.messages,
            temperature: request.temperature.filter(|_| !reasons),
            max_tokens: (!reasons).then_some(request.max_tokens),
            max_completion_tokens: reasons.then_some(request.max_tokens),
            // Servers read it into a signed 64-bit integer.
            seed: request.seed.map(|seed| seed & (u64::MAX >> 1)),
            response_format: request.response_schema.as_ref().map(format),
        }
    }
}

/// OpenAI's reasoning models take `max_completion_tokens` only, and refuse a temperature; everybody else's servers know
/// `max_tokens` for sure (<https://platform.openai.com/docs/api-reference/chat/create#chat-create-max_tokens>,
/// <https://platform.openai.com/docs/guides/reasoning>).
fn is_reasoning(model: &str) -> bool {
    let bare = model.rsplit('/').next().unwrap_or(model);
    ["o1", "o3", "o4", "gpt-5"].iter().any(|family| bare.starts_with(family))
}

/// Strict mode guarantees the schema, but is refused unless every object closes itself and requires all its properties
/// (<https://platform.openai.com/docs/guides/structured-outputs>, "Supported schemas").
fn is_strict(schema: &Value) -> bool {
    let Value::Object(members) = schema else { return true };
    let properties = members.get("properties").and_then(Value::as_object);
    let is_object = properties.is_some() || members.get("type").and_then(Value::as_str) == Some("object");
    let closed = members.get("additionalProperties") == Some(&Value::Bool(false));
    let required = members.get("required").and_then(Value::as_array);
    let names =
        |name: &String| required.is_some_and(|required| required.iter().any(|r| r.as_str() == Some(name)));
    let complete = properties.is_none_or(|properties| properties.keys().all(names));
    if is_object && !(closed && complete) {
        return false;
    }
    let within = |value: &Value| match value {
        Value::Array(schemas) => schemas.iter().all(is_strict),
        schema => is_strict(schema),
    };
    let maps = ["properties", "$defs", "definitions"].iter().filter_map(|key| members.get(*key)?.as_object());
    let nested = ["items", "prefixItems", "anyOf"].iter().filter_map(|key| members.get(*key));
    maps.flat_map(|map| map.values()).all(is_strict) && nested.into_iter().all(within)
}

#[derive(Deserialize)]
struct Completion {
    id: Option<String>,
    choices: Vec<Choice>,
    usage: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    message: Answer,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    content: Option<String>,
    refusal: Option<String>,
}

#[derive(Deserialize)]
struct WireUsage {
    prompt_tokens: u64,
    completion_tokens: u64,
    prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u64>,
}

/// What an answer says.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) id: Option<String>,
    /// An error when the model refused, or said nothing; it was billed all the same.
    pub(super) text: Result<String, ModelError>,
    pub(super) finish_reason: FinishReason,
    /// `None` when the answer says none, or none that can be read.
    pub(super) usage: Option<Usage>,
}

/// Reads the body of a success.
///
/// # Errors
/// The body is no chat completion.
pub(super) fn read(body: &[u8]) -> Result<Read, ModelError> {
    let completion: Completion = serde_json::from_slice(body).map_err(|error| malformed(body, &error))?;
    let usage = completion.usage.and_then(read_usage);
    let Some(choice) = completion.choices.into_iter().next() else {
        let error =
            ModelError::transient("model_malformed_answer", "the answer has no choices").provider_fault();
        return Err(match usage {
            Some(usage) => error.billed(usage),
            None => error.sent(),
        });
    };
    let finish_reason = match choice.finish_reason.as_deref() {
        Some("stop") => FinishReason::Stop,
        Some("length") => FinishReason::Length,
        Some("content_filter") => FinishReason::ContentFilter,
        _ => FinishReason::Other,
    };
    let cut = matches!(finish_reason, FinishReason::Length | FinishReason::ContentFilter);
    let text = match (choice.message.content, choice.message.refusal) {
        (_, Some(refusal)) if !refusal.is_empty() => {
            Err(ModelError::permanent("model_refused", format!("the model refused: {refusal}")).user_fault())
        }
        (Some(text), _) => Ok(text),
        // Reasoning or a filter took all the room.
        (None, _) if cut => Ok(String::new()),
        (None, _) => Err(ModelError::transient("model_empty_answer", "the answer has no text")),
    };
    Ok(Read { id: completion.id, text, finish_reason, usage })
}

fn read_usage(usage: Value) -> Option<Usage> {
    let usage: WireUsage = serde_json::from_value(usage).ok()?;
    let cached = usage.prompt_tokens_details.and_then(|details| details.cached_tokens).unwrap_or(0);
    Some(Usage {
        input_tokens: usage.prompt_tokens,
        output_tokens: usage.completion_tokens,
        cached_input_tokens: cached.min(usage.prompt_tokens),
        estimated: false,
    })
}

/// Some gateways answer 200 with an error inside; others send a page.
fn malformed(body: &[u8], error: &serde_json::Error) -> ModelError {
    let message = format!("the answer is no chat completion ({error}){}", Said::read(body).suffix());
    ModelError::transient("model_malformed_answer", message).sent().provider_fault()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Price;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn a_request_has_what_its_model_understands() {
        let request = ModelRequest {
            temperature: Some(0.5),
            seed: Some(u64::MAX),
            response_schema: Some(json!({"type": "object", "properties": {"a": {}}})),
            ..ModelRequest::new("openai:m", "hi", 9)
        };
        let sent = serde_json::to_value(ChatRequest::new(&request, "m")).unwrap();
        assert_eq!(
            sent,
            json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "temperature": 0.5, "max_tokens": 9,
                "seed": i64::MAX, "response_format": {"type": "json_schema", "json_schema": {"name": "answer",
                "schema": {"type": "object", "properties": {"a": {}}}, "strict": false}}})
        );
        let sent = serde_json::to_value(ChatRequest::new(&request, "gpt-5-mini")).unwrap();
        assert_eq!((&sent["max_completion_tokens"], sent.get("max_tokens")), (&json!(9), None));
        assert_eq!(sent.get("temperature"), None, "it would be refused");
    }

    #[test]
    fn strict_is_asked_for_only_where_it_is_allowed() {
        let closed = json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"],
            "additionalProperties": false});
        assert!(is_strict(&closed));
        assert!(is_strict(&json!({"type": "array", "items": closed})));
        assert!(!is_strict(&json!({"type": "array", "items": {"type": "object"}})));
        let mut open = closed.clone();
        open["required"] = json!([]);
        assert!(!is_strict(&open));
        assert!(!is_strict(&json!({"anyOf": [closed, open]})));
    }

    #[test]
    fn answers_are_read_with_and_without_usage() {
        let read = |body: Value| read(body.to_string().as_bytes());
        let whole = read(
            json!({"id": "c1", "choices": [{"message": {"content": "ok"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 8}}}),
        );
        let whole = whole.unwrap();
        let usage = Usage { input_tokens: 10, output_tokens: 2, cached_input_tokens: 8, estimated: false };
        assert_eq!(
            (whole.text, whole.usage, whole.id),
            (Ok("ok".to_owned()), Some(usage), Some("c1".to_owned()))
        );
        for usage in [
            json!(null),
            json!({"prompt_tokens": null}),
            json!({"prompt_tokens": -1, "completion_tokens": 1}),
        ] {
            let answer = read(json!({"choices": [{"message": {"content": "ok"}}], "usage": usage})).unwrap();
            assert_eq!((answer.usage, answer.finish_reason), (None, FinishReason::Other));
        }
        let refused = read(json!({"choices": [{"message": {"content": null, "refusal": "No."}}]})).unwrap();
        assert_eq!(refused.text.unwrap_err().code, "model_refused");
        let cut =
            read(json!({"choices": [{"message": {"content": null}, "finish_reason": "length"}]})).unwrap();
        assert_eq!(cut.text, Ok(String::new()));
        assert!(
            read(json!({"error": {"message": "overloaded"}})).unwrap_err().message.contains("overloaded")
        );
        assert!(read(json!({"choices": []})).is_err());
    }

    /// Near enough to an answer that its parts are read.
    fn body() -> impl Strategy<Value = String> {
        let number = prop_oneof![
            Just("0"),
            Just("18446744073709551615"),
            Just("-1"),
            Just("1.5"),
            Just("null"),
            Just("1e400"),
            Just("\"7\"")
        ];
        let text = prop_oneof![
            Just("\"hi\""),
            Just("null"),
            Just("\"\\ud800\""),
            Just("\"\\u0000\""),
            Just("{}"),
            Just("[]")
        ];
        (text.clone(), text.clone(), text, number.clone(), number.clone(), number, 0usize..400).prop_map(
            |(content, refusal, finish, input, output, cached, cut)| {
                let whole = format!(
                    "{{\"id\":{finish},\"choices\":[{{\"message\":{{\"content\":{content},\"refusal\":{refusal}}},\"finish_reason\":{finish}}}],\
                     \"usage\":{{\"prompt_tokens\":{input},\"completion_tokens\":{output},\"prompt_tokens_details\":{{\"cached_tokens\":{cached}}}}}}}"
                );
                whole.chars().take(if cut < 200 { cut } else { whole.len() }).collect()
            },
        )
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes);
        }

        #[test]
        fn what_looks_like_an_answer_is_one_or_an_error_and_has_a_price(text in body()) {
            if let Ok(Read { usage: Some(usage), .. }) = read(text.as_bytes()) {
                prop_assert!(usage.cached_input_tokens <= usage.input_tokens);
                let price = Price::per_million("1000".parse().unwrap(), "1000".parse().unwrap());
                prop_assert!(price.cost(&usage).as_pico() >= 0, "{usage:?}");
            }
        }
    }
}
