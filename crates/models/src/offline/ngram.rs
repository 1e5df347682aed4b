//! An n-gram model of words: the next word is one that has followed the last two, or the last one, somewhere.

use std::collections::HashMap;
use std::sync::OnceLock;

use rand::{Rng, RngExt};

use super::words::{is_word, tokens};

const CORPUS: &str = include_str!("../../data/corpus.txt");

/// The end of a sentence, and the context in which the next one begins.
const STOP: u32 = 0;

/// Only so many tokens of a request are learned from, its last ones: longer prompts would cost more time, not better prose.
const LEARNED: usize = 2_000;

/// A sentence ends by itself between these lengths, in tokens.
const SHORTEST_SENTENCE: usize = 5;
const LONGEST_SENTENCE: usize = 24;

/// How often the request's own text is asked before the corpus.
const OWN_TEXT: f64 = 0.55;

/// How often two words of context are used where they are known: always would copy whole sentences.
const TWO_WORDS: f64 = 0.6;

/// A text as word ids, and its positions in the order of (word, word before), so that what followed a context is a
/// slice found by binary search.
#[derive(Debug, Default)]
struct Table {
    words: Vec<u32>,
    order: Vec<u32>,
}

impl Table {
    fn new(words: Vec<u32>) -> Self {
        let followed =
            u32::try_from(words.len().saturating_sub(1)).expect("a text has fewer than 2^32 words");
        let mut table = Self { words, order: (0..followed).collect() };
        let mut order = std::mem::take(&mut table.order);
        order.sort_unstable_by_key(|at| (table.context(*at), *at));
        table.order = order;
        table
    }

    /// (word, word before).
    fn context(&self, at: u32) -> (u32, u32) {
        let at = at as usize;
        (self.words[at], if at == 0 { STOP } else { self.words[at - 1] })
    }

    fn after_two(&self, before: u32, word: u32) -> &[u32] {
        let start = self.order.partition_point(|at| self.context(*at) < (word, before));
        let end = start + self.order[start..].partition_point(|at| self.context(*at) == (word, before));
        &self.order[start..end]
    }

    fn after_one(&self, word: u32) -> &[u32] {
        let start = self.order.partition_point(|at| self.context(*at).0 < word);
        let end = start + self.order[start..].partition_point(|at| self.context(*at).0 == word);
        &self.order[start..end]
    }

    /// A word that has followed `(before, word)`, or failing that `word`.
    fn next<R: Rng>(&self, rng: &mut R, before: u32, word: u32) -> Option<u32> {
        let two = if rng.random_bool(TWO_WORDS) { self.after_two(before, word) } else { &[] };
        let found = if two.is_empty() { self.after_one(word) } else { two };
        if found.is_empty() {
            return None;
        }
        let at = found[rng.random_range(0..found.len())];
        Some(self.words[at as usize + 1])
    }
}

/// What is learned once.
#[derive(Debug)]
struct Base {
    vocabulary: Vec<&'static str>,
    ids: HashMap<&'static str, u32>,
    table: Table,
}

fn base() -> &'static Base {
    static BASE: OnceLock<Base> = OnceLock::new();
    BASE.get_or_init(|| {
        let mut vocabulary = vec!["."];
        let mut ids = HashMap::from([(".", STOP)]);
        // The sentences' first words are learned in lower case where the corpus has them so elsewhere.
        let inner: Vec<&str> = tokens(CORPUS).map(|(_, token)| token).collect();
        let words = learn(CORPUS, usize::MAX, |token, first| {
            let lower = first.then(|| inner.iter().find(|other| is_lower_of(other, token))).flatten();
            let token = lower.copied().unwrap_or(token);
            *ids.entry(token).or_insert_with(|| {
                vocabulary.push(token);
                u32::try_from(vocabulary.len() - 1).expect("the corpus is small")
            })
        });
        Base { table: Table::new(words), vocabulary, ids }
    })
}

/// Whether `lower` is `token` with its first letter in lower case. ASCII only: it is the corpus's own language.
fn is_lower_of(lower: &str, token: &str) -> bool {
    let starts = |text: &str| text.as_bytes().first().copied();
    starts(token)
        .is_some_and(|first| first.is_ascii_uppercase() && starts(lower) == Some(first.to_ascii_lowercase()))
        && lower.get(1..) == token.get(1..)
}

