//! What a model is asked.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use windrow_core::TraceParent;

/// A long answer of a large model fits; a dead connection is noticed within a run's usual stall limit.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);

/// Who speaks in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    System,
    User,
    Assistant,
}

impl Role {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    pub role: Role,
    pub content: String,
}

impl Message {
    pub fn system(content: impl Into<String>) -> Self {
        Self { role: Role::System, content: content.into() }
    }

    pub fn user(content: impl Into<String>) -> Self {
        Self { role: Role::User, content: content.into() }
    }

    pub fn assistant(content: impl Into<String>) -> Self {
        Self { role: Role::Assistant, content: content.into() }
    }
}

/// One question to one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelRequest {
    /// A resolved model id, such as `openai:gpt-4o-mini` or `offline/ngram-v1`.
    pub model: String,
    pub messages: Vec<Message>,
    /// 0 to 2; the provider's own default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// The most tokens the answer may have. Not optional: the worst case of a call rests on it.
    pub max_tokens: u32,
    /// A JSON Schema which the answer must satisfy; free text when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_schema: Option<Value>,
    /// Asks for a reproducible answer, where the provider can give one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// How long one attempt may take, from the first byte sent to the last received; as long as
    /// [`ModelsSettings::timeout`](crate::ModelsSettings::timeout) says when absent. On the wire in milliseconds.
    #[serde(
        rename = "timeout_ms",
        with = "optional_millis",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub timeout: Option<Duration>,
    /// Where the call stands in a trace, for the provider's own spans. Shapes no answer, and is not kept.
    #[serde(skip)]
    pub traceparent: Option<TraceParent>,
}

impl ModelRequest {
    /// A request with one user message and the defaults: no schema, no seed, the settings' timeout.
    pub fn new(model: impl Into<String>, prompt: impl Into<String>, max_tokens: u32) -> Self {
        Self {
            model: model.into(),
            messages: vec![Message::user(prompt)],
            temperature: None,
            max_tokens,
            response_schema: None,
            seed: None,
            timeout: None,
            traceparent: None,
        }
    }

    /// How long one attempt may take. A provider is always asked with a timeout: [`Model::call`](crate::Model::call) fills it in.
    pub fn patience(&self) -> Duration {
        self.timeout.unwrap_or(DEFAULT_TIMEOUT)
    }

    /// SHA-256, in lower-case hex, over the canonical JSON of all that shapes the answer. The timeout is left out: a
    /// journalled answer stays the answer when somebody changes how long to wait for it.
    pub fn hash(&self) -> String {
        hex::encode(self.digest())
    }

    /// The same as [`Self::hash`], in bytes.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.canonical()).into()
    }

    /// Keys in alphabetical order at every level, no white space (the ordering of RFC 8785; numbers as `serde_json` writes them).
    fn canonical(&self) -> Vec<u8> {
        let text: usize = self.messages.iter().map(|message| message.content.len() + 40).sum();
        let mut out = Vec::with_capacity(text + 128);
        out.extend_from_slice(format!(r#"{{"max_tokens":{},"messages":["#, self.max_tokens).as_bytes());
        for (index, message) in self.messages.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(br#"{"content":"#);
            write_json(&message.content, &mut out);
            out.extend_from_slice(format!(r#","role":"{}"}}"#, message.role.as_str()).as_bytes());
        }
        out.extend_from_slice(br#"],"model":"#);
        write_json(&self.model, &mut out);
        if let Some(schema) = &self.response_schema {
            out.extend_from_slice(br#","response_schema":"#);
            canonical_json(schema, &mut out);
        }
        if let Some(seed) = self.seed {
            out.extend_from_slice(format!(r#","seed":{seed}"#).as_bytes());
        }
        if let Some(temperature) = self.temperature {
            out.extend_from_slice(br#","temperature":"#);
            write_json(&temperature, &mut out);
        }
        out.push(b'}');
        out
    }
}

fn write_json<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value)
        .expect("a text or a number is always JSON, and a Vec takes every write");
}

/// Appends `value` with the keys of every object in alphabetical order and no white space.
pub(crate) fn canonical_json(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(members) => {
            let mut keys: Vec<&String> = members.keys().collect();
            keys.sort_unstable();
            out.push(b'{');
            for (index, key) in keys.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_json(key, out);
                out.push(b':');
                canonical_json(&members[key], out);
            }
            out.push(b'}');
        }
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                canonical_json(item, out);
            }
            out.push(b']');
        }
        leaf => write_json(leaf, out),
    }
}

/// Durations as whole milliseconds on the wire.
pub(crate) mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

/// The same where there may be none.
mod optional_millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::ref_option, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::millis::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request() -> ModelRequest {
        ModelRequest {
            messages: vec![Message::system("Be \"brief\"."), Message::user("Zeile\n2")],
            temperature: Some(0.7),
            response_schema: Some(json!({"type": "object", "properties": {"b": {}, "a": {}}})),
            seed: Some(7),
            ..ModelRequest::new("openai:gpt-4o", "", 100)
        }
    }

    #[test]
    fn the_canonical_form_is_plain_json_with_sorted_keys() {
        assert_eq!(
            String::from_utf8(request().canonical()).unwrap(),
            r#"{"max_tokens":100,"messages":[{"content":"Be \"brief\".","role":"system"},{"content":"Zeile\n2","role":"user"}],"model":"openai:gpt-4o","response_schema":{"properties":{"a":{},"b":{}},"type":"object"},"seed":7,"temperature":0.7}"#
        );
        assert_eq!(request().hash().len(), 64);
    }

    #[test]
    fn the_hash_tells_questions_apart_but_not_patience() {
        let patient = ModelRequest { timeout: Some(Duration::from_secs(1)), ..request() };
        assert_eq!(patient.hash(), request().hash());
        let others = [
            ModelRequest { seed: None, ..request() },
            ModelRequest { temperature: None, ..request() },
            ModelRequest { max_tokens: 101, ..request() },
            ModelRequest { response_schema: None, ..request() },
            ModelRequest { model: "openai:gpt-4".into(), ..request() },
            ModelRequest { messages: vec![Message::user("Zeile\n2")], ..request() },
        ];
        for other in others {
            assert_ne!(other.hash(), request().hash(), "{other:?}");
        }
    }

    #[test]
    fn a_request_survives_the_wire_with_its_hash() {
        let json = serde_json::to_string(&request()).unwrap();
        let back: ModelRequest = serde_json::from_str(&json).unwrap();
        assert_eq!((back.hash(), back), (request().hash(), request()));
        let hasty = ModelRequest { timeout: Some(Duration::from_millis(1_500)), ..request() };
        let json = serde_json::to_value(&hasty).unwrap();
        assert_eq!(json["timeout_ms"], 1_500);
        assert_eq!(serde_json::from_value::<ModelRequest>(json).unwrap(), hasty);
        let least: ModelRequest =
            serde_json::from_value(json!({"model": "m", "messages": [], "max_tokens": 1})).unwrap();
        assert_eq!(least.timeout, None);
    }
}
