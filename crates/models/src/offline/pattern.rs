//! Texts that match a regular expression.

use rand::{Rng, RngExt};
use regex_syntax::hir::{Class, Hir, HirKind};

/// What an open repetition (`*`, `+`, `{2,}`) repeats beyond its least.
const OPEN_REPEATS: u32 = 6;

/// A longer text is not drawn, in characters: `(a{1000}){1000}` is a short pattern.
const LONGEST: usize = 10_000;

/// Draws a text that matches `pattern`, taken as a whole.
///
/// # Errors
/// The pattern is one that this can't draw from: look-around, back references, no match at all, or too long a match.
pub(super) fn draw<R: Rng>(pattern: &str, rng: &mut R) -> Result<String, String> {
    let tree = regex_syntax::parse(pattern).map_err(|_| format!("the pattern {pattern:?} is beyond it"))?;
    let mut text = String::new();
    append(&tree, rng, &mut text).map_err(|reason| format!("the pattern {pattern:?} {reason}"))?;
    Ok(text)
}

fn append<R: Rng>(tree: &Hir, rng: &mut R, out: &mut String) -> Result<(), &'static str> {
    if out.len() > LONGEST {
        return Err("makes too long a text");
    }
    match tree.kind() {
        // Anchors hold by themselves, since the text is the whole match.
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => {
            out.push_str(std::str::from_utf8(&literal.0).map_err(|_| "is not of Unicode text")?);
        }
        HirKind::Class(class) => out.push(character(class, rng).ok_or("matches nothing")?),
        HirKind::Repetition(repetition) => {
            let most = repetition.max.unwrap_or(repetition.min.saturating_add(OPEN_REPEATS));
            for _ in 0..rng.random_range(repetition.min..=most.max(repetition.min)) {
                append(&repetition.sub, rng, out)?;
            }
        }
        HirKind::Capture(capture) => append(&capture.sub, rng, out)?,
        HirKind::Concat(parts) => {
            for part in parts {
                append(part, rng, out)?;
            }
        }
        HirKind::Alternation(branches) => append(&branches[rng.random_range(0..branches.len())], rng, out)?,
    }
    Ok(())
}

/// A character of the class, a printable ASCII one if it has any: `\d` and `\w` mean those in JSON Schema.
fn character<R: Rng>(class: &Class, rng: &mut R) -> Option<char> {
    let ranges: Vec<(u32, u32)> = match class {
        Class::Unicode(class) => class.iter().map(|r| (u32::from(r.start()), u32::from(r.end()))).collect(),
        Class::Bytes(class) => class.iter().map(|r| (u32::from(r.start()), u32::from(r.end()))).collect(),
    };
    let printable: Vec<(u32, u32)> = ranges
        .iter()
        .map(|(start, end)| ((*start).max(0x20), (*end).min(0x7e)))
        .filter(|(a, b)| a <= b)
        .collect();
    let usable = if printable.is_empty() { ranges } else { printable };
    if usable.is_empty() {
        return None;
    }
    let (start, end) = usable[rng.random_range(0..usable.len())];
    char::from_u32(rng.random_range(start..=end)).or_else(|| char::from_u32(start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use serde_json::json;
    use windrow_json_schema::{Formats, Schema};

    #[test]
    fn usual_patterns_are_met() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for pattern in
            ["^[A-Z]{3}-\\d{4}$", "^(yes|no)$", "^\\w+@\\w+\\.org$", "[^a]?x*", "^#[0-9a-fA-F]{6}$", "^ä+$"]
        {
            for _ in 0..50 {
                let text = draw(pattern, &mut rng).unwrap();
                let schema = Schema::compile(&json!({"pattern": pattern}), Formats::Ignored).unwrap();
                assert!(schema.accepts(&json!(text)), "{pattern}: {text:?}");
            }
        }
        for pattern in ["(?=a)b", "(a)\\1", "(", "((a{1000}){1000}){1000}"] {
            assert!(draw(pattern, &mut rng).is_err(), "{pattern}");
        }
    }
}