/// The ids of a text's words and inner marks, sentences ended by [`STOP`]. `id` is told whether a word begins a sentence.
fn learn<'a>(text: &'a str, most: usize, mut id: impl FnMut(&'a str, bool) -> u32) -> Vec<u32> {
    let mut words = Vec::new();
    let mut last_end = 0;
    for (start, token) in tokens(text) {
        // Lines are sentences too: headings and lists have no full stops.
        if text[last_end..start].contains('\n') {
            stop(&mut words);
        }
        last_end = start + token.len();
        match token {
            "." | "!" | "?" => stop(&mut words),
            "," | ";" | ":" if words.last().is_some_and(|last| *last != STOP) => words.push(id(token, false)),
            word if is_word(word) => {
                let first = words.last().is_none_or(|last| *last == STOP);
                words.push(id(word, first));
            }
            _ => {}
        }
        if words.len() >= most {
            break;
        }
    }
    stop(&mut words);
    words
}

fn stop(words: &mut Vec<u32>) {
    if words.last().is_some_and(|last| *last != STOP) {
        words.push(STOP);
    }
}

/// The model for one request: the corpus and the request's own text.
#[derive(Debug)]
pub(super) struct Prose<'a> {
    base: &'static Base,
    own: Table,
    own_words: Vec<&'a str>,
}

impl<'a> Prose<'a> {
    pub(super) fn new(texts: impl Iterator<Item = &'a str>) -> Self {
        let base = base();
        let first_own = u32::try_from(base.vocabulary.len()).expect("the corpus is small");
        let mut own_words: Vec<&'a str> = Vec::new();
        let mut own_ids: HashMap<&'a str, u32> = HashMap::new();
        let mut words = Vec::new();
        let mut lowered = String::new();
        for text in texts {
            let learned = learn(tail(text), LEARNED, |token, first| {
                if first && token.starts_with(|c: char| c.is_ascii_uppercase()) {
                    lowered.clear();
                    lowered.push_str(token);
                    lowered[..1].make_ascii_lowercase();
                    if let Some(id) = base.ids.get(lowered.as_str()) {
                        return *id;
                    }
                }
                if let Some(id) = base.ids.get(token) {
                    return *id;
                }
                *own_ids.entry(token).or_insert_with(|| {
                    own_words.push(token);
                    first_own + u32::try_from(own_words.len() - 1).expect("few words are learned")
                })
            });
            words.extend(learned);
        }
        Self { base, own: Table::new(words), own_words }
    }

    /// Appends sentences of about `length` tokens in all, never more than `room`. Says whether the last one is whole.
    pub(super) fn write<R: Rng>(&self, rng: &mut R, length: usize, room: usize, out: &mut String) -> bool {
        let wanted = length.min(room);
        let mut left = room;
        loop {
            let used = room - left;
            if used > 0 && (used + SHORTEST_SENTENCE > wanted || left < SHORTEST_SENTENCE) {
                return true;
            }
            let longest = LONGEST_SENTENCE.min(wanted.saturating_sub(used).max(SHORTEST_SENTENCE));
            let sentence = self.sentence(rng, longest, left);
            left -= sentence.len();
            let whole = sentence.last() == Some(&STOP);
            self.render(&sentence, out);
            if !whole {
                return false;
            }
        }
    }

    /// Appends one to `most` words without an end: a title, a name.
    pub(super) fn phrase<R: Rng>(&self, rng: &mut R, most: usize, out: &mut String) {
        let most = most.max(1);
        let mut words = self.sentence(rng, most + 4, most + 4);
        words.retain(|word| is_word(self.word(*word)));
        words.truncate(most);
        while words.len() > 1 && words.last().is_some_and(|word| self.is_weak(*word)) {
            words.pop();
        }
        self.render(&words, out);
    }

    /// Tokens of one sentence, at most `room`; ends with [`STOP`] unless the room is used up. Past `longest` it ends at
    /// the first word that a sentence may end with.
    fn sentence<R: Rng>(&self, rng: &mut R, longest: usize, room: usize) -> Vec<u32> {
        let mut sentence: Vec<u32> = Vec::with_capacity(longest + 4);
        let (mut before, mut word) = (STOP, STOP);
        while sentence.len() < room {
            let last = sentence.last().copied().unwrap_or(STOP);
            let late = sentence.len() + 1 >= longest || sentence.len() + 1 == room;
            if late && (!self.is_weak(last) || (sentence.len() > longest + 8 && is_word(self.word(last)))) {
                sentence.push(STOP);
                break;
            }
            let mut next = self.next(rng, before, word);
            let early = sentence.len() + 1 < SHORTEST_SENTENCE.min(longest);
            if next == STOP && (early || !is_word(self.word(last))) {
                // Too early, or after a comma: go on as another sentence does.
                next = self.next(rng, STOP, STOP);
            }
            if next == STOP && sentence.is_empty() {
                next = self.base.table.words[0];
            }
            sentence.push(next);
            if next == STOP {
                break;
            }
            (before, word) = (word, next);
        }
        sentence
    }

