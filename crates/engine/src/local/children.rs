//! The children of jobs that are run.

use windrow_api_types::worker::{Child, NewChild, RunRef, SCHEMA_VERSION};
use windrow_core::{JobId, JobSeq};
use windrow_store::held;
use windrow_store::hot::{self, Added};

use super::{LocalEngine, at, json, known_version, page_limit};
use crate::{EngineError, MAX_CHILDREN_A_CALL};

impl LocalEngine {
    pub(super) async fn make_children(
        &self,
        run: RunRef,
        children: Vec<NewChild>,
    ) -> Result<(), EngineError> {
        if children.len() > MAX_CHILDREN_A_CALL {
            let problem =
                format!("{} children in one call; the most is {MAX_CHILDREN_A_CALL}", children.len());
            return Err(EngineError::Invalid(problem));
        }
        let served = self.served(run).await?;
        let clock = &self.inner.parts.clock;
        let rows = children.into_iter().map(|child| {
            self.workload(&child.workload)?;
            Ok(hot::NewChild {
                id: JobId::new(&**clock),
                key: child.key,
                workload: child.workload,
                spec: child.spec.to_string(),
                spec_version: i64::from(SCHEMA_VERSION),
                priority: None,
            })
        });
        let rows = rows.collect::<Result<Vec<_>, EngineError>>()?;
        match self.store().add_children(at(run, &served), rows).await? {
            Added::Stale => Err(EngineError::Stale),
            // Stopping: the run ends as its tree does; its own stop order is on its way.
            Added::Stopping | Added::Added(_) => Ok(()),
        }
    }

    pub(super) async fn list_children(
        &self,
        run: RunRef,
        after: Option<JobId>,
        limit: usize,
    ) -> Result<Vec<Child>, EngineError> {
        let served = self.served(run).await?;
        let mut conn = self.store().read().await?;
        let after = match after {
            None => JobSeq(0),
            Some(id) => held::served_job(&mut conn, id)
                .await?
                .filter(|job| job.parent_seq == Some(served.record.seq))
                .map(|job| job.seq)
                .ok_or_else(|| EngineError::Invalid(format!("{id} is no child of this job")))?,
        };
        let rows = hot::children_page(&mut conn, served.record.seq, after, page_limit(limit)).await?;
        rows.into_iter().map(child).collect()
    }
}

fn child(row: hot::Child) -> Result<Child, EngineError> {
    let of = |what: &str, version: Option<i64>| {
        version.map_or(Ok(()), |version| known_version(&format!("{what} of the child {}", row.id), version))
    };
    of("result", row.output_version)?;
    of("checkpoint", row.checkpoint_version)?;
    let value = |text: Option<String>| text.map(|text| json("results", row.seq, &text)).transpose();
    Ok(Child {
        id: row.id,
        key: row.child_key,
        status: row.status,
        result: value(row.output)?,
        state: value(row.checkpoint)?,
        error_code: row.error_code,
        cost: row.cost,
    })
}
