//! A whole workload in a hundred lines of code: counts the words of an uploaded text. `docs/your-own-workload.md` walks through it.
//!
//! It knows the engine and the store's reads, and no door.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use windrow_core::{FieldError, JobError, OwnerId, UploadId};
use windrow_engine::{
    JobContext, JobRecord, NewArtifact, Outcome, Output, PrepareError, Prepared, RunError, SubmitContext,
    Workload,
};
use windrow_store::{Conn, Db, StoreError, uploads};

/// What a user submits: which upload to read, and how many bytes at a time.
#[derive(Debug, Deserialize)]
struct Spec {
    upload: UploadId,
    slice_bytes: Option<u64>,
}

/// What `load` finds in the database for `run`, which has none.
#[derive(Debug, Serialize, Deserialize)]
struct Input {
    key: String,
    size: u64,
}

/// What a checkpoint saves: everything before `offset` is counted.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Counted {
    offset: u64,
    words: BTreeMap<String, u64>,
}

/// The workload.
#[derive(Clone, Copy, Debug, Default)]
pub struct WordCount;

#[async_trait]
impl Workload for WordCount {
    fn name(&self) -> &'static str {
        "word-count"
    }

    fn spec_schema(&self) -> Value {
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object", "required": ["upload"], "additionalProperties": false,
            "properties": {
                "upload": {"type": "string", "format": "uuid"},
                "slice_bytes": {"type": "integer", "minimum": 16, "maximum": 1 << 24},
            },
        })
    }

    async fn prepare(
        &self,
        db: &Db,
        submit: &SubmitContext<'_>,
        spec: Value,
    ) -> Result<Prepared, PrepareError> {
        let fault = |message: String| PrepareError::Invalid(vec![FieldError::new("/upload", message)]);
        let Spec { upload, .. } = Spec::deserialize(&spec).map_err(|error| fault(error.to_string()))?;
        match find(&mut db.read().await?, submit.owner, upload).await? {
            Some(_) => Ok(spec.into()),
            None => Err(fault("you have no stored upload of this id: put its bytes and complete it".into())),
        }
    }

    async fn load(&self, conn: &mut Conn, job: &JobRecord) -> Result<Value, JobError> {
        let spec = Spec::deserialize(&*job.spec).map_err(|error| JobError::permanent("bad_spec", error))?;
        let input = find(conn, job.owner, spec.upload).await;
        let input = input.map_err(|error| JobError::transient("store_failed", error))?;
        let gone = || JobError::user("upload_gone", "the upload was deleted; upload it again");
        Ok(json!(input.ok_or_else(gone)?))
    }

    async fn run(&self, ctx: JobContext, input: Value) -> Result<Outcome, RunError> {
        let slice_bytes = ctx.spec::<Spec>()?.slice_bytes.unwrap_or(1 << 20);
        let input = Input::deserialize(&input).map_err(|error| JobError::permanent("bad_input", error))?;
        let mut counted: Counted = ctx.state()?.unwrap_or_default();
        while counted.offset < input.size {
            let end = input.size.min(counted.offset + slice_bytes);
            let slice = ctx.get_bytes(&input.key, Some(counted.offset..end), 1 << 24).await?;
            let problem =
                || format!("no blank in {slice_bytes} bytes from byte {}: is it a text?", counted.offset);
            let whole = whole_words(&slice, end == input.size);
            let whole = whole.ok_or_else(|| JobError::user("no_words", problem()))?;
            for word in String::from_utf8_lossy(whole).split_whitespace() {
                *counted.words.entry(word.to_lowercase()).or_default() += 1;
            }
            counted.offset += whole.len() as u64;
            ctx.checkpoint(&counted, Vec::new(), Vec::new()).await?;
            ctx.progress("counting", counted.offset, Some(input.size)).await;
            ctx.check_stop()?;
        }
        let total: u64 = counted.words.values().sum();
        let document = json!({"total": total, "words": counted.words}).to_string();
        let object = ctx.put("outputs", "words.json", "application/json", document.into()).await?;
        let (kind, filename) = ("json".to_owned(), "words.json".to_owned());
        let artifact = NewArtifact { kind, filename, content_type: "application/json".to_owned(), object };
        let result = json!({"total": total, "distinct": counted.words.len()});
        Ok(Outcome::Done(Output { result, artifacts: vec![artifact] }))
    }
}

async fn find(conn: &mut Conn, owner: OwnerId, upload: UploadId) -> Result<Option<Input>, StoreError> {
    let found = uploads::stored(conn, owner, upload).await?;
    Ok(found.map(|upload| Input { key: upload.object_key, size: upload.size }))
}

/// The slice up to its last blank, so that no word is cut in two; the whole of the last one. None without a blank.
fn whole_words(slice: &[u8], last: bool) -> Option<&[u8]> {
    let blank = slice.iter().rposition(u8::is_ascii_whitespace).map(|blank| &slice[..=blank]);
    if last { Some(slice) } else { blank }
}
