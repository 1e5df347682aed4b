//! How many tokens a text has, and how many a request can have at most.

use tiktoken_rs::tokenizer::{Tokenizer as Encoding, get_tokenizer};

use crate::offline::words;
use crate::request::ModelRequest;

/// Tokens that a chat template adds to each message: role, separators, end of turn. OpenAI's own take 3 or 4
/// (<https://developers.openai.com/cookbook/examples/how_to_count_tokens_with_tiktoken>), Llama 3's 5.
const KNOWN_PER_MESSAGE: u64 = 8;
const UNKNOWN_PER_MESSAGE: u64 = 16;

/// Tokens that a chat template adds once: start of text, the answer's header, and on open models a default system
/// prompt (Llama 3.1's dates are some 30 tokens, Qwen's and SmolLM's some 20, gpt-oss's some 70).
const KNOWN_PER_REQUEST: u64 = 16;
const UNKNOWN_PER_REQUEST: u64 = 128;

/// Tokens around a schema; the schema itself is bounded by its bytes, since providers rewrite it in ways of their own.
const SCHEMA_FRAME: u64 = 64;

/// A longer run without a change between white space and text is bounded by its bytes: the splitting expressions
/// backtrack over such runs, and prose has none.
const LONGEST_RUN: usize = 2_048;

/// How one model cuts text into tokens. The tables of OpenAI's families (some 30 MB each) load on first use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokenizer {
    /// One of OpenAI's byte pair encodings.
    Tiktoken(Encoding),
    /// The `offline` model's own: words and marks.
    Words,
    /// Unknown: no tokenizer in use makes more tokens than UTF-8 bytes.
    Bytes,
}

/// The most tokens that a call can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenBound {
    /// Prompt, chat template and schema.
    pub input: u64,
    pub output: u64,
}

impl Tokenizer {
    /// By the model's name at its provider, with or without a vendor's path (`openai/gpt-4o`).
    pub fn for_model(name: &str) -> Self {
        let bare = name.rsplit('/').next().unwrap_or(name);
        get_tokenizer(bare).map_or(Self::Bytes, Self::Tiktoken)
    }

    /// Whether counts are the model's own and not a bound.
    pub const fn is_exact(self) -> bool {
        !matches!(self, Self::Bytes)
    }

    /// The tokens of `text`; an upper bound where the tokenizer is unknown.
    pub fn count(self, text: &str) -> u64 {
        match self {
            Self::Tiktoken(encoding) if !has_long_run(text) => {
                let tables =
                    tiktoken_rs::bpe_for_tokenizer(encoding).expect("every encoding's tables are built in");
                len(tables.count_ordinary(text))
            }
            Self::Words => len(words::count(text)),
            Self::Tiktoken(_) | Self::Bytes => len(text.len()),
        }
    }

    /// The most tokens that `request` can use.
    pub fn bound(self, request: &ModelRequest) -> TokenBound {
        let text: u64 = request.messages.iter().map(|message| self.count(&message.content)).sum();
        TokenBound { input: text + self.overhead(request), output: u64::from(request.max_tokens) }
    }

    /// What providers count against tokens a minute: the prompt's likely tokens and `max_tokens`. Where the tokenizer is
    /// unknown, four bytes a token, as is usual for English.
    pub(crate) fn estimate(self, request: &ModelRequest) -> u64 {
        let bytes: usize = request.messages.iter().map(|message| message.content.len()).sum();
        let bound = self.bound(request);
        let input = if self.is_exact() { bound.input } else { len(bytes / 4) };
        input + bound.output
    }

    fn overhead(self, request: &ModelRequest) -> u64 {
        let (per_message, once) = match self {
            Self::Words => (0, 0),
            Self::Tiktoken(Encoding::O200kHarmony) | Self::Bytes => {
                (UNKNOWN_PER_MESSAGE, UNKNOWN_PER_REQUEST)
            }
            Self::Tiktoken(_) => (KNOWN_PER_MESSAGE, KNOWN_PER_REQUEST),
        };
        let schema = request.response_schema.as_ref();
        let schema = schema.map_or(0, |schema| len(schema.to_string().len()) + SCHEMA_FRAME);
        once + per_message * len(request.messages.len()) + schema
    }
}

fn len(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn has_long_run(text: &str) -> bool {
    let mut run = 0;
    let mut last_was_space = false;
    for c in text.chars() {
        let space = c.is_whitespace();
        run = if space == last_was_space { run + 1 } else { 1 };
        last_was_space = space;
        if run > LONGEST_RUN {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Message;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn openai_families_are_counted_by_their_own_tables() {
        // Counts by OpenAI's tiktoken 0.7.
        assert_eq!(Tokenizer::for_model("gpt-4o-mini").count("hello world"), 2);
        assert_eq!(Tokenizer::for_model("openai/gpt-4").count("antidisestablishmentarianism"), 6);
        assert_eq!(Tokenizer::for_model("llama-3.1-8b"), Tokenizer::Bytes);
        assert_eq!(Tokenizer::Bytes.count("Grüße"), 7);
    }

    #[test]
    fn endless_runs_are_bounded_without_a_search() {
        let tokenizer = Tokenizer::for_model("gpt-4o");
        for text in [" ".repeat(3_000_000), "x".repeat(3_000_000)] {
            assert_eq!(tokenizer.count(&text), 3_000_000);
        }
    }

    #[test]
    fn schema_and_template_are_counted() {
        let plain = ModelRequest::new("m", "four", 10);
        let bound = Tokenizer::Bytes.bound(&plain);
        assert_eq!(bound, TokenBound { input: 4 + 16 + 128, output: 10 });
        let schema = json!({"type": "object"});
        let shaped = ModelRequest { response_schema: Some(schema.clone()), ..plain.clone() };
        assert_eq!(Tokenizer::Bytes.bound(&shaped).input, bound.input + 64 + schema.to_string().len() as u64);
        let mut longer = plain;
        longer.messages.push(Message::system(""));
        assert_eq!(Tokenizer::Bytes.bound(&longer).input, bound.input + 16);
    }

    proptest! {
        #[test]
        fn no_tokenizer_makes_more_tokens_than_bytes(text in "\\PC{0,200}") {
            for tokenizer in [Tokenizer::for_model("gpt-4o"), Tokenizer::for_model("gpt-4"), Tokenizer::Words] {
                prop_assert!(tokenizer.count(&text) <= Tokenizer::Bytes.count(&text));
            }
        }
    }
}
