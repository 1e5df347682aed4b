//! Dead letters: looking, retrying, discarding. Admins see everybody's; what they do to others' is audited.

use windrow_api_types::{DeadLetter, DeadLetterFilter, DeadLetterQuery, DeadLettersChanged, Job, Page};
use windrow_core::{JobId, JobSeq, OwnerId};
use windrow_store::dead_letters::{self, DeadLetterFilter as Filter};
use windrow_store::hot;
use windrow_store::jobs::{self, Head};

use super::view;
use crate::{Actor, App, AppError, Authority, cursor};

/// How many are retried or discarded between two looks.
const PAGE: u32 = 100;
const REASON: &str = "dead letter";

#[derive(Clone, Copy)]
enum Act {
    Retry,
    Discard,
}

impl Act {
    const fn name(self) -> &'static str {
        match self {
            Self::Retry => "dead_letter.retry",
            Self::Discard => "dead_letter.discard",
        }
    }
}

impl App {
    pub async fn list_dead_letters(
        &self,
        actor: &Actor,
        query: &DeadLetterQuery,
    ) -> Result<Page<DeadLetter>, AppError> {
        actor.may_read()?;
        let before = cursor::decode(query.cursor.as_deref())?.map(JobSeq);
        let filter = Filter {
            owner: visible(actor),
            workload: query.workload.as_deref(),
            since: query.since,
            until: query.until,
        };
        let size = query.size();
        let rows = dead_letters::list(&mut self.read().await?, &filter, before, size + 1).await?;
        Ok(cursor::page(rows, size, |row| row.seq, letter))
    }

    /// Puts one dead letter in line again.
    ///
    /// # Errors
    /// [`AppError::JobState`] when it is none (any more).
    pub async fn retry_dead_letter(&self, actor: &Actor, id: JobId) -> Result<Job, AppError> {
        self.one(actor, id, Act::Retry).await
    }

    /// Decides that one dead letter is not worth another try.
    ///
    /// # Errors
    /// As [`App::retry_dead_letter`].
    pub async fn discard_dead_letter(&self, actor: &Actor, id: JobId) -> Result<Job, AppError> {
        self.one(actor, id, Act::Discard).await
    }

    /// Puts all that fit in line again.
    pub async fn retry_dead_letters(
        &self,
        actor: &Actor,
        filter: &DeadLetterFilter,
    ) -> Result<DeadLettersChanged, AppError> {
        self.all(actor, filter, Act::Retry).await
    }

    /// Discards all that fit.
    pub async fn purge_dead_letters(
        &self,
        actor: &Actor,
        filter: &DeadLetterFilter,
    ) -> Result<DeadLettersChanged, AppError> {
        self.all(actor, filter, Act::Discard).await
    }

    async fn one(&self, actor: &Actor, id: JobId, act: Act) -> Result<Job, AppError> {
        actor.may_write()?;
        let mut conn = self.read().await?;
        let head = match visible(actor) {
            Some(owner) => jobs::head(&mut conn, owner, id).await?,
            None => jobs::head_of_anybody(&mut conn, id).await?,
        };
        let head = head.ok_or_else(|| AppError::not_found("dead letter", id))?;
        drop(conn);
        if !self.decide(actor, &head, act).await? {
            return Err(AppError::JobState("the job is no dead letter that waits for a person".to_owned()));
        }
        self.job_body(head.owner_id, id).await
    }

    async fn all(
        &self,
        actor: &Actor,
        filter: &DeadLetterFilter,
        act: Act,
    ) -> Result<DeadLettersChanged, AppError> {
        actor.may_write()?;
        let filter = Filter {
            owner: visible(actor),
            workload: filter.workload.as_deref(),
            since: filter.since,
            until: filter.until,
        };
        let (mut changed, mut before) = (0, None);
        loop {
            let rows = dead_letters::list(&mut self.read().await?, &filter, before, PAGE).await?;
            let Some(last) = rows.last() else { return Ok(DeadLettersChanged { changed }) };
            before = Some(last.seq);
            for row in &rows {
                let head = jobs::head(&mut self.read().await?, row.owner_id, row.id).await?;
                if let Some(head) = head
                    && self.decide(actor, &head, act).await?
                {
                    changed += 1;
                }
            }
        }
    }

    /// False when it is no dead letter (any more): somebody else was faster.
    async fn decide(&self, actor: &Actor, head: &Head, act: Act) -> Result<bool, AppError> {
        let line = self.audit_line(Authority::Actor(actor), act.name(), format!("job:{}", head.id), REASON);
        let (job, of_another, now) = (head.seq, head.owner_id != actor.owner(), self.now());
        self.write(move |tx| {
            let line = line.clone();
            Box::pin(async move {
                if !dead_letters::waits(tx, job).await? {
                    return Ok(false);
                }
                let done = match act {
                    Act::Retry => {
                        let reopened = hot::reopen(tx, job, None, now).await?;
                        matches!(reopened, hot::Reopened::Reopened { .. })
                    }
                    Act::Discard => hot::discard(tx, job, now).await?,
                };
                if done && of_another {
                    line.write(tx).await?;
                }
                Ok(done)
            })
        })
        .await
    }
}

/// Whose dead letters somebody sees: everybody's, if an admin.
fn visible(actor: &Actor) -> Option<OwnerId> {
    if actor.may_administer().is_ok() { None } else { Some(actor.owner()) }
}

fn letter(row: dead_letters::DeadLetter) -> DeadLetter {
    DeadLetter {
        job_id: row.id,
        owner: row.owner_id,
        workload: row.workload,
        runs: row.run.0,
        attempts: row.attempts,
        poison: row.code.as_deref() == Some("poison"),
        error: view::failure(row.class, row.code, row.error, None),
        submitted_at: row.created_at,
        died_at: row.ended_at,
    }
}
