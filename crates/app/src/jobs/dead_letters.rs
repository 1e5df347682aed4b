//! Dead letters: looking, retrying, discarding. One's own; and everybody's, by operations for admins, which are audited.

use windrow_api_types::{
    DeadLetter, DeadLetterDecision, DeadLetterFilter, DeadLetterQuery, DeadLettersChanged, Decision, Job,
    Page,
};
use windrow_core::{JobId, JobSeq, OwnerId};
use windrow_store::dead_letters::{self, DeadLetterFilter as Filter};
use windrow_store::hot;
use windrow_store::jobs::{self, Head};

use super::view;
use crate::{Actor, App, AppError, Authority, cursor};

/// How many are retried or discarded between two looks.
const PAGE: u32 = 100;

/// What is decided about a dead letter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeadLetterAct {
    /// It is put in line again.
    Retry,
    /// It is not worth another try.
    Discard,
}

impl DeadLetterAct {
    const fn name(self) -> &'static str {
        match self {
            Self::Retry => "dead_letter.retry",
            Self::Discard => "dead_letter.discard",
        }
    }
}

impl App {
    /// The actor's own.
    pub async fn list_dead_letters(
        &self,
        actor: &Actor,
        query: &DeadLetterQuery,
    ) -> Result<Page<DeadLetter>, AppError> {
        actor.may_read()?;
        self.letters(Some(actor.owner()), query).await
    }

    /// Everybody's, for admins.
    pub async fn list_all_dead_letters(
        &self,
        actor: &Actor,
        query: &DeadLetterQuery,
    ) -> Result<Page<DeadLetter>, AppError> {
        actor.may_administer()?;
        self.letters(None, query).await
    }

    /// Decides about one of the actor's dead letters.
    ///
    /// # Errors
    /// [`AppError::JobState`] when it is none (any more).
    pub async fn decide_dead_letter(
        &self,
        actor: &Actor,
        id: JobId,
        act: DeadLetterAct,
    ) -> Result<Job, AppError> {
        actor.may_write()?;
        let head = jobs::head(&mut self.read().await?, actor.owner(), id).await?;
        self.one(head, id, act, None).await
    }

    /// Decides about anybody's dead letter; audited.
    ///
    /// # Errors
    /// As [`App::decide_dead_letter`].
    pub async fn decide_anybodys_dead_letter(
        &self,
        actor: &Actor,
        id: JobId,
        act: DeadLetterAct,
        decision: &Decision,
    ) -> Result<Job, AppError> {
        let by = Audited::new(actor, &decision.reason)?;
        let head = jobs::head_of_anybody(&mut self.read().await?, id).await?;
        self.one(head, id, act, Some(by)).await
    }

    /// Decides about all of the actor's that fit.
    pub async fn decide_dead_letters(
        &self,
        actor: &Actor,
        filter: &DeadLetterFilter,
        act: DeadLetterAct,
    ) -> Result<DeadLettersChanged, AppError> {
        actor.may_write()?;
        self.all(Some(actor.owner()), filter, act, None).await
    }

    /// Decides about all of everybody's that fit; each is audited.
    pub async fn decide_everybodys_dead_letters(
        &self,
        actor: &Actor,
        decision: &DeadLetterDecision,
        act: DeadLetterAct,
    ) -> Result<DeadLettersChanged, AppError> {
        let by = Audited::new(actor, &decision.reason)?;
        self.all(None, &decision.filter, act, Some(by)).await
    }

    async fn letters(
        &self,
        owner: Option<OwnerId>,
        query: &DeadLetterQuery,
    ) -> Result<Page<DeadLetter>, AppError> {
        let before = cursor::decode(query.cursor.as_deref())?.map(JobSeq);
        let workload = query.workload.as_deref();
        let filter = Filter { owner, workload, since: query.since, until: query.until };
        let size = query.size();
        let rows = dead_letters::list(&mut self.read().await?, &filter, before, size + 1).await?;
        Ok(cursor::page(rows, size, |row| row.seq, letter))
    }

    async fn one(
        &self,
        head: Option<Head>,
        id: JobId,
        act: DeadLetterAct,
        by: Option<Audited<'_>>,
    ) -> Result<Job, AppError> {
        let head = head.ok_or_else(|| AppError::not_found("dead letter", id))?;
        if !self.decide(&head, act, by).await? {
            return Err(AppError::JobState("the job is no dead letter that waits for a person".to_owned()));
        }
        self.job_body(head.owner_id, id).await
    }

    async fn all(
        &self,
        owner: Option<OwnerId>,
        filter: &DeadLetterFilter,
        act: DeadLetterAct,
        by: Option<Audited<'_>>,
    ) -> Result<DeadLettersChanged, AppError> {
        let workload = filter.workload.as_deref();
        let filter = Filter { owner, workload, since: filter.since, until: filter.until };
        let (mut changed, mut before) = (0, None);
        loop {
            let rows = dead_letters::list(&mut self.read().await?, &filter, before, PAGE).await?;
            let Some(last) = rows.last() else { return Ok(DeadLettersChanged { changed }) };
            before = Some(last.seq);
            for row in &rows {
                let head = jobs::head(&mut self.read().await?, row.owner_id, row.id).await?;
                if let Some(head) = head
                    && self.decide(&head, act, by).await?
                {
                    changed += 1;
                }
            }
        }
    }

    /// False when it is no dead letter (any more): somebody else was faster.
    async fn decide(
        &self,
        head: &Head,
        act: DeadLetterAct,
        by: Option<Audited<'_>>,
    ) -> Result<bool, AppError> {
        let target = || format!("job:{}", head.id);
        let line = by.map(|by| self.audit_line(Authority::Actor(by.actor), act.name(), target(), by.reason));
        let (job, now) = (head.seq, self.now());
        self.write(move |tx| {
            let line = line.clone();
            Box::pin(async move {
                if !dead_letters::waits(tx, job).await? {
                    return Ok(false);
                }
                let done = match act {
                    DeadLetterAct::Retry => {
                        let reopened = hot::reopen(tx, job, None, now).await?;
                        matches!(reopened, hot::Reopened::Reopened { .. })
                    }
                    DeadLetterAct::Discard => hot::discard(tx, job, now).await?,
                };
                match line {
                    Some(line) if done => line.write(tx).await.map(|()| done),
                    _ => Ok(done),
                }
            })
        })
        .await
    }
}

/// An admin who acts on others' rows, and why.
#[derive(Clone, Copy)]
struct Audited<'a> {
    actor: &'a Actor,
    reason: &'a str,
}

impl<'a> Audited<'a> {
    fn new(actor: &'a Actor, reason: &'a str) -> Result<Self, AppError> {
        actor.may_administer()?;
        crate::audit::check_reason(reason)?;
        Ok(Self { actor, reason })
    }
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
