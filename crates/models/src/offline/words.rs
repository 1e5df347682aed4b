//! The offline model's tokens: words, and single marks.

/// A longer run of letters (a hash, a text without spaces) is cut: no token is longer, in characters.
const LONGEST: usize = 32;

/// The tokens of a text, white space left out. A word is a run of letters and digits, with apostrophes and hyphens inside
/// it; everything else is a mark of one character.
pub(super) fn tokens(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        let start = text.len() - rest.len();
        let length = token_length(rest)?;
        let token = &rest[..length];
        rest = &rest[length..];
        Some((start, token))
    })
}

pub(crate) fn count(text: &str) -> usize {
    tokens(text).count()
}

/// Where the first `room` tokens end, if there are more than that.
pub(super) fn end_of(text: &str, room: usize) -> Option<usize> {
    let mut tokens = tokens(text);
    let last = match room.checked_sub(1) {
        Some(index) => tokens.nth(index),
        None => Some((0, "")),
    };
    tokens.next()?;
    last.map(|(start, token)| start + token.len())
}

pub(super) fn is_word(token: &str) -> bool {
    token.chars().next().is_some_and(char::is_alphanumeric)
}

/// Bytes of the token that `rest` begins with.
fn token_length(rest: &str) -> Option<usize> {
    let first = rest.chars().next()?;
    if !first.is_alphanumeric() {
        return Some(first.len_utf8());
    }
    let mut end = 0;
    let mut chars = rest.char_indices().peekable();
    let mut taken = 0;
    while let Some((at, c)) = chars.next() {
        let joins =
            matches!(c, '\'' | '’' | '-') && chars.peek().is_some_and(|(_, next)| next.is_alphanumeric());
        if taken == LONGEST || !(c.is_alphanumeric() || joins) {
            break;
        }
        end = at + c.len_utf8();
        taken += 1;
    }
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(text: &str) -> Vec<&str> {
        tokens(text).map(|(_, token)| token).collect()
    }

    #[test]
    fn words_and_marks_are_told_apart() {
        assert_eq!(
            split("Don't stop: well-read – 42%."),
            ["Don't", "stop", ":", "well-read", "–", "42", "%", "."]
        );
        assert_eq!(split(" -a- "), ["-", "a", "-"]);
        assert_eq!(split(&"x".repeat(70)).iter().map(|t| t.len()).collect::<Vec<_>>(), [32, 32, 6]);
        assert_eq!(split("\n\t "), Vec::<&str>::new());
    }

    #[test]
    fn a_text_is_cut_after_its_last_token() {
        assert_eq!(end_of("one two. three", 3), Some(8));
        assert_eq!(end_of("one two.", 3), None);
        assert_eq!(end_of("one", 0), Some(0));
    }

    proptest! {
        #[test]
        fn nothing_but_white_space_is_lost(text in "\\PC{0,80}|[a-z' -]{0,80}") {
            let joined: String = split(&text).concat();
            let expected: String = text.chars().filter(|c| !c.is_whitespace()).collect();
            prop_assert_eq!(joined, expected);
        }

        #[test]
        fn a_cut_text_has_exactly_the_room(text in "[a-z'. -]{0,80}", room in 0usize..20) {
            match end_of(&text, room) {
                Some(end) => prop_assert_eq!(count(&text[..end]), room),
                None => prop_assert!(count(&text) <= room),
            }
        }
    }
}
