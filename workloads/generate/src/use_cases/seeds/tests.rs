//! Where a look at seed data ends.

use super::*;

fn found(text: &[u8], left: u64, requirements: &[&str]) -> (SeedReport, bool) {
    let reader = SeedReader::open(Look { source: text, left }, SeedLimits::default()).unwrap();
    let mut found = Found::new(reader, requirements.iter().map(|r| r.parse().unwrap()).collect());
    let truncated = found.walk(|_| true).unwrap();
    (found.into_report(), truncated)
}

#[test]
fn a_look_that_ends_early_is_no_broken_file() {
    let text = b"{\"a\": 1}\n{\"a\": 2}\n{\"a\": 3}\n".repeat(10_000);
    let (report, truncated) = found(&text, 100_000, &["a"]);
    assert!(truncated);
    assert!(report.valid > 1_000 && report.invalid == 0, "{report:?}");
    let (report, truncated) = found(&text, text.len() as u64, &["a"]);
    assert!(!truncated);
    assert_eq!((report.valid, report.invalid), (30_000, 0));
}

/// What a look at gzip of `text` finds that ends after `plain` uncompressed bytes.
fn found_in_gzip(text: &[u8], plain: u64) -> Result<(SeedReport, bool), SeedError> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut packed, text).unwrap();
    let packed = packed.finish().unwrap();
    assert!((packed.len() as u64) < plain, "{}", packed.len());
    let mut found = Found::new(open(&*packed, LOOK_BYTES, plain, Arc::default())?, Vec::new());
    let truncated = found.walk(|_| true)?;
    Ok((found.into_report(), truncated))
}

#[test]
fn a_look_ends_in_gzip_that_expands_a_thousandfold() {
    let text = b"{\"a\": 1}\n".repeat(400_000);
    let (report, truncated) = found_in_gzip(&text, 1 << 20).unwrap();
    assert!(truncated);
    assert!(report.gzip && report.invalid == 0 && report.valid > 100_000, "{report:?}");
    assert!(report.bytes < (1 << 20) + (128 << 10), "{report:?}");
    let (report, truncated) = found_in_gzip(&text, text.len() as u64).unwrap();
    assert!(!truncated);
    assert_eq!(report.valid, 400_000);

    let blanks = found_in_gzip(&vec![b'\n'; 4 << 20], 1 << 20).unwrap_err();
    assert!(blanks.to_string().contains("no record at its beginning"), "{blanks}");
}

/// An endless file that says that it is being read, and then waits until it may go on.
struct Endless {
    reads: Arc<std::sync::atomic::AtomicUsize>,
    begun: Option<tokio::sync::oneshot::Sender<()>>,
    go_on: std::sync::mpsc::Receiver<()>,
    /// Dropped with it.
    _end: tokio::sync::oneshot::Sender<()>,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        if let Some(begun) = self.begun.take() {
            begun.send(()).unwrap();
            self.go_on.recv().unwrap();
        }
        let line = b"{\"a\": 1}\n";
        let lines = (buffer.len() / line.len()).min(1_000);
        if lines == 0 {
            buffer.fill(b' ');
            return Ok(buffer.len());
        }
        for room in buffer.chunks_exact_mut(line.len()).take(lines) {
            room.copy_from_slice(line);
        }
        Ok(lines * line.len())
    }
}

#[tokio::test]
async fn a_look_ends_with_the_request_that_asked_for_it() {
    let reads = Arc::default();
    let (begin, begun) = tokio::sync::oneshot::channel();
    let (go_on, wait) = std::sync::mpsc::channel();
    let (end, ended) = tokio::sync::oneshot::channel();
    let source = Endless { reads: Arc::clone(&reads), begun: Some(begin), go_on: wait, _end: end };
    let look = tokio::spawn(aside(source, |reader| Found::new(reader, Vec::new()).walk(|_| true).map(drop)));
    begun.await.unwrap();
    look.abort();
    assert!(look.await.unwrap_err().is_cancelled());
    go_on.send(()).unwrap();
    ended.await.unwrap_err();
    let reads = reads.load(Ordering::Relaxed);
    assert!(reads < 20, "{reads} reads for nobody");
}

#[test]
fn a_sample_is_spread_over_the_file() {
    let lines: String = (0..1_000).map(|i| format!("{{\"i\": {i}}}\n")).collect();
    let sample = |count, first| {
        let reader = SeedReader::open(lines.as_bytes(), SeedLimits::default()).unwrap();
        let (records, _) = sample_of(reader, vec!["i".parse().unwrap()], count, first).unwrap();
        records.iter().map(|r| r["i"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(sample(3, true), [0, 1, 2]);
    let spread = sample(10, false);
    assert_eq!(spread.len(), 10);
    assert!(spread[9] > 500, "{spread:?}");
}