    fn next<R: Rng>(&self, rng: &mut R, before: u32, word: u32) -> u32 {
        let (first, second) = if rng.random_bool(OWN_TEXT) {
            (&self.own, &self.base.table)
        } else {
            (&self.base.table, &self.own)
        };
        let found = first.next(rng, before, word).or_else(|| second.next(rng, before, word));
        found.unwrap_or(STOP)
    }

    fn word(&self, id: u32) -> &str {
        let id = id as usize;
        let base = &self.base.vocabulary;
        base.get(id).copied().unwrap_or_else(|| self.own_words[id - base.len()])
    }

    /// Whether no sentence ends here: after marks and short words (`the`, `of`, `and`).
    fn is_weak(&self, id: u32) -> bool {
        let word = self.word(id);
        id == STOP
            || !is_word(word)
            || (word.len() <= 4 && word.bytes().all(|byte| byte.is_ascii_lowercase()))
    }

    /// Appends the words with spaces between them, the first in upper case.
    fn render(&self, words: &[u32], out: &mut String) {
        for (index, id) in words.iter().enumerate() {
            let word = self.word(*id);
            if is_word(word) && !out.is_empty() {
                out.push(' ');
            }
            let mut chars = word.chars();
            // A letter whose upper case is several characters stays: they could be more tokens than one.
            let upper =
                chars.next().filter(|_| index == 0).map(char::to_uppercase).filter(|upper| upper.len() == 1);
            match upper {
                Some(first) => {
                    out.extend(first);
                    out.push_str(chars.as_str());
                }
                None => out.push_str(word),
            }
        }
    }
}

/// The part of a long text that is learned from.
fn tail(text: &str) -> &str {
    const BYTES: usize = LEARNED * 8;
    let mut start = text.len().saturating_sub(BYTES);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn write(prompt: &str, seed: u64, length: usize, room: usize) -> (String, bool) {
        let prose = Prose::new([prompt].into_iter());
        let mut text = String::new();
        let whole = prose.write(&mut ChaCha8Rng::seed_from_u64(seed), length, room, &mut text);
        (text, whole)
    }

    #[test]
    fn contexts_find_what_followed_them() {
        let table = Table::new(vec![1, 2, 3, STOP, 1, 2, 4, STOP, 5, 2, 3, STOP]);
        let after = |at: &[u32]| at.iter().map(|at| table.words[*at as usize + 1]).collect::<Vec<_>>();
        assert_eq!(after(table.after_one(2)), [3, 4, 3]);
        assert_eq!(after(table.after_two(1, 2)), [3, 4]);
        assert_eq!(after(table.after_two(5, 2)), [3]);
        assert_eq!(after(table.after_one(9)), [0; 0]);
        assert_eq!(after(table.after_two(STOP, 1)), [2, 2]);
    }

    #[test]
    fn it_speaks_of_what_it_was_asked() {
        let prompt =
            "Describe the Zanzibar lighthouse. The Zanzibar lighthouse guides dhows through coral reefs.";
        let spoken = (0..20).filter(|seed| write(prompt, *seed, 60, 100).0.contains("Zanzibar")).count();
        assert!(spoken > 10, "{spoken} of 20");
    }

    #[test]
    fn sentences_begin_and_end_as_sentences_do() {
        for seed in 0..50 {
            let (text, whole) =
                write("Poem: \"Über\" {x: [1, 2]}\n- Ünder the\tbridge, we wait;", seed, 60, 100);
            assert!(whole && text.ends_with('.'), "{text}");
            assert!(!text.contains(" .") && !text.contains(",,") && !text.contains(",."), "{text}");
            for sentence in text.trim_end_matches('.').split(". ") {
                assert!(!sentence.starts_with(|c: char| c.is_lowercase()), "{text}");
                assert!(super::super::words::count(sentence) <= LONGEST_SENTENCE + 12, "{sentence}");
            }
        }
    }

    #[test]
    fn a_capital_never_makes_two_tokens_of_one() {
        for seed in 0..20 {
            let (text, _) = write("ὒ. ŉ. ὒ. ŉ.", seed, 1, 1);
            assert_eq!(super::super::words::count(&text), 1, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_prompt_gives_a_text_within_its_room(prompt in "\\PC{0,200}", seed: u64, length in 1usize..90, room in 1usize..90) {
            let (text, _) = write(&prompt, seed, length, room);
            prop_assert!(!text.is_empty());
            prop_assert!(super::super::words::count(&text) <= room, "{}", text);
        }
    }
}
