//! Seed data that a user names: where it is, and what is in it.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::TryStreamExt as _;
use serde::{Deserialize, Serialize};
use tokio_util::io::{StreamReader, SyncIoBridge};
use windrow_blob::{BlobError, BlobStore, ObjectKey};
use windrow_core::{FieldError, OwnerId, UploadStatus};
use windrow_store::{Conn, StoreError, uploads};

use crate::samples;
use crate::seed::{
    BadRecord, FieldPath, MAX_BAD_RECORDS, SeedError, SeedLimits, SeedReader, SeedReport, unmet,
};
use crate::spec::{OnError, SeedRef};
use crate::use_cases::estimate::SUBMIT_SAMPLE;

/// So much of a seed file is looked at when somebody waits for the answer, in bytes as stored. The run reads all of it.
pub const LOOK_BYTES: u64 = 64 << 20;

/// And no more than so many of its uncompressed bytes: gzip can expand a thousandfold. Text compresses some four times.
pub const LOOK_PLAIN_BYTES: u64 = 256 << 20;

/// Why seed data can't be looked at.
#[derive(Debug, thiserror::Error)]
pub enum SeedsError {
    /// The reference leads nowhere: no such sample or upload, or none that is stored.
    #[error("{0}")]
    NotUsable(String),
    /// The data itself is broken from some point on.
    #[error("the seed data is broken: {0}")]
    Broken(SeedError),
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What looking at seed data found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedLook {
    pub report: SeedReport,
    /// Whether the look ended before the file did; the report is about what came before.
    pub truncated: bool,
}

/// An object with seed data, and which version of it was verified; none where nobody but this installation can put it.
#[derive(Clone, Debug)]
pub struct SeedData {
    pub key: String,
    pub etag: Option<String>,
}

/// The object that a reference means to the caller.
///
/// # Errors
/// [`SeedsError::NotUsable`] says why there is none. Somebody else's upload is as good as none.
pub async fn locate(conn: &mut Conn, owner: OwnerId, seed: &SeedRef) -> Result<SeedData, SeedsError> {
    let id = match seed {
        SeedRef::Sample(name) => {
            let known = || samples::ALL.iter().map(|sample| sample.name).collect::<Vec<_>>().join(", ");
            let sample = |key: &str| SeedData { key: key.to_owned(), etag: None };
            return samples::key(name).map(sample).ok_or_else(|| {
                SeedsError::NotUsable(format!("there is no sample named {name}; there are {}", known()))
            });
        }
        SeedRef::Upload(id) => *id,
        SeedRef::None => {
            return Err(SeedsError::NotUsable("give the id of an upload, or sample:NAME".to_owned()));
        }
    };
    match uploads::get(conn, owner, id).await? {
        None => Err(SeedsError::NotUsable(format!("you have no upload {id}"))),
        Some(upload) if upload.status == UploadStatus::Stored => {
            Ok(SeedData { key: upload.object_key, etag: upload.etag })
        }
        Some(upload) => Err(SeedsError::NotUsable(format!(
            "upload {id} is {}, not stored: put its bytes and complete it",
            upload.status
        ))),
    }
}

/// Validates the beginning of a seed file ([`LOOK_BYTES`], [`LOOK_PLAIN_BYTES`]) against a template's requirements.
pub async fn look(
    blob: &BlobStore,
    seed: &SeedData,
    requirements: Vec<FieldPath>,
) -> Result<SeedLook, SeedsError> {
    read(blob, seed, move |reader| {
        let mut found = Found::new(reader, requirements);
        let truncated = found.walk(|_| true)?;
        Ok(SeedLook { report: found.into_report(), truncated })
    })
    .await
}

/// Whether a job may be submitted with this seed data: some of its valid records, or what keeps it from that. With
/// [`OnError::Skip`] one valid record is enough, and the look ends when it has enough to show. What lies behind the look's end
/// ([`LOOK_BYTES`], [`LOOK_PLAIN_BYTES`]) is left for the run to judge.
pub async fn judge(
    blob: &BlobStore,
    seed: &SeedData,
    requirements: Vec<FieldPath>,
    on_invalid: OnError,
) -> Result<Result<Vec<serde_json::Value>, SeedReport>, SeedsError> {
    read(blob, seed, move |reader| {
        let mut found = Found::new(reader, requirements);
        found.keep = Some(Kept { count: SUBMIT_SAMPLE, stride: 1, records: Vec::new() });
        let enough = SUBMIT_SAMPLE as u64;
        let truncated = found.walk(|report| report.valid < enough || on_invalid == OnError::Fail)?;
        let mut records = found.keep.take().map(|kept| kept.records).unwrap_or_default();
        records.truncate(SUBMIT_SAMPLE);
        let report = found.into_report();
        let refused = match on_invalid {
            OnError::Skip => report.valid == 0 && !truncated,
            OnError::Fail => report.invalid > 0 || report.valid == 0 && !truncated,
        };
        Ok(if refused { Err(report) } else { Ok(records) })
    })
    .await
}

/// Valid records, evenly taken from what a look sees ([`LOOK_BYTES`], [`LOOK_PLAIN_BYTES`]): every second one is dropped whenever there are too many.
/// With `first` only the first ones are read.
pub async fn sample(
    blob: &BlobStore,
    seed: &SeedData,
    requirements: Vec<FieldPath>,
    count: usize,
    first: bool,
) -> Result<(Vec<serde_json::Value>, SeedReport), SeedsError> {
    read(blob, seed, move |reader| sample_of(reader, requirements, count, first)).await
}

/// [`sample`] of a reader.
pub fn sample_of(
    reader: SeedReader<'_>,
    requirements: Vec<FieldPath>,
    count: usize,
    first: bool,
) -> Result<(Vec<serde_json::Value>, SeedReport), SeedError> {
    let mut found = Found::new(reader, requirements);
    found.keep = Some(Kept { count: count.max(1), stride: 1, records: Vec::new() });
    let wanted = count as u64;
    found.walk(|report| !first || report.valid < wanted)?;
    let mut records = found.keep.take().map(|kept| kept.records).unwrap_or_default();
    records.truncate(count);
    Ok((records, found.into_report()))
}

/// Each fault of a report, for a 422 at `pointer`.
pub fn faults(report: &SeedReport, pointer: &str) -> Vec<FieldError> {
    let summary = format!("{} of {} records can't be used", report.invalid, report.valid + report.invalid);
    let summary = match report.valid + report.invalid {
        0 => "there is no record in it".to_owned(),
        _ => summary,
    };
    let each = report.bad.iter().map(|bad| FieldError::new(pointer, bad));
    std::iter::once(FieldError::new(pointer, summary)).chain(each).collect()
}

/// Walks over a seed file and keeps count.
struct Found<'r> {
    reader: SeedReader<'r>,
    requirements: Vec<FieldPath>,
    report: SeedReport,
    keep: Option<Kept>,
}

