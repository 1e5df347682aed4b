//! Functions over text that templates use: sentences, words, tokens, keywords, Markdown. Pure and deterministic.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

/// About how many tokens a text has, for any model: a word or number costs one token for every six characters begun, a
/// mark costs one, and a character of a script without spaces costs one. Real tokenizers give English prose about
/// 0.75 words a token, which this meets within about a tenth; it is a measure for cutting and for guessing, never for
/// money.
pub fn estimate_tokens(text: &str) -> u64 {
    pieces(text).map(|piece| piece.tokens).sum()
}

struct Piece {
    end: usize,
    tokens: u64,
}

const CHARS_PER_TOKEN: u64 = 6;

/// Words and marks with where they end. Blanks belong to nothing.
fn pieces(text: &str) -> impl Iterator<Item = Piece> + '_ {
    let mut chars = text.char_indices().peekable();
    std::iter::from_fn(move || {
        let (start, first) = chars.find(|(_, c)| !c.is_whitespace())?;
        let mut end = start + first.len_utf8();
        if !is_spaced_letter(first) {
            return Some(Piece { end, tokens: 1 });
        }
        let mut length = 1u64;
        while let Some((at, c)) = chars.next_if(|(_, c)| is_spaced_letter(*c)) {
            end = at + c.len_utf8();
            length += 1;
        }
        Some(Piece { end, tokens: length.div_ceil(CHARS_PER_TOKEN) })
    })
}

/// A letter or digit of a script that puts blanks between words.
fn is_spaced_letter(c: char) -> bool {
    // From U+2E80 on come the scripts of East Asia, whose characters are about a token each.
    c.is_alphanumeric() && u32::from(c) < 0x2e80
}

/// The beginning of a text, as far as about `limit` tokens go; cut between words.
pub(super) fn truncate_tokens(text: &str, limit: u64) -> &str {
    let mut spent = 0;
    let mut end = 0;
    for piece in pieces(text) {
        spent += piece.tokens;
        if spent > limit {
            return &text[..end];
        }
        end = piece.end;
    }
    text
}

/// The sentences of a text, without blanks around them. A sentence ends after `.`, `!`, `?` or `…` (and what closes a
/// quotation) before a blank, or at an empty line.
pub(super) fn sentences(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut ended = false;
    let mut newlines = 0;
    for (at, c) in text.char_indices() {
        if c.is_whitespace() {
            newlines += usize::from(c == '\n');
            if ended || newlines > 1 {
                found.push(&text[start..at]);
                start = at;
                ended = false;
            }
            continue;
        }
        newlines = 0;
        ended = matches!(c, '.' | '!' | '?' | '…' | '。' | '！' | '？')
            || ended && matches!(c, '"' | '\'' | '”' | '’' | ')' | ']' | '»');
    }
    found.push(&text[start..]);
    found.into_iter().map(str::trim).filter(|s| !s.is_empty()).collect()
}

/// The words of a text: letters and digits, with apostrophes and hyphens inside.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && !matches!(c, '\'' | '’' | '-'))
        .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()))
        .filter(|word| !word.is_empty())
}

/// English words that say nothing about a text's subject.
const STOP_WORDS: &[&str] = &[
    "a", "about", "after", "again", "all", "also", "am", "an", "and", "any", "are", "as", "at", "be",
    "because", "been", "before", "being", "between", "both", "but", "by", "can", "could", "did", "do",
    "does", "doing", "down", "during", "each", "even", "few", "for", "from", "further", "had", "has", "have",
    "having", "he", "her", "here", "hers", "him", "his", "how", "i", "if", "in", "into", "is", "it", "its",
    "just", "like", "made", "make", "many", "may", "me", "might", "more", "most", "much", "must", "my", "no",
    "nor", "not", "now", "of", "off", "on", "once", "one", "only", "or", "other", "our", "out", "over",
    "own", "said", "same", "she", "should", "so", "some", "such", "than", "that", "the", "their", "theirs",
    "them", "then", "there", "these", "they", "this", "those", "through", "to", "too", "under", "until",
    "up", "upon", "us", "very", "was", "we", "were", "what", "when", "where", "which", "while", "who",
    "whom", "why", "will", "with", "would", "you", "your", "yours",
];

