//! Looking at jobs.

use windrow_api_types::{ArtifactGroup, Job, JobListQuery, Page, PageQuery, Run};
use windrow_core::{JobId, JobSeq, OwnerId};
use windrow_store::artifacts::{self, Resource};
use windrow_store::jobs::{self, Head, JobFilter, JobRow};
use windrow_store::{Conn, ledger, runs};

use super::view;
use crate::{Actor, App, AppError, cursor};

impl App {
    pub async fn list_jobs(&self, actor: &Actor, query: &JobListQuery) -> Result<Page<Job>, AppError> {
        actor.may_read()?;
        let before = cursor::decode(query.cursor.as_deref())?.map(JobSeq);
        let statuses = query.status.clone().unwrap_or_default().0;
        let filter = JobFilter {
            statuses: &statuses,
            workload: query.workload.as_deref(),
            since: query.since,
            until: query.until,
            children: query.children,
        };
        let rows =
            jobs::list(&mut self.read().await?, actor.owner(), &filter, before, query.size() + 1).await?;
        self.job_page(rows, query.size())
    }

    pub async fn show_job(&self, actor: &Actor, id: JobId) -> Result<Job, AppError> {
        actor.may_read()?;
        self.job_body(actor.owner(), id).await
    }

    /// The children of a job, in the order of their making.
    pub async fn job_children(
        &self,
        actor: &Actor,
        id: JobId,
        query: &PageQuery,
    ) -> Result<Page<Job>, AppError> {
        actor.may_read()?;
        let after = cursor::decode(query.cursor.as_deref())?.map(JobSeq);
        let mut conn = self.read().await?;
        let head = own_head(&mut conn, actor.owner(), id).await?;
        let rows = jobs::children(&mut conn, actor.owner(), head.seq, after, query.size() + 1).await?;
        self.job_page(rows, query.size())
    }

    pub async fn job_runs(&self, actor: &Actor, id: JobId) -> Result<Vec<Run>, AppError> {
        actor.may_read()?;
        let mut conn = self.read().await?;
        let head = own_head(&mut conn, actor.owner(), id).await?;
        Ok(runs::list(&mut conn, head.seq).await?.into_iter().map(view::run).collect())
    }

    /// Of each kind of a job tree's artifacts the latest version and the five before it.
    pub async fn job_artifacts(&self, actor: &Actor, id: JobId) -> Result<Vec<ArtifactGroup>, AppError> {
        actor.may_read()?;
        let mut conn = self.read().await?;
        let head = own_head(&mut conn, actor.owner(), id).await?;
        let root = jobs::root(&mut conn, head.seq).await?;
        let rows = artifacts::shown(&mut conn, actor.owner(), &Resource::job(root)).await?;
        Ok(crate::artifacts::groups(rows))
    }

    pub(crate) async fn job_body(&self, owner: OwnerId, id: JobId) -> Result<Job, AppError> {
        let mut conn = self.read().await?;
        let row = jobs::get(&mut conn, owner, id).await?.ok_or_else(|| AppError::not_found("job", id))?;
        let sums = ledger::sums_of_tree(&mut conn, row.seq).await?;
        view::job(self, row, Some(&sums))
    }

    fn job_page(&self, rows: Vec<JobRow>, size: u32) -> Result<Page<Job>, AppError> {
        let Page { items, next_cursor } =
            cursor::page(rows, size, |row| row.seq, |row| view::job(self, row, None));
        Ok(Page { items: items.into_iter().collect::<Result<_, _>>()?, next_cursor })
    }
}

/// # Errors
/// [`AppError::NotFound`] for a job of somebody else's too.
pub(crate) async fn own_head(conn: &mut Conn, owner: OwnerId, id: JobId) -> Result<Head, AppError> {
    jobs::head(conn, owner, id).await?.ok_or_else(|| AppError::not_found("job", id))
}