struct Kept {
    count: usize,
    /// One of so many valid records is kept.
    stride: u64,
    records: Vec<serde_json::Value>,
}

impl Kept {
    fn offer(&mut self, position: u64, record: serde_json::Value) {
        if !position.is_multiple_of(self.stride) {
            return;
        }
        self.records.push(record);
        if self.records.len() >= 2 * self.count {
            let mut even = false;
            self.records.retain(|_| {
                even = !even;
                even
            });
            self.stride *= 2;
        }
    }
}

impl<'r> Found<'r> {
    fn new(reader: SeedReader<'r>, requirements: Vec<FieldPath>) -> Self {
        let report = SeedReport {
            format: reader.format(),
            gzip: reader.is_gzip(),
            valid: 0,
            invalid: 0,
            bad: Vec::new(),
            bytes: 0,
        };
        Self { reader, requirements, report, keep: None }
    }

    /// Goes on as long as `more` says; true when the look's own limit ended it.
    fn walk(&mut self, more: impl Fn(&SeedReport) -> bool) -> Result<bool, SeedError> {
        while more(&self.report) {
            let bad = match self.reader.next() {
                None => return Ok(false),
                Some(Ok(row)) => match unmet(&row.record, &self.requirements) {
                    None => {
                        if let Some(keep) = &mut self.keep {
                            keep.offer(self.report.valid, row.record);
                        }
                        self.report.valid += 1;
                        continue;
                    }
                    Some((path, message)) => {
                        BadRecord { line: row.line, path: Some(path.to_string()), message }
                    }
                },
                Some(Err(SeedError::Record(bad))) => bad,
                Some(Err(SeedError::Io(error))) if is_look_end(&error) => return Ok(true),
                Some(Err(error)) => return Err(error),
            };
            self.report.invalid += 1;
            if self.report.bad.len() < MAX_BAD_RECORDS {
                self.report.bad.push(bad);
            }
        }
        Ok(false)
    }

