//! The known name that somebody probably meant.

/// The candidate with the fewest edits, when it is near enough to be a slip and not another word.
pub(crate) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let scored = candidates.into_iter().map(|candidate| (distance(name, candidate), candidate));
    let (edits, best) = scored.min()?;
    let length = name.chars().count();
    // Two edits are one pair of letters swapped.
    (edits < length && edits <= (length / 3).max(2)).then_some(best)
}

/// Levenshtein distance, ignoring case.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.to_lowercase().chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(l != *r);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_name_and_another_word_finds_none() {
        let names = ["WINDROW_BEAT", "WINDROW_BIND", "PORT"];
        assert_eq!(nearest("WINDROW_BEET", names), Some("WINDROW_BEAT"));
        assert_eq!(nearest("windrow_bind", names), Some("WINDROW_BIND"));
        assert_eq!(nearest("baet", ["beat", "lapse"]), Some("beat"));
        assert_eq!(nearest("WINDROW_SOMETHING_ELSE", names), None);
        assert_eq!(nearest("x", []), None);
        assert_eq!((distance("kitten", "sitting"), distance("", "abc"), distance("abc", "")), (3, 3, 3));
    }
}
