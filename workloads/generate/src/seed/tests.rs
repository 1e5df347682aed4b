//! Seed files as users send them.

use std::io::{Cursor, Read, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn limits() -> SeedLimits {
    SeedLimits::default()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Gives out one byte at a time, so that every boundary falls between two reads.
struct Dripping<'a>(&'a [u8]);

impl Read for Dripping<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.0.len().min(1).min(buffer.len());
        buffer[..n].copy_from_slice(&self.0[..n]);
        self.0 = &self.0[n..];
        Ok(n)
    }
}

/// The rows of a file, and its error; whole, dripping, and compressed, which must not differ.
fn read(bytes: &[u8]) -> Rows {
    let compressed = gzip(bytes);
    let whole = collect(SeedReader::open(bytes, limits()));
    assert_eq!(collect(SeedReader::open(Dripping(bytes), limits())), whole);
    assert_eq!(collect(SeedReader::open(compressed.as_slice(), limits())), whole);
    whole
}

type Rows = (Vec<Result<(u64, Value), String>>, Option<String>);

fn collect(reader: Result<SeedReader<'_>, SeedError>) -> Rows {
    let reader = match reader {
        Ok(reader) => reader,
        Err(error) => return (Vec::new(), Some(error.to_string())),
    };
    let mut rows = Vec::new();
    for row in reader {
        match row {
            Ok(row) => rows.push(Ok((row.line, row.record))),
            Err(SeedError::Record(bad)) => rows.push(Err(format!("line {}: {}", bad.line, bad.message))),
            Err(error) => return (rows, Some(error.to_string())),
        }
    }
    (rows, None)
}

fn records(bytes: &[u8]) -> Vec<(u64, Value)> {
    let (rows, error) = read(bytes);
    assert_eq!(error, None);
    rows.into_iter().map(|row| row.unwrap()).collect()
}

#[test]
fn every_format_gives_the_same_records() {
    let expected = vec![json!({"a": "1", "b": {"c": "two"}}), json!({"a": "x,\n\"y\"", "b": {"c": null}})];
    for (format, text) in [
        (
            SeedFormat::Jsonl,
            "{\"a\":\"1\",\"b\":{\"c\":\"two\"}}\n\n{\"a\":\"x,\\n\\\"y\\\"\",\"b\":{\"c\":null}}",
        ),
        (
            SeedFormat::Json,
            "\u{feff} [\n {\"a\":\"1\",\"b\":{\"c\":\"two\"}},\n{\"a\":\"x,\\n\\\"y\\\"\",\"b\":{\"c\":null}} ]\n",
        ),
        (SeedFormat::Csv, "a,b.c\r\n1,two\r\n\"x,\n\"\"y\"\"\",\r\n"),
        (SeedFormat::Csv, "a;b.c\n1;\"two\"\n\n\"x,\n\"\"y\"\"\";\n"),
        (SeedFormat::Csv, "\u{feff}a\tb.c\n1\ttwo\n\"x,\n\"\"y\"\"\"\t"),
    ] {
        let reader = SeedReader::open(text.as_bytes(), limits()).unwrap();
        assert_eq!(reader.format(), format, "{text}");
        let rows: Vec<Value> = records(text.as_bytes()).into_iter().map(|(_, record)| record).collect();
        assert_eq!(rows, expected, "{text}");
    }
    let one = "{\n  \"a\": \"1\",\n  \"b\": {\"c\": \"two\"}\n}\n";
    assert_eq!(SeedReader::open(one.as_bytes(), limits()).unwrap().format(), SeedFormat::Json);
    assert_eq!(records(one.as_bytes()), [(1, expected[0].clone())]);
}