    fn into_report(self) -> SeedReport {
        SeedReport { bytes: self.reader.bytes_read(), ..self.report }
    }
}

/// Opens an object as seed data on a thread where reading may block.
async fn read<T: Send + 'static>(
    blob: &BlobStore,
    SeedData { key, etag }: &SeedData,
    work: impl FnOnce(SeedReader<'_>) -> Result<T, SeedError> + Send + 'static,
) -> Result<T, SeedsError> {
    let key: ObjectKey = key.parse().map_err(|error| {
        StoreError::invariant("uploads", "object_key", key, format!("it is no object key: {error}"))
    })?;
    let stream = blob.stream(&key, None, etag.as_deref()).await?.stream;
    let source = SyncIoBridge::new(StreamReader::new(stream.map_err(std::io::Error::other)));
    aside(source, work).await.map_err(|error| match error {
        SeedError::Io(error) => {
            SeedsError::Blob(BlobError::Transient { key: key.to_string(), message: error.to_string() })
        }
        broken => SeedsError::Broken(broken),
    })
}

/// Works on a thread where reading may block, for as long as somebody waits for it: a request that is gone ends it.
async fn aside<T: Send + 'static>(
    source: impl Read + Send + 'static,
    work: impl FnOnce(SeedReader<'_>) -> Result<T, SeedError> + Send + 'static,
) -> Result<T, SeedError> {
    let awaited = Awaited::default();
    let gone = Arc::clone(&awaited.gone);
    let work = move || work(open(source, LOOK_BYTES, LOOK_PLAIN_BYTES, gone)?);
    let done = tokio::task::spawn_blocking(work).await;
    drop(awaited);
    done.unwrap_or_else(|error| Err(SeedError::Io(std::io::Error::other(error))))
}

/// Opens what is looked at no further than `stored` bytes as they are stored or about `plain` uncompressed ones, and no longer than
/// until `gone`.
fn open<'a>(
    source: impl Read + Send + 'a,
    stored: u64,
    plain: u64,
    gone: Arc<AtomicBool>,
) -> Result<SeedReader<'a>, SeedError> {
    let limited = std::io::BufReader::with_capacity(1 << 20, Look { source, left: stored });
    let watch = move |read: u64| {
        if gone.load(Ordering::Relaxed) {
            return Err(std::io::Error::other("nobody waits for it any more"));
        }
        if read <= plain { Ok(()) } else { Err(std::io::Error::other(LookEnd)) }
    };
    SeedReader::open_watched(limited, SeedLimits::default(), watch).map_err(|error| match error {
        SeedError::Io(error) if is_look_end(&error) => {
            let message = "there is no record at its beginning, as far as it was looked at; remove what stands before the first";
            SeedError::Broken { line: 1, message: message.to_owned() }
        }
        error => error,
    })
}

/// Says that whoever waits is gone when it is dropped.
#[derive(Default)]
struct Awaited {
    gone: Arc<AtomicBool>,
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
    }
}

/// Ends a read with an error of its own past its limit: what is cut off must not look like a broken file.
struct Look<R> {
    source: R,
    left: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("the look ends here")]
struct LookEnd;

impl<R: Read> Read for Look<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.left == 0 {
            // a file that ends exactly here is whole
            let mut probe = [0];
            return match self.source.read(&mut probe)? {
                0 => Ok(0),
                _ => Err(std::io::Error::other(LookEnd)),
            };
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.source.read(&mut buffer[..most])?;
        self.left -= read as u64;
        Ok(read)
    }
}

fn is_look_end(error: &std::io::Error) -> bool {
    error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<LookEnd>)
}

#[cfg(test)]
mod tests;
