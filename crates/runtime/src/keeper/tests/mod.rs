//! The duties, turn by turn on a clock that stands still, on both databases.

mod queue;
mod reconcile;
mod rescue;
mod sweep;

use std::sync::Arc;
use std::time::Duration;

use windrow_core::{Clock as _, JobId, JobSeq, JobStatus, OwnerId, Timestamp, WorkerId};
use windrow_engine::Workload;
use windrow_store::hot::{Caps, ClaimRequest, Claimed, End, EndRun, Ended, NewJob, Submitted, WorkerKind};
use windrow_store::{Store, jobs};
use windrow_test_support::app::TestAppOptions;
use windrow_test_support::{TestApp, TestDb};

use super::chore::{Chore, Next};
use super::{KeeperParts, KeeperSettings};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// An installation that nobody keeps in order but the test.
struct Kept {
    app: TestApp,
    owner: OwnerId,
    parts: KeeperParts,
}

impl Kept {
    async fn new(db: TestDb) -> Self {
        Self::with(db, Vec::new()).await
    }

    async fn with(db: TestDb, workloads: Vec<Arc<dyn Workload>>) -> Self {
        let options = TestAppOptions { workloads, ..TestAppOptions::default() };
        let app = TestApp::start_with(db, options).await;
        let owner = app.actor("ada").await.owner();
        let parts = KeeperParts {
            store: app.app.parts.store.clone(),
            blob: app.blob.clone(),
            salt: app.app.parts.salt,
            clock: app.clock.clone(),
            registry: app.app.parts.workloads.clone(),
            deliver: None,
            settings: KeeperSettings { judge_beats: Some(true), ..KeeperSettings::default() },
        };
        Self { app, owner, parts }
    }

    fn store(&self) -> &Store {
        &self.parts.store
    }

    fn now(&self) -> Timestamp {
        self.app.clock.now()
    }

    fn advance(&self, by: Duration) {
        self.app.clock.advance(by);
    }

    fn job(&self, workload: &str) -> NewJob {
        NewJob::plain(JobId::new(&*self.app.clock), self.owner, workload, self.now())
    }

    async fn submit(&self, job: NewJob) -> JobSeq {
        match self.store().submit(vec![job]).await.unwrap()[..] {
            [Submitted::Created { seq, .. }] => seq,
            ref other => panic!("{other:?}"),
        }
    }

    async fn worker(&self, kind: WorkerKind) -> WorkerId {
        self.store().register_worker("w".to_owned(), kind).await.unwrap()
    }

    async fn claim(&self, worker: WorkerId, slots: usize) -> Vec<Claimed> {
        self.claim_as(worker, slots, false).await
    }

    async fn claim_as(&self, worker: WorkerId, slots: usize, leased: bool) -> Vec<Claimed> {
        let workloads = self.parts.registry.names().map(str::to_owned).collect();
        let request = ClaimRequest { worker, workloads, slots, caps: Caps::default(), leased };
        self.store().claim(request).await.unwrap()
    }

    /// The one run that there is to claim.
    async fn claim_one(&self) -> Claimed {
        let worker = self.worker(WorkerKind::Process).await;
        let mut claimed = self.claim(worker, 2).await;
        assert_eq!(claimed.len(), 1, "one job is in line");
        claimed.remove(0)
    }

    async fn end(&self, run: &Claimed, end: End) -> Ended {
        let mut ended = self.store().end_runs(vec![EndRun { at: run.at, end }]).await.unwrap();
        ended.remove(0)
    }

    /// Submits a job and ends its first run.
    async fn ended(&self, workload: &str, end: End) -> Claimed {
        self.submit(self.job(workload)).await;
        let run = self.claim_one().await;
        assert!(matches!(self.end(&run, end).await, Ended::Ended(_)));
        run
    }

    async fn status(&self, job: JobId) -> Option<JobStatus> {
        let mut conn = self.store().read().await.unwrap();
        jobs::head_of_anybody(&mut conn, job).await.unwrap().map(|head| head.status)
    }
}

/// One turn that must not fail.
async fn turn(chore: &mut impl Chore) -> Next {
    chore.turn().await.unwrap()
}

/// Asks again until it is so. The limit is only for a test that fails.
async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let asked = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let answer = tokio::time::timeout(Duration::from_secs(30), asked).await;
    assert!(answer.is_ok(), "{what}, even after half a minute");
}
