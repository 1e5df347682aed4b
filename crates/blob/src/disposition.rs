//! File names that users gave, made safe for a header and for the disk of whoever downloads.

use std::fmt::Write;

/// The longest name kept, in bytes: what common file systems allow.
const MAX_NAME: usize = 255;

/// A user's file name without folders, control characters, characters that change the direction of text or that
/// Windows forbids, and outer dots and spaces; cut to 255 bytes, its extension kept. `download` when nothing is left.
pub fn sanitise_file_name(name: &str) -> String {
    let base = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let kept: String =
        base.chars().map(|c| if forbidden(c) { '_' } else { c }).filter(|c| !hidden(*c)).collect();
    let trimmed = kept.trim_matches(|c: char| c == '.' || c.is_whitespace());
    if trimmed.is_empty() { "download".to_owned() } else { shorten(trimmed) }
}

/// `attachment` with the name twice, as RFC 6266 appendix D asks: an ASCII form for old readers, and the exact one
/// encoded by RFC 5987. The name is sanitised here.
pub fn content_disposition(name: &str) -> String {
    let name = sanitise_file_name(name);
    // A percent sign or a quote would be read in different ways by different readers (RFC 6266, appendix D).
    let plain = |c: char| if (' '..='~').contains(&c) && !matches!(c, '"' | '\\' | '%') { c } else { '_' };
    let fallback: String = name.chars().map(plain).collect();
    let mut header = format!("attachment; filename=\"{fallback}\"");
    if fallback != name {
        header.push_str("; filename*=UTF-8''");
        encode_ext_value(&name, &mut header);
    }
    header
}

/// `value-chars` of RFC 5987, section 3.2.1.
fn encode_ext_value(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("writing to a string never fails");
        }
    }
}

fn forbidden(c: char) -> bool {
    matches!(c, '<' | '>' | ':' | '"' | '|' | '?' | '*')
}

/// Controls, and what makes `gpj.exe` look like `exe.jpg`: bidirectional and zero-width format characters.
fn hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{061c}')
}

fn shorten(name: &str) -> String {
    if name.len() <= MAX_NAME {
        return name.to_owned();
    }
    let extension = name.rfind('.').map_or("", |at| &name[at..]);
    // A long "extension" is none.
    let extension = if extension.len() <= 16 { extension } else { "" };
    let stem = &name[..name.len() - extension.len()];
    let cut = stem.floor_char_boundary(MAX_NAME - extension.len());
    format!("{}{extension}", &stem[..cut])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_lose_what_is_dangerous_and_keep_what_is_theirs() {
        for (given, kept) in [
            ("poems.jsonl", "poems.jsonl"),
            ("../../etc/passwd", "passwd"),
            ("C:\\Users\\me\\cv.pdf", "cv.pdf"),
            ("a\r\nSet-Cookie: x=1", "aSet-Cookie_ x=1"),
            ("Größe 1.pdf", "Größe 1.pdf"),
            ("\u{202e}gpj.exe", "gpj.exe"),
            ("..", "download"),
            ("", "download"),
            (" .hidden ", "hidden"),
        ] {
            assert_eq!(sanitise_file_name(given), kept, "{given:?}");
        }
        let long = sanitise_file_name(&format!("{}.parquet", "ü".repeat(300)));
        assert!(long.len() <= MAX_NAME && long.ends_with("ü.parquet"), "{long}");
    }

    #[test]
    fn the_header_has_an_ascii_form_and_the_exact_one() {
        assert_eq!(content_disposition("a b.csv"), "attachment; filename=\"a b.csv\"");
        assert_eq!(
            content_disposition("Größe€.csv"),
            "attachment; filename=\"Gr__e_.csv\"; filename*=UTF-8''Gr%C3%B6%C3%9Fe%E2%82%AC.csv"
        );
        assert_eq!(
            content_disposition("50%'.csv"),
            "attachment; filename=\"50_'.csv\"; filename*=UTF-8''50%25%27.csv"
        );
    }

    proptest! {
        #[test]
        fn any_name_gives_one_header_line_of_ascii(name in r"(\PC|[\x00-\x1f]|/|\\){0,400}") {
            let header = content_disposition(&name);
            prop_assert!(header.bytes().all(|b| (0x20..0x7f).contains(&b)));
            prop_assert_eq!(header.matches('"').count(), 2);
            let safe = sanitise_file_name(&name);
            prop_assert!(!safe.is_empty() && safe.len() <= MAX_NAME && !safe.contains(['/', '\\']));
            prop_assert_eq!(sanitise_file_name(&safe).len(), safe.len());
        }
    }
}
