//! Forgetting runs whose end this process did not see: another process wrote it, or a rescuer did.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use windrow_store::hot;

use super::LocalEngine;

/// Fewer runs than this are not worth a look.
const SWEEP_FROM: usize = 1024;

impl LocalEngine {
    /// Forgets what this worker does not hold any more, once twice as many runs are remembered as were held at the last look; what
    /// they have used is written down. The caller is the only one who is claiming.
    pub(super) async fn forget_ended(&self) {
        let runs = &self.inner.runs;
        if runs.handed_out().len() < runs.sweep_at.load(Ordering::Relaxed).max(SWEEP_FROM) {
            return;
        }
        let held: HashSet<hot::RunRef> = match self.store().held(self.worker()).await {
            Ok(held) => held.into_iter().collect(),
            Err(error) => return tracing::debug!(%error, "runs that have ended are forgotten later"),
        };
        let left = {
            let mut handed_out = runs.handed_out();
            handed_out.retain(|at, _| held.contains(at));
            handed_out.len()
        };
        runs.sweep_at.store(2 * left, Ordering::Relaxed);
        let used: Vec<hot::RunRef> = runs.used().keys().filter(|at| !held.contains(at)).copied().collect();
        for at in used {
            if let Err(error) = self.write_use(at).await {
                tracing::debug!(job = at.job.0, run = at.run.0, %error, "what a run has used is written later");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use windrow_api_types::worker::ClaimRequest;
    use windrow_core::JobId;
    use windrow_store::hot::{End, EndRun, NewJob};
    use windrow_test_support::TestDb;

    use super::*;
    use crate::testing::{Bench, Scripted};
    use crate::{Engine as _, LocalSettings};

    #[tokio::test]
    async fn runs_that_others_ended_are_forgotten() {
        let (db, dir) = (TestDb::sqlite().await, tempfile::tempdir().unwrap());
        let bench = Bench::local(db.url(), dir.path(), Scripted::echo(), LocalSettings::default()).await;
        let submit = async |count: usize| {
            let job = |_| NewJob::plain(JobId::new(&*bench.clock), bench.owner, Scripted::NAME, bench.now());
            bench.store.submit((0..count).map(job).collect()).await.unwrap();
        };
        let claim = async || {
            let request = ClaimRequest { slots: 5000, ..ClaimRequest::default() };
            bench.back.claim(&request).await.unwrap().len()
        };
        submit(SWEEP_FROM).await;
        assert_eq!(claim().await, SWEEP_FROM);
        let held = bench.store.held(bench.back.worker()).await.unwrap();
        let (kept, ended) = held.split_first().unwrap();
        let ends = ended.iter().map(|at| EndRun { at: *at, end: End::Complete(None) });
        bench.store.end_runs(ends.collect()).await.unwrap();
        assert_eq!(bench.back.inner.runs.handed_out().len(), SWEEP_FROM, "this process has not seen it");
        submit(1).await;
        assert_eq!(claim().await, 1);
        let runs = bench.back.inner.runs.handed_out();
        assert!(runs.len() == 2 && runs.contains_key(kept), "{} are remembered", runs.len());
    }
}