static STOP_SET: LazyLock<HashSet<&str>> = LazyLock::new(|| STOP_WORDS.iter().copied().collect());

/// The `n` words that occur most often, lower-case, without words of fewer than three letters and those that say
/// nothing; equals stand in order of appearance.
pub(super) fn keywords(text: &str, n: usize) -> Vec<String> {
    let mut counts: HashMap<Cow<'_, str>, (u32, usize)> = HashMap::new();
    for (at, word) in words(text).enumerate() {
        let is_lower = word.bytes().all(|b| b.is_ascii_lowercase());
        let word = if is_lower { Cow::Borrowed(word) } else { Cow::Owned(word.to_lowercase()) };
        let says_nothing = word.chars().nth(2).is_none() || STOP_SET.contains(&*word);
        if !says_nothing && word.chars().any(char::is_alphabetic) {
            counts.entry(word).or_insert((0, at)).0 += 1;
        }
    }
    let mut ranked: Vec<(Cow<'_, str>, (u32, usize))> = counts.into_iter().collect();
    ranked.sort_unstable_by_key(|(_, (count, at))| (u32::MAX - count, *at));
    ranked.into_iter().take(n).map(|(word, _)| word.into_owned()).collect()
}

/// The text with its first letter in upper case, the rest as it was.
pub(super) fn capitalize_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// How a text is written, in a few words that a prompt can use: the length of its sentences, whose voice, its marks.
pub(super) fn describe_style(text: &str) -> String {
    let sentences = sentences(text);
    let count = words(text).count();
    if count == 0 {
        return "no discernible style".to_owned();
    }
    let length = match count / sentences.len().max(1) {
        0..=9 => "short sentences",
        10..=20 => "sentences of medium length",
        _ => "long sentences",
    };
    let has = |list: &[&str]| words(text).any(|word| list.contains(&word.to_lowercase().as_str()));
    let voice = if has(&["i", "me", "my", "we", "our", "us"]) {
        "in the first person"
    } else if has(&["you", "your", "yours"]) {
        "addressing the reader"
    } else {
        "in the third person"
    };
    let letters: usize = words(text).map(|word| word.chars().count()).sum();
    let diction = if letters * 10 >= count * 55 { "elevated diction" } else { "plain words" };
    let mut style = format!("{length}, {voice}, {diction}");
    if sentences.iter().filter(|s| s.ends_with('?')).count() * 4 >= sentences.len() {
        style.push_str(", many questions");
    }
    if sentences.iter().filter(|s| s.ends_with('!')).count() * 4 >= sentences.len() {
        style.push_str(", exclamations");
    }
    style
}

/// The text without Markdown: headings, emphasis, code marks, quotes, lists, rules, links and images become their text.
pub(super) fn remove_markdown(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut fenced = false;
    for (i, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        if trimmed.starts_with("```") || trimmed.starts_with("~~~") {
            fenced = !fenced;
            continue;
        }
        if i > 0 && !plain.is_empty() {
            plain.push('\n');
        }
        if fenced {
            plain.push_str(line);
        } else if !is_rule(trimmed) {
            push_inline(without_block_marks(line), &mut plain);
        }
    }
    plain.truncate(plain.trim_end().len());
    plain
}

fn is_rule(line: &str) -> bool {
    let marks: Vec<char> = line.chars().filter(|c| !c.is_whitespace()).collect();
    marks.len() >= 3 && matches!(marks[0], '-' | '*' | '_') && marks.iter().all(|c| *c == marks[0])
}

fn without_block_marks(line: &str) -> &str {
    let mut rest = line.trim_start();
    while let Some(quoted) = rest.strip_prefix('>') {
        rest = quoted.trim_start();
    }
    let heading = rest.trim_start_matches('#');
    if heading.len() < rest.len() && (heading.is_empty() || heading.starts_with(' ')) {
        return heading.trim();
    }
    for mark in ["- ", "* ", "+ "] {
        if let Some(item) = rest.strip_prefix(mark) {
            return item;
        }
    }
    let number = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let numbered = number.len() < rest.len() && rest.len() - number.len() <= 3;
    match number.strip_prefix(". ").or_else(|| number.strip_prefix(") ")) {
        Some(item) if numbered => item,
        _ => rest,
    }
}

/// Appends a line without its inline marks. Underscores within words stay.
fn push_inline(line: &str, plain: &mut String) {
    let mut rest = line;
    let mut before = ' ';
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        match c {
            '\\' if after.starts_with(|c: char| c.is_ascii_punctuation()) => {
                plain.push_str(&after[..1]);
                before = 'x';
                rest = &after[1..];
                continue;
            }
            '!' if after.starts_with('[') => {}
            '[' => {
                if let Some((label, target)) = after.split_once("](")
                    && let Some((_, tail)) = target.split_once(')')
                    && !label.contains('[')
                {
                    push_inline(label, plain);
                    before = 'x';
                    rest = tail;
                    continue;
                }
                plain.push(c);
            }
            '*' | '`' => {}
            '~' if after.starts_with('~') || before == '~' => {}
            '_' if !before.is_alphanumeric() || !after.starts_with(char::is_alphanumeric) => {}
            _ => plain.push(c),
        }
        before = c;
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sentences_end_where_people_end_them() {
        assert_eq!(sentences("One. Two! Three?"), ["One.", "Two!", "Three?"]);
        assert_eq!(sentences("She said \"no.\" He left"), ["She said \"no.\"", "He left"]);
        assert_eq!(sentences("a heading\n\nthen text"), ["a heading", "then text"]);
        assert_eq!(sentences("version 1.5 of it"), ["version 1.5 of it"]);
        assert!(sentences(" \n ").is_empty());
    }

    #[test]
    fn tokens_are_counted_and_cut() {
        assert_eq!(estimate_tokens("The cat sat, twice."), 6);
        assert_eq!(estimate_tokens("internationalisation"), 4);
        assert_eq!(estimate_tokens("日本語"), 3);
        assert_eq!(truncate_tokens("The cat sat, twice.", 3), "The cat sat");
        assert_eq!(truncate_tokens("The cat", 99), "The cat");
        assert_eq!(truncate_tokens("The cat", 0), "");
    }

    #[test]
    fn keywords_are_frequent_and_telling() {
        let text = "The lighthouse keeper watched the sea. The sea was calm, and the keeper slept.";
        assert_eq!(keywords(text, 2), ["keeper", "sea"]);
        assert!(STOP_WORDS.is_sorted());
    }

    #[test]
    fn markdown_becomes_text() {
        let markdown = "# Title\n\n> *Quoted* **bold** `code` snake_case _em_\n\n- item [link](http://x) ![alt](y)\n1. one\n---\n```rust\nlet x = 1;\n```\n~~gone~~ a\\*b";
        let plain = "Title\n\nQuoted bold code snake_case em\n\nitem link alt\none\n\nlet x = 1;\ngone a*b";
        assert_eq!(remove_markdown(markdown), plain);
    }

    #[test]
    fn styles_differ() {
        assert_eq!(
            describe_style("I ran. I fell!"),
            "short sentences, in the first person, plain words, exclamations"
        );
        assert_eq!(describe_style(""), "no discernible style");
    }

    #[test]
    fn capitals() {
        assert_eq!(capitalize_first("élan vital"), "Élan vital");
        assert_eq!(capitalize_first(""), "");
    }

    proptest! {
        #[test]
        fn nothing_panics_on_any_text(text in "\\PC{0,200}", n in 0u64..50) {
            remove_markdown(&text);
            sentences(&text);
            keywords(&text, 5);
            describe_style(&text);
            let cut = truncate_tokens(&text, n);
            prop_assert!(text.starts_with(cut));
            prop_assert!(estimate_tokens(cut) <= n || cut == text);
        }
    }
}