#[test]
fn rows_know_their_line_and_byte() {
    for text in
        ["\n{\"n\":0}\n\n{\"n\":1}\r\n{\"n\":2}", "\n [{\"n\":0},\n\n{\"n\":1}\n,{\"n\":2}]", "\n{\n\"n\":0}"]
    {
        let reader = SeedReader::open(text.as_bytes(), limits()).unwrap();
        for (n, row) in reader.enumerate() {
            let row = row.unwrap();
            assert_eq!(row.record["n"], n);
            let start = usize::try_from(row.offset).unwrap();
            assert!(text[start..].starts_with('{'), "{text}: {row:?}");
            assert_eq!(row.line, text[..start].matches('\n').count() as u64 + 1, "{text}");
        }
    }
    let csv = "n\n\"a\nb\"\nc\n";
    let places: Vec<(u64, u64)> = SeedReader::open(csv.as_bytes(), limits())
        .unwrap()
        .map(|row| row.map(|r| (r.line, r.offset)).unwrap())
        .collect();
    assert_eq!(places, [(2, 2), (4, 8)]);
}

#[test]
fn a_bad_record_is_named_and_passed() {
    let text = b"{\"n\":1}\n{\"n\":\n[1]\n{\"n\":\"\xff\"}\n{\"n\":\"a\\u0000b\"}\nnonsense\n{\"n\":\"\0\"}\n{\"n\":2}\n";
    let (rows, error) = read(text);
    assert_eq!(error, None);
    let bad: Vec<String> = rows.iter().filter_map(|row| row.clone().err()).collect();
    for (message, (line, why)) in bad.iter().zip([
        (2, "not valid JSON: EOF while parsing a value at column 5"),
        (3, "the record is a list"),
        (4, "not valid UTF-8 at byte 7"),
        (5, "NUL"),
        (6, "not valid JSON"),
        (7, "NUL"),
    ]) {
        assert!(message.starts_with(&format!("line {line}: ")) && message.contains(why), "{message}");
    }
    assert_eq!((rows.len(), bad.len()), (8, 6));
}

#[test]
fn a_broken_first_line_does_not_hide_the_rest() {
    let (rows, error) = read(b"{\"n\": oops}\n{\"n\":2}\n{\"n\":3}\n");
    assert_eq!((rows.len(), error), (3, None));
    assert!(rows[0].as_ref().unwrap_err().starts_with("line 1: not valid JSON"));
}

#[test]
fn broken_files_say_where() {
    for (text, why) in [
        ("", "line 1: the file is empty"),
        (" \n\n", "line 3: the file is empty"),
        ("[{\"a\":1},\n", "line 2: the file ends before the list's closing ]"),
        ("[{\"a\":1}\n{\"a\":2}]", "line 2: expected , or ]"),
        ("[{\"a\":1},\n]", "line 2: a comma must be followed"),
        ("[{\"a\":1}] x", "line 1: there is data after"),
        ("[\n{\"a\":\n\"b}]", "line 3: the file ends in the middle of the record that begins on line 2"),
        ("[\n{\"a\":\n oops}]", "line 3: not valid JSON"),
        ("{\n\"a\": 1\n}\n{\n", "line 4: '{' after the end of the object"),
        ("{\n\"a\": oops\n}", "line 2: not valid JSON"),
        ("a,a\n1,2\n", "the columns a and a can't both"),
        ("a,a.b\n1,2\n", "the columns a and a.b can't both"),
        ("a.b,a[0]\n1,2\n", "can't be used"),
        ("a[5000]\n1\n", "can't be used"),
        ("a,,b\n1,2,3\n", "column 2 has no name"),
        ("\"a\n1,2\n", "never closed"),
        ("PK\u{3}\u{4}zip", "a ZIP archive"),
        ("%PDF-1.7", "a PDF"),
        ("a\0b", "NUL bytes"),
    ] {
        let (_, error) = read(text.as_bytes());
        let error = error.unwrap_or_else(|| panic!("{text:?} was read"));
        assert!(error.contains(why), "{text:?}: {error}");
    }
    let error = SeedReader::open(&b"\xff\xfea\0"[..], limits()).unwrap_err().to_string();
    assert!(error.contains("UTF-16"), "{error}");
    let error = SeedReader::open(Cursor::new(gzip(&gzip(b"{}"))), limits()).unwrap_err().to_string();
    assert!(error.contains("gzip within gzip"), "{error}");
}

