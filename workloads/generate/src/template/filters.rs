//! What templates can call beside minijinja's own, drawn from the record's own random numbers.
//!
//! A render keeps its stream of random numbers in the state of its run (an extension): the first function that draws
//! starts it from the seed that lies in the root of the context under a name that no template can write.

use minijinja::value::Value;
use minijinja::{Environment, Error, ErrorKind, State};

use super::render::DrawSource;
use super::text;
use crate::sampler::Draws;

/// Styles for `writing_style()`.
const WRITING_STYLES: [&str; 16] = [
    "plain and direct",
    "warm and conversational",
    "dry and humorous",
    "formal and precise",
    "lyrical and full of images",
    "terse, with short sentences",
    "curious, with many questions",
    "like a letter to a friend",
    "like a newspaper report",
    "like a fireside tale",
    "scholarly and measured",
    "playful and rhythmic",
    "melancholic and slow",
    "brisk and energetic",
    "patient, like a good teacher",
    "sceptical and analytical",
];

pub(super) fn register(env: &mut Environment<'static>) {
    env.add_filter("random_sentence", random_sentence);
    env.add_filter("random_word", random_word);
    env.add_filter("truncate_tokens", truncate_tokens);
    env.add_filter("extract_keywords", extract_keywords);
    env.add_filter("writing_style", |text: &str| text::describe_style(text));
    env.add_filter("capitalize_first", |text: &str| text::capitalize_first(text));
    env.add_filter("remove_markdown", |text: &str| text::remove_markdown(text));
    env.add_filter("choice", choice);
    env.add_filter("shuffle", shuffle);
    env.add_function("random_sentence", random_sentence);
    env.add_function("random_word", random_word);
    env.add_function("truncate_tokens", truncate_tokens);
    env.add_function("extract_keywords", extract_keywords);
    env.add_function("writing_style", writing_style);
    env.add_function("capitalize_first", |text: &str| text::capitalize_first(text));
    env.add_function("remove_markdown", |text: &str| text::remove_markdown(text));
    env.add_function("choice", choice);
    env.add_function("shuffle", shuffle);
}

/// The stream of random numbers of this render.
fn draws<'s>(state: &'s mut State<'_, '_>) -> &'s mut Draws {
    let source = match state.get_extension::<Draws>() {
        Some(_) => None,
        None => state.lookup(DrawSource::KEY).and_then(|v| v.downcast_object_ref::<DrawSource>().copied()),
    };
    // A state without a source is one that no record is rendered in, such as an analysis of names.
    state.get_or_insert_extension_with(|| source.unwrap_or_default().draws())
}

fn nothing_to_draw_from(what: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("there is no {what} to draw from: it is empty"))
}

fn random_sentence(state: &mut State<'_, '_>, text: &str) -> Result<String, Error> {
    let sentences = text::sentences(text);
    let pick = draws(state).pick(sentences.len()).ok_or_else(|| nothing_to_draw_from("sentence"))?;
    Ok(sentences[pick].to_owned())
}

fn random_word(state: &mut State<'_, '_>, text: &str) -> Result<String, Error> {
    let count = text::words(text).count();
    let pick = draws(state).pick(count).and_then(|pick| text::words(text).nth(pick));
    pick.map(str::to_owned).ok_or_else(|| nothing_to_draw_from("word"))
}

fn truncate_tokens(text: &str, limit: u64) -> String {
    text::truncate_tokens(text, limit).to_owned()
}

fn extract_keywords(text: &str, n: Option<usize>) -> Vec<String> {
    text::keywords(text, n.unwrap_or(5))
}

fn writing_style(state: &mut State<'_, '_>) -> &'static str {
    let pick = draws(state).pick(WRITING_STYLES.len()).unwrap_or(0);
    WRITING_STYLES[pick]
}

fn items(list: &Value) -> Result<Vec<Value>, Error> {
    if list.as_str().is_some() {
        let message = "a text is not a list; split it first";
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    Ok(list.try_iter()?.collect())
}

fn choice(state: &mut State<'_, '_>, list: &Value) -> Result<Value, Error> {
    let mut items = items(list)?;
    let pick = draws(state).pick(items.len()).ok_or_else(|| nothing_to_draw_from("item"))?;
    Ok(items.swap_remove(pick))
}

fn shuffle(state: &mut State<'_, '_>, list: &Value) -> Result<Vec<Value>, Error> {
    let mut items = items(list)?;
    draws(state).shuffle(&mut items);
    Ok(items)
}
