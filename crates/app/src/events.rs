//! A job's history, as a list and as a stream.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::Stream;
use serde_json::{Value, json};
use windrow_api_types::{Event, SCHEMA_VERSION};
use windrow_core::{JobId, OwnerId, Timestamp};
use windrow_store::history::{self, Line, Mark, Place, What};
use windrow_store::jobs::{self, JobRow};
use windrow_store::{Conn, StoreError};

use crate::jobs::view::trace_id;
use crate::watch::Watcher;
use crate::{Actor, App, AppError};

/// The most events of one read; a stream reads on.
const PAGE: u32 = 1000;

impl App {
    /// The lines of a job's history after `after`, an event's id.
    ///
    /// # Errors
    /// [`AppError::NotFound`], [`AppError::BadEventId`].
    pub async fn job_events(
        &self,
        actor: &Actor,
        id: JobId,
        after: Option<&str>,
    ) -> Result<Vec<Event>, AppError> {
        actor.may_read()?;
        let place = place(after)?;
        let mut conn = self.read().await?;
        let row = own_row(&mut conn, actor.owner(), id).await?;
        let lines = history::after(&mut conn, row.seq, place, PAGE).await?;
        lines.into_iter().map(|line| event(&row, line)).collect()
    }

    /// The same, and then what happens, as it happens, with progress in between; ends when the job has ended and all of
    /// it is told.
    ///
    /// # Errors
    /// As [`App::job_events`]; the stream ends after an error.
    pub async fn watch_job(
        &self,
        actor: &Actor,
        id: JobId,
        after: Option<&str>,
    ) -> Result<impl Stream<Item = Result<Event, AppError>> + Send + use<>, AppError> {
        actor.may_read()?;
        let place = place(after)?;
        let row = own_row(&mut self.read().await?, actor.owner(), id).await?;
        let watch = Watch {
            app: self.clone(),
            owner: actor.owner(),
            id,
            place,
            progress: None,
            ready: VecDeque::new(),
            over: false,
            watcher: self.watchers.watch(row.seq),
            first: true,
            read: None,
        };
        Ok(futures::stream::try_unfold(watch, |mut watch| async move {
            let next = watch.next().await?;
            Ok(next.map(|event| (event, watch)))
        }))
    }
}

/// One reader of one job.
struct Watch {
    app: App,
    owner: OwnerId,
    id: JobId,
    place: Place,
    /// What was told last.
    progress: Option<(Timestamp, u64)>,
    ready: VecDeque<Event>,
    over: bool,
    watcher: Watcher,
    first: bool,
    /// The job as it was read last, and what its history had come to before that.
    read: Option<(JobRow, Arc<Mark>)>,
}

impl Watch {
    async fn next(&mut self) -> Result<Option<Event>, AppError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if self.over {
                return Ok(None);
            }
            if std::mem::take(&mut self.first) {
                self.read().await?;
                continue;
            }
            let mark = self.watcher.changed().await;
            if self.has_progressed(&mark)? {
                continue;
            }
            let row = self.read().await?;
            self.read = Some((row, mark));
        }
    }

    /// Tells of progress from the mark that all watchers of the job share, when there is nothing else to tell: so a job that a
    /// thousand watch is not read a thousand times whenever it gets on.
    fn has_progressed(&mut self, mark: &Arc<Mark>) -> Result<bool, AppError> {
        let Some((row, before)) = &mut self.read else { return Ok(false) };
        // the row may have been read after the mark
        let is_newer = mark.progress_at >= row.progress_at;
        if row.running_run != mark.running || !is_newer || !mark.only_progressed_since(before) {
            return Ok(false);
        }
        (row.progress_at, row.done, row.total) = (mark.progress_at, mark.progress_done, mark.progress_total);
        row.stage.clone_from(&mark.progress_stage);
        *before = Arc::clone(mark);
        let event = progress(&mut self.progress, row)?;
        self.ready.extend(event);
        Ok(true)
    }

    async fn read(&mut self) -> Result<JobRow, AppError> {
        let mut conn = self.app.read().await?;
        // the status first: what ended after this look wakes the watcher again
        let row = own_row(&mut conn, self.owner, self.id).await?;
        let lines = history::after(&mut conn, row.seq, self.place, PAGE).await?;
        let more = u32::try_from(lines.len()).is_ok_and(|lines| lines >= PAGE);
        for line in lines {
            self.place = line.place;
            self.ready.push_back(event(&row, line)?);
        }
        // a full page is read on at once; progress would overtake what is still to be told
        self.first = more;
        if more {
            return Ok(row);
        }
        if row.status.is_final() {
            self.over = true;
        } else {
            self.ready.extend(progress(&mut self.progress, &row)?);
        }
        Ok(row)
    }
}

/// How far the job is, unless that was `told` last.
fn progress(told: &mut Option<(Timestamp, u64)>, row: &JobRow) -> Result<Option<Event>, AppError> {
    let Some(now) = row.progress_at.zip(row.done) else { return Ok(None) };
    if told.replace(now) == Some(now) {
        return Ok(None);
    }
    let payload = json!({"run": row.running_run, "stage": row.stage, "done": row.done, "total": row.total});
    Ok(Some(body(row, None, "progress", now.0, payload, SCHEMA_VERSION, trace_id(row)?)))
}

async fn own_row(conn: &mut Conn, owner: OwnerId, id: JobId) -> Result<JobRow, AppError> {
    jobs::get(conn, owner, id).await?.ok_or_else(|| AppError::not_found("job", id))
}

fn place(after: Option<&str>) -> Result<Place, AppError> {
    let Some(text) = after else { return Ok(Place::START) };
    text.parse().map_err(|error: history::ParsePlaceError| AppError::BadEventId(error.to_string()))
}

fn event(row: &JobRow, line: Line) -> Result<Event, AppError> {
    let Line { place, at, what } = line;
    let of_job = trace_id(row)?;
    let derived = |kind, payload| body(row, Some(place), kind, at, payload, SCHEMA_VERSION, of_job);
    Ok(match what {
        What::Submitted => derived("submitted", json!({"workload": row.workload, "priority": row.priority})),
        What::Started { run, worker } => derived("started", json!({"run": run, "worker": worker})),
        What::Ended(end) => {
            let mut payload = json!({"run": end.run, "outcome": end.outcome});
            if let Some(at) = end.retry_at {
                payload["retry_at"] = json!(at);
            }
            if let Some(class) = end.class {
                payload["error"] = json!({"class": class, "code": end.code, "message": end.error});
            }
            derived("ended", payload)
        }
        What::Event { kind, payload, schema_version, trace_id, .. } => {
            let broken = |error| AppError::internal(StoreError::invariant("events", "payload", place, error));
            let payload: Value = serde_json::from_str(&payload).map_err(broken)?;
            body(row, Some(place), &kind, at, payload, schema_version, trace_id)
        }
    })
}

fn body(
    row: &JobRow,
    place: Option<Place>,
    kind: &str,
    at: Timestamp,
    payload: Value,
    schema_version: u32,
    trace_id: Option<String>,
) -> Event {
    Event {
        schema_version,
        id: place.map(|place| place.to_string()),
        job_id: row.id,
        owner: row.owner_id,
        trace_id,
        kind: kind.to_owned(),
        at,
        payload,
    }
}