#[test]
fn bad_csv_rows_are_named_and_passed() {
    let text = b"a,b\n1,2\n1\n1,2,3\n5\" nail,x\n\"q\"x,y\n\xff,1\nn\0,1\n3,4\n";
    let (rows, error) = read(text);
    assert_eq!(error, None);
    for (row, why) in rows[1..7].iter().zip([
        "line 3: the row has 1 fields, the header has 2",
        "line 4: the row has 3 fields",
        "line 5: field 1 has a quote inside",
        "line 6: field 1 goes on after its closing quote",
        "line 7: not valid UTF-8",
        "line 8: the row has a NUL",
    ]) {
        let message = row.as_ref().unwrap_err();
        assert!(message.starts_with(why), "{message}");
    }
    assert_eq!(rows[7], Ok((9, json!({"a": "3", "b": "4"}))));
    let (rows, _) = read(b"a,b\n1,\"open\n2,3\n");
    assert!(
        rows[0].as_ref().unwrap_err().contains("line 2: a quote that opens in this record is never closed")
    );
}

#[test]
fn csv_headers_make_nested_fields() {
    let text = "author.name,poems[0].text,poems[1].text,Nr.,plain name\nIda,one,two,7,x\n";
    let expected = json!({
        "author": {"name": "Ida"}, "poems": [{"text": "one"}, {"text": "two"}], "Nr.": "7", "plain name": "x"
    });
    assert_eq!(records(text.as_bytes()), [(2, expected)]);
}

#[test]
fn damaged_gzip_is_named() {
    let whole = gzip("{\"n\":1}\n".repeat(5_000).as_bytes());
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle..middle + 8].fill(0xff);
    let mut wrong_sum = whole.clone();
    let crc = wrong_sum.len() - 6;
    wrong_sum[crc] ^= 0xff;
    for (bytes, why) in [
        (&whole[..whole.len() / 2], "ends too early"),
        (&whole[..5], "ends too early"),
        (&flipped[..], "gzip data"),
        (&wrong_sum[..], "damaged"),
    ] {
        let (_, error) = collect(SeedReader::open(bytes, limits()));
        let error = error.expect("an error");
        assert!(error.contains(why), "{error}");
    }
    let two_members = [gzip(b"{\"n\":1}\n"), gzip(b"{\"n\":2}\n")].concat();
    assert_eq!(collect(SeedReader::open(two_members.as_slice(), limits())).0.len(), 2);
}

#[test]
fn limits_hold() {
    let small = SeedLimits { max_record_bytes: 40, ..limits() };
    let long = "x".repeat(100);
    let jsonl = format!("{{\"n\":1}}\n{{\"n\":\"{long}\"}}\n{{\"n\":3}}\n");
    let array = format!("[{{\"n\":1}},\n{{\"n\":\"{long}\"}},\n{{\"n\":3}}]");
    let csv = format!("n\n1\n{long}\n3\n");
    for text in [jsonl, array, csv] {
        let (rows, error) = collect(SeedReader::open(text.as_bytes(), small));
        assert_eq!((rows.len(), error), (3, None), "{text}");
        assert!(rows[1].as_ref().unwrap_err().contains("longer than 40 bytes"), "{rows:?}");
    }
    let unclosed = format!("n\n1\n\"{long}\n{long}\n");
    let (_, error) = collect(SeedReader::open(unclosed.as_bytes(), small));
    assert!(error.unwrap().contains("isn't closed within 40 bytes"));
    let bomb = gzip(&vec![b'\n'; 3 << 20]);
    let tight = SeedLimits { max_total_bytes: 1 << 20, ..limits() };
    let (_, error) = collect(SeedReader::open(bomb.as_slice(), tight));
    assert!(error.unwrap().contains("larger than 1048576 bytes uncompressed"));
}

