//! The records of a job that are on disk, while it still runs.

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use windrow_blob::{BlobError, BlobStore, ObjectKey};
use windrow_core::{JobId, JobSeq, OwnerId};
use windrow_store::{Conn, Db, StoreError, jobs};

use crate::record::PartHeader;
use crate::store::parts::{self, PartRow};
use crate::workload::NAME;

/// How many parts are looked up at once: no connection is held while bytes are sent.
const PAGE: u32 = 100;

/// Why records can't be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    #[error("no such job")]
    NotFound,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A part that isn't what its writer wrote.
    #[error("the part {key} is damaged: {problem}")]
    Damaged { key: String, problem: String },
}

/// The caller's own dataset job.
///
/// # Errors
/// [`RecordsError::NotFound`] for a shard, another workload's job, and somebody else's.
pub async fn find(conn: &mut Conn, owner: OwnerId, job: JobId) -> Result<JobSeq, RecordsError> {
    let head = jobs::head(conn, owner, job).await?;
    let head = head.filter(|head| head.workload == NAME && head.parent_seq.is_none());
    head.map(|head| head.seq).ok_or(RecordsError::NotFound)
}

/// The checkpointed records of a job as JSONL, in the order of their indices; gaps where a shard is not so far yet, and
/// where records were rejected. Memory holds one part.
pub fn stream(db: Db, blob: BlobStore, job: JobSeq) -> BoxStream<'static, Result<Bytes, RecordsError>> {
    let cursor = Cursor { db, blob, job, after: None, page: Vec::new().into_iter(), last: false };
    stream::try_unfold(cursor, |mut cursor| async move {
        loop {
            let Some(part) = cursor.next().await? else { return Ok(None) };
            let records = read(&cursor.blob, &part).await?;
            if !records.is_empty() {
                return Ok(Some((records, cursor)));
            }
        }
    })
    .boxed()
}

struct Cursor {
    db: Db,
    blob: BlobStore,
    job: JobSeq,
    after: Option<i64>,
    page: std::vec::IntoIter<PartRow>,
    /// Nothing comes after `page`.
    last: bool,
}

impl Cursor {
    async fn next(&mut self) -> Result<Option<PartRow>, RecordsError> {
        if let Some(part) = self.page.next() {
            self.after = Some(part.first);
            return Ok(Some(part));
        }
        if self.last {
            return Ok(None);
        }
        let mut conn = self.db.read().await?;
        let page = parts::page(&mut conn, self.job, self.after, PAGE).await?;
        self.last = page.len() < PAGE as usize;
        self.page = page.into_iter();
        let part = self.page.next();
        self.after = part.as_ref().map(|part| part.first);
        Ok(part)
    }
}

/// The dataset's lines of a part: one range of bytes behind its header.
async fn read(blob: &BlobStore, part: &PartRow) -> Result<Bytes, RecordsError> {
    let damaged = |problem: String| RecordsError::Damaged { key: part.key.clone(), problem };
    let key: ObjectKey = part.key.parse().map_err(|error| damaged(format!("{error}")))?;
    let bytes = blob.get(&key).await?;
    let end = memchr::memchr(b'\n', &bytes).ok_or_else(|| damaged("it has no header".to_owned()))?;
    let header: PartHeader = serde_json::from_slice(&bytes[..end]).map_err(|e| damaged(e.to_string()))?;
    let length = usize::try_from(header.records_bytes).map_err(|e| damaged(e.to_string()))?;
    let records = end + 1..end + 1 + length;
    if records.end > bytes.len() {
        return Err(damaged(format!("it has {} bytes, and its records end at {}", bytes.len(), records.end)));
    }
    Ok(bytes.slice(records))
}
