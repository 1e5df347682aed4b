//! Many submits at once, answered item by item.

use std::collections::HashMap;

use serde_json::Value;
use windrow_api_types::{BatchItem, BatchReply, BatchRequest, Problem, SubmitJob};
use windrow_core::{FieldError, JobId};
use windrow_store::hot::{NewJob, Submitted};
use windrow_store::jobs;

use super::{canonical, validate};
use crate::{Actor, App, AppError};

/// Jobs of one transaction: large enough to share a commit, small enough not to hold up the others.
const CHUNK: usize = 1000;

/// What became of an item so far.
enum Item {
    Refused(AppError),
    Known { id: JobId, same: bool },
    New(usize),
}

/// An item that could be read.
struct Read {
    request: SubmitJob,
    idempotency: Option<(String, [u8; 32])>,
}

impl App {
    /// Submits each item as [`App::submit_job`] would; a bad one fails alone. When the database fails in the middle, what it took is
    /// told as accepted and the rest as to be tried again: who repeated the whole batch would have jobs without a key twice.
    ///
    /// # Errors
    /// [`AppError::BatchTooLarge`]; what the database says when it took nothing.
    pub async fn submit_batch(&self, actor: &Actor, batch: BatchRequest) -> Result<BatchReply, AppError> {
        actor.may_write()?;
        let max = self.parts.settings.batch_max;
        if batch.jobs.len() > max {
            return Err(AppError::BatchTooLarge { items: batch.jobs.len(), max });
        }
        let read: Vec<Result<Read, AppError>> = batch.jobs.into_iter().map(read).collect();
        let used = self.used_keys(actor, &read).await?;
        let (items, new) = self.sort_items(actor, read, &used).await?;
        let mut submitted = Vec::with_capacity(new.len());
        let mut new = new.into_iter().peekable();
        let mut failed = None;
        while new.peek().is_some() {
            match self.parts.store.submit(new.by_ref().take(CHUNK).collect()).await {
                Ok(chunk) => submitted.extend(chunk),
                Err(error) if submitted.is_empty() => return Err(error.into()),
                Err(error) => {
                    failed = Some(bare_problem(actor, &AppError::from(error)));
                    break;
                }
            }
        }
        Ok(reply(actor, items, &submitted, failed.as_ref()))
    }

    async fn used_keys(
        &self,
        actor: &Actor,
        read: &[Result<Read, AppError>],
    ) -> Result<HashMap<String, (JobId, Vec<u8>)>, AppError> {
        let keys: Vec<&str> = read
            .iter()
            .filter_map(|item| item.as_ref().ok()?.idempotency.as_ref())
            .map(|(key, _)| key.as_str())
            .collect();
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        let used = jobs::of_keys(&mut self.read().await?, actor.owner(), &keys).await?;
        Ok(used.into_iter().map(|used| (used.key, (used.id, used.request_hash))).collect())
    }

    /// Replays, refusals, and the jobs that are to be made.
    async fn sort_items(
        &self,
        actor: &Actor,
        read: Vec<Result<Read, AppError>>,
        used: &HashMap<String, (JobId, Vec<u8>)>,
    ) -> Result<(Vec<Item>, Vec<NewJob>), AppError> {
        let (mut items, mut new) = (Vec::with_capacity(read.len()), Vec::new());
        for item in read {
            let item = match item {
                Err(error) => Item::Refused(error),
                Ok(Read { request, idempotency }) => {
                    let known = idempotency.as_ref().and_then(|(key, hash)| Some((used.get(key)?, hash)));
                    if let Some(((id, of), hash)) = known {
                        Item::Known { id: *id, same: of == hash }
                    } else if let Err(error) = validate::check(self, &request) {
                        Item::Refused(error)
                    } else {
                        match self.prepare(actor, request, idempotency).await {
                            Ok(prepared) => {
                                new.push(prepared.new);
                                Item::New(new.len() - 1)
                            }
                            Err(error) if error.status() < 500 => Item::Refused(error),
                            // the database is gone: that is no fault of this item
                            Err(error) => return Err(error),
                        }
                    }
                }
            };
            items.push(item);
        }
        Ok((items, new))
    }
}

fn read(item: Value) -> Result<Read, AppError> {
    let request: SubmitJob = serde_json::from_value(item).map_err(|error| AppError::invalid("", error))?;
    let idempotency = request.idempotency_key.clone().map(|key| (key, canonical::request_hash(&request)));
    Ok(Read { request, idempotency })
}

/// `failed` is what those that no answer came for are told.
fn reply(actor: &Actor, items: Vec<Item>, submitted: &[Submitted], failed: Option<&Problem>) -> BatchReply {
    let mut reply = BatchReply { accepted: 0, reused: 0, refused: 0, items: Vec::with_capacity(items.len()) };
    for (place, item) in items.into_iter().enumerate() {
        let answered = match item {
            Item::Refused(error) => Err(problem(actor, place, error)),
            Item::Known { id, same } => known(id, same).map_err(|error| problem(actor, place, error)),
            Item::New(at) => match (submitted.get(at), failed) {
                (Some(Submitted::Created { id, .. }), _) => Ok((*id, false)),
                (Some(Submitted::Reused { id, .. }), _) => Ok((*id, true)),
                (Some(Submitted::Conflict { id, .. }), _) => {
                    Err(problem(actor, place, AppError::IdempotencyConflict { job: *id }))
                }
                (None, Some(failed)) => Err(failed.clone()),
                (None, None) => unreachable!("a submit answers each of its items"),
            },
        };
        match answered {
            Ok((id, reused)) => {
                *(if reused { &mut reply.reused } else { &mut reply.accepted }) += 1;
                let status = if reused { 200 } else { 202 };
                reply.items.push(BatchItem { status, id: Some(id), reused, problem: None });
            }
            Err(problem) => {
                reply.refused += 1;
                let status = problem.status;
                reply.items.push(BatchItem { status, id: None, reused: false, problem: Some(problem) });
            }
        }
    }
    reply
}

fn known(id: JobId, same: bool) -> Result<(JobId, bool), AppError> {
    if same { Ok((id, true)) } else { Err(AppError::IdempotencyConflict { job: id }) }
}

fn bare_problem(actor: &Actor, error: &AppError) -> Problem {
    Problem::new(error.status(), error.code(), error.to_string())
        .with_request_id(actor.request_id.clone().unwrap_or_default())
}

/// Pointers lead from the batch's own root.
fn problem(actor: &Actor, place: usize, error: AppError) -> Problem {
    let problem = bare_problem(actor, &error);
    let errors = error.into_field_errors();
    problem.with_errors(
        errors
            .into_iter()
            .map(|fault| FieldError { pointer: format!("/jobs/{place}{}", fault.pointer), ..fault })
            .collect(),
    )
}