#[test]
fn deep_nesting_is_a_bad_record() {
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let fine = format!("{{\"a\":{}{}}}", "[".repeat(100), "]".repeat(100));
    for text in [format!("{fine}\n{deep}\n{fine}\n"), format!("[{fine},{deep},{fine}]")] {
        let (rows, error) = read(text.as_bytes());
        assert_eq!((rows.len(), error), (3, None));
        assert!(rows[1].as_ref().unwrap_err().contains("nests deeper than 127 levels"), "{:?}", rows[1]);
    }
}

fn paths(paths: &[&str]) -> Vec<FieldPath> {
    paths.iter().map(|path| path.parse().unwrap()).collect()
}

#[test]
fn requirements_are_checked_for_the_whole_file() {
    let mut text = String::from("{\"a\":{\"b\":1}}\n{\"a\":{}}\n{\"a\":{\"b\":null}}\nbroken\n");
    text.push_str(&"{}\n".repeat(30));
    let reader = SeedReader::open(text.as_bytes(), limits()).unwrap();
    let report = validate(reader, &paths(&["a.b"])).unwrap();
    assert_eq!((report.valid, report.invalid, report.bad.len()), (1, 33, MAX_BAD_RECORDS));
    assert_eq!(report.bytes, text.len() as u64);
    let named: Vec<(u64, Option<&str>)> =
        report.bad.iter().take(3).map(|bad| (bad.line, bad.path.as_deref())).collect();
    assert_eq!(named, [(2, Some("a.b")), (3, Some("a.b")), (4, None)]);
    assert!(report.bad[0].message.contains("missing") && report.bad[1].message.contains("null"));
}

#[test]
fn records_are_read_back_by_number() {
    let rows: Vec<Value> = (0..200).map(|n| json!({"n": n, "text": "é".repeat(n % 7), "x": null})).collect();
    let mut text = serde_json::to_string_pretty(&rows).unwrap();
    text.insert_str(1, "{\"bad\": true},");
    let reader = SeedReader::open(text.as_bytes(), limits()).unwrap();
    let mut copy = Vec::new();
    let (report, index) = normalise(reader, &paths(&["n"]), &mut copy).unwrap();
    assert_eq!((report.valid, report.invalid, index.len()), (200, 1, 200));
    assert_eq!(index.bytes(), copy.len() as u64);
    let index = SeedIndex::from_bytes(&index.to_bytes()).unwrap();
    let slice = |range: std::ops::Range<u64>| {
        &copy[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()]
    };
    for (number, row) in (0u64..).zip(&rows) {
        let bytes = slice(index.range(number).unwrap());
        assert_eq!(serde_json::from_slice::<Value>(bytes).unwrap(), *row);
        assert_eq!(SeedIndex::read(number, bytes).unwrap().number(), number);
    }
    assert_eq!(index.range(200), None);
    let span = slice(index.span(63..66).unwrap());
    assert_eq!(span.iter().filter(|b| **b == b'\n').count(), 3);
    assert_eq!((index.span(5..5), index.span(199..201)), (None, None));
    assert!(matches!(SeedIndex::read(0, b"{\"n\""), Err(IndexError::Record { number: 0, .. })));
}

#[test]
fn more_records_than_an_index_may_have_are_refused() {
    let tight = SeedLimits { max_records: 3, ..limits() };
    let read = |text: &str| {
        let reader = SeedReader::open(text.as_bytes(), tight).unwrap();
        validate(reader, &[]).map(|report| report.valid + report.invalid).map_err(|error| error.to_string())
    };
    assert_eq!(read("{\"n\":1}\nno\n{\"n\":3}\n"), Ok(3));
    let refused = read("{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n{\"n\":4}\n").unwrap_err();
    assert!(refused.contains("more than 3 records"), "{refused}");
    let mut index = SeedIndex::default();
    (0..100).for_each(|_| index.push(8).unwrap());
    assert_eq!(SeedIndex::stored_size(100), index.to_bytes().len() as u64);
}

