//! What kind of file some first bytes begin.

/// How many first bytes [`sniff`] wants to see; fewer when the object is shorter.
pub const SNIFF_LEN: usize = 8 * 1024;

/// A kind of content, told from its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentKind {
    Empty,
    Json,
    Jsonl,
    Csv,
    Text,
    Gzip,
    Zip,
    Pdf,
    Png,
    Jpeg,
    Webp,
    Binary,
}

impl ContentKind {
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Jsonl => "application/x-ndjson",
            Self::Csv => "text/csv",
            Self::Empty | Self::Text => "text/plain",
            Self::Gzip => "application/gzip",
            Self::Zip => "application/zip",
            Self::Pdf => "application/pdf",
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Webp => "image/webp",
            Self::Binary => "application/octet-stream",
        }
    }

    const fn is_text(self) -> bool {
        matches!(self, Self::Empty | Self::Json | Self::Jsonl | Self::Csv | Self::Text)
    }

    /// Whether bytes of this kind may be what a user declared. What has no signature of its own (YAML, HTML, an
    /// unknown type) is taken at its word as long as text is text.
    pub fn agrees_with(self, declared: &str) -> bool {
        let essence = declared.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "" | "application/octet-stream" => true,
            "application/gzip" | "application/x-gzip" => self == Self::Gzip,
            "application/zip" | "application/x-zip-compressed" => self == Self::Zip,
            // Office documents are ZIP archives (ECMA-376 part 2; ODF 1.3 part 2).
            t if t.starts_with("application/vnd.openxmlformats-officedocument.")
                || t.starts_with("application/vnd.oasis.opendocument.") =>
            {
                self == Self::Zip
            }
            "application/pdf" => self == Self::Pdf,
            "image/png" => self == Self::Png,
            "image/jpeg" | "image/jpg" => self == Self::Jpeg,
            "image/webp" => self == Self::Webp,
            // One object a line and one object are told apart by reading them, not here.
            "application/json" | "application/x-ndjson" | "application/jsonl" | "application/x-jsonlines" => {
                matches!(self, Self::Json | Self::Jsonl)
            }
            t if t.starts_with("text/") => self.is_text(),
            "application/yaml" | "application/x-yaml" | "application/xml" => self.is_text(),
            _ => true,
        }
    }
}

/// First bytes and what they begin.
const SIGNATURES: &[(&[u8], ContentKind)] = &[
    (b"\x1f\x8b\x08", ContentKind::Gzip), // RFC 1952, 2.3.1: ID1 ID2, CM = deflate
    (b"PK\x03\x04", ContentKind::Zip),    // APPNOTE.TXT 4.3.7
    (b"PK\x05\x06", ContentKind::Zip),    // APPNOTE.TXT 4.3.16: an empty archive
    (b"\x89PNG\r\n\x1a\n", ContentKind::Png), // PNG, 5.2
    (b"\xff\xd8\xff", ContentKind::Jpeg), // ITU T.81, B.1: SOI and the next marker
];

/// Tells the kind of an object from its first bytes, [`SNIFF_LEN`] of them at best.
pub fn sniff(first: &[u8]) -> ContentKind {
    if first.is_empty() {
        return ContentKind::Empty;
    }
    if let Some((_, kind)) = SIGNATURES.iter().find(|(signature, _)| first.starts_with(signature)) {
        return *kind;
    }
    // RFC 9649, 2.4: "RIFF", size, "WEBP".
    if first.starts_with(b"RIFF") && first.get(8..12) == Some(b"WEBP") {
        return ContentKind::Webp;
    }
    // Readers accept a PDF header within the first 1,024 bytes (ISO 32000-1, annex H, implementation note 13).
    if first[..first.len().min(1024)].windows(5).any(|window| window == b"%PDF-") {
        return ContentKind::Pdf;
    }
    match text_of(first) {
        Some(text) => sniff_text(text.trim_start_matches('\u{feff}')),
        None => ContentKind::Binary,
    }
}