#[test]
fn a_damaged_index_is_refused() {
    let mut index = SeedIndex::default();
    index.push(10).unwrap();
    let bytes = index.to_bytes();
    assert_eq!(SeedIndex::from_bytes(b"something else"), Err(IndexError::Magic));
    for cut in 8..bytes.len() {
        assert_eq!(SeedIndex::from_bytes(&bytes[..cut]), Err(IndexError::Damaged));
    }
}

#[test]
fn a_failing_source_is_not_a_broken_file() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the network went away"))
        }
    }
    let reader = SeedReader::open(b"{\"n\":1}\n".chain(Failing), limits());
    let error = reader.and_then(|reader| validate(reader, &[])).unwrap_err();
    assert!(matches!(error, SeedError::Io(_)), "{error}");
}

/// A stream that is never whole in memory: far more bytes than the limit of a record pass through it.
#[test]
fn a_long_file_is_streamed() {
    struct Endless {
        left: u64,
        line: &'static [u8],
        at: usize,
    }
    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            if self.left == 0 {
                return Ok(0);
            }
            let rest = &self.line[self.at..];
            let n = rest.len().min(buffer.len());
            buffer[..n].copy_from_slice(&rest[..n]);
            self.at = (self.at + n) % self.line.len();
            self.left -= u64::from(self.at == 0);
            Ok(n)
        }
    }
    let source = Endless { left: 50_000, line: b"{\"word\":\"seed\"}\n", at: 0 };
    let small = SeedLimits { max_record_bytes: 64, ..limits() };
    let report = validate(SeedReader::open(source, small).unwrap(), &paths(&["word"])).unwrap();
    assert_eq!((report.valid, report.bytes), (50_000, 50_000 * 16));
}

proptest! {
    #[test]
    fn readers_never_panic_and_end(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        read_to_end(&bytes);
    }

    #[test]
    fn readers_never_panic_on_what_looks_like_seed_data(
        text in "(\\{|\\}|\\[|\\]|\"|,|:|\n|\r|;|\t|a|a\\.b|\\[0\\]|1|null|\\\\|\\\\u0000| |é|\u{0}){0,60}"
    ) {
        read_to_end(text.as_bytes());
    }

    #[test]
    fn a_compressed_file_that_was_cut_or_changed_is_read_or_told(
        text in "(\\{\"a\":1\\}\n|a,b\n1,2\n|x){0,30}", cut: proptest::sample::Index, at: proptest::sample::Index, with: u8
    ) {
        let mut bytes = gzip(text.as_bytes());
        let changed = at.index(bytes.len());
        bytes[changed] = with;
        let kept = cut.index(bytes.len()) + 1;
        for bytes in [&bytes[..], &bytes[..kept]] {
            if let Ok(reader) = SeedReader::open(bytes, SeedLimits { max_record_bytes: 50, max_total_bytes: 300, ..limits() }) {
                prop_assert!(reader.count() < 400);
            }
        }
    }

    #[test]
    fn what_is_written_as_csv_is_read_back(rows in proptest::collection::vec(("[^\0]{1,12}", "[^\0]{0,12}"), 1..8)) {
        let mut writer = ::csv::Writer::from_writer(Vec::new());
        writer.write_record(["one", "two"]).unwrap();
        for (one, two) in &rows {
            writer.write_record([one, two]).unwrap();
        }
        let bytes = writer.into_inner().unwrap();
        let values: Vec<Value> = records(&bytes).into_iter().map(|(_, record)| record).collect();
        let field = |text: &str| if text.is_empty() { Value::Null } else { json!(text) };
        let expected: Vec<Value> =
            rows.iter().map(|(one, two)| json!({"one": field(one), "two": field(two)})).collect();
        prop_assert_eq!(values, expected);
    }
}

fn read_to_end(bytes: &[u8]) {
    if let Ok(reader) =
        SeedReader::open(bytes, SeedLimits { max_record_bytes: 50, max_total_bytes: 300, ..limits() })
    {
        assert!(reader.count() <= bytes.len() + 1);
    }
}