/// The bytes as text, without a character that the cut has split. None when they are not UTF-8 or hold controls that
/// text has no use for.
fn text_of(first: &[u8]) -> Option<&str> {
    let text = match std::str::from_utf8(first) {
        Ok(text) => text,
        Err(e) if e.error_len().is_none() && first.len() >= SNIFF_LEN => {
            std::str::from_utf8(&first[..e.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    let is_text = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t' | '\u{c}' | '\u{85}');
    text.chars().all(is_text).then_some(text)
}

fn sniff_text(text: &str) -> ContentKind {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let (first, second) = (lines.next().unwrap_or_default(), lines.next());
    if first.starts_with('{') {
        let one_a_line = first.ends_with('}') && second.is_some_and(|line| line.starts_with('{'));
        return if one_a_line { ContentKind::Jsonl } else { ContentKind::Json };
    }
    if first.starts_with('[') {
        return ContentKind::Json;
    }
    // A header and a row with equally many separators. Only complete lines count: the cut may be in the second.
    let complete = text.ends_with('\n') || text.len() < SNIFF_LEN - 4 || lines.next().is_some();
    let is_csv = second.filter(|_| complete).is_some_and(|row| {
        [',', ';', '\t'].iter().any(|separator| {
            let fields = separators(first, *separator);
            fields > 0 && fields == separators(row, *separator)
        })
    });
    if is_csv { ContentKind::Csv } else { ContentKind::Text }
}

/// How many separators stand outside quotes (RFC 4180, 2.5).
fn separators(line: &str, separator: char) -> usize {
    let mut quoted = false;
    let outside = line.chars().filter(|c| {
        quoted ^= *c == '"';
        !quoted && *c == separator
    });
    outside.count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_kind_is_told_by_its_first_bytes() {
        let cases: [(&[u8], ContentKind); 18] = [
            (b"", ContentKind::Empty),
            (b"{\"a\": 1}", ContentKind::Json),
            (b"[\n 1]", ContentKind::Json),
            (b"{\n  \"a\": {}\n}\n", ContentKind::Json),
            (b"\xef\xbb\xbf{\"a\":1}\r\n{\"a\":2}\r\n", ContentKind::Jsonl),
            (b"{\"a\":1}\n\n{\"a\":2}", ContentKind::Jsonl),
            (b"id,name\n1,\"a, b\"\n", ContentKind::Csv),
            (b"id;name\n1;x\n", ContentKind::Csv),
            (b"Dear all, hello\nand goodbye\n", ContentKind::Text),
            (b"id,name\n", ContentKind::Text),
            (b"\x1f\x8b\x08\0rest", ContentKind::Gzip),
            (b"PK\x03\x04rest", ContentKind::Zip),
            (b"\n%PDF-1.7\n\xff\xff", ContentKind::Pdf),
            (b"\x89PNG\r\n\x1a\n\0", ContentKind::Png),
            (b"\xff\xd8\xff\xe0", ContentKind::Jpeg),
            (b"RIFF\0\0\0\0WEBPVP8 ", ContentKind::Webp),
            (b"text with \0 in it", ContentKind::Binary),
            (b"latin-1 \xfc alone", ContentKind::Binary),
        ];
        for (bytes, kind) in cases {
            assert_eq!(sniff(bytes), kind, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_cut_through_a_character_leaves_text_text() {
        let mut long = "ü".repeat(SNIFF_LEN);
        long.insert(0, 'a');
        assert_eq!(sniff(&long.as_bytes()[..SNIFF_LEN]), ContentKind::Text);
    }

    #[test]
    fn a_declared_type_must_fit_what_is_seen() {
        assert!(ContentKind::Json.agrees_with("application/json; charset=utf-8"));
        assert!(ContentKind::Jsonl.agrees_with("application/json"));
        assert!(ContentKind::Csv.agrees_with("text/plain"));
        assert!(
            ContentKind::Zip
                .agrees_with("application/vnd.openxmlformats-officedocument.wordprocessingml.document")
        );
        assert!(ContentKind::Binary.agrees_with("application/octet-stream"));
        assert!(!ContentKind::Text.agrees_with("application/pdf"));
        assert!(!ContentKind::Binary.agrees_with("text/csv"));
        assert!(!ContentKind::Zip.agrees_with("image/PNG"));
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_kind(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let kind = sniff(&bytes);
            prop_assert!(kind.agrees_with("application/octet-stream"));
            if bytes.contains(&0) && kind.is_text() {
                prop_assert!(false, "a NUL is no text: {kind:?}");
            }
        }
    }
}
