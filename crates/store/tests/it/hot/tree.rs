//! Parents and children.

use std::time::Duration;

use windrow_core::{Clock, JobError, JobSeq, JobStatus, RunNo, RunOutcome};
use windrow_store::fetch_all;
use windrow_store::hot::{self, Added, CancelAnswer, End, EndRun, Reopened, RunRef};
use windrow_test_support::on_both;

use super::{Bench, done, ended, transient};

on_both! {
    async fn a_parent_waits_for_its_children_and_sees_them(test) {
        let mut bench = Bench::new(&test).await;
        let parent = bench.one(1).await;
        let run = bench.claim(1).await.remove(0);
        assert_eq!(bench.add(run.at, &["a", "b"]).await, Added::Added(2));
        assert_eq!(bench.add(run.at, &["b", "c"]).await, Added::Added(1));
        assert_eq!(ended(&bench.end(run.at, End::Await).await), (RunOutcome::Awaited, JobStatus::Waiting));
        let children = bench.claim(9).await;
        assert_eq!(children.iter().map(|c| c.child_key.clone().unwrap()).collect::<Vec<_>>(), ["a", "b", "c"]);
        for child in &children[..2] {
            bench.end(child.at, done()).await;
        }
        assert_eq!(bench.status(parent).await, JobStatus::Waiting);
        bench.end(children[2].at, End::BudgetExceeded { output: None, error: JobError::budget("no room") }).await;
        assert_eq!(bench.status(parent).await, JobStatus::Queued, "it has partial output to assemble");
        let again = bench.claim(9).await.remove(0);
        assert_eq!((again.at, again.attempts), (RunRef { job: parent, run: RunNo(2) }, 0));
        let mut conn = bench.db.read().await.unwrap();
        let page = hot::children_page(&mut conn, parent, JobSeq(0), 2).await.unwrap();
        assert_eq!(page.iter().map(|c| (c.child_key.as_str(), c.status)).collect::<Vec<_>>(), [("a", JobStatus::Completed), ("b", JobStatus::Completed)]);
        let page = hot::children_page(&mut conn, parent, page[1].seq, 2).await.unwrap();
        assert_eq!((page[0].status, page[0].error_code.as_deref()), (JobStatus::BudgetExceeded, Some("budget_exceeded")));
        drop(conn);
        assert_eq!(bench.add(again.at, &["a", "b", "c"]).await, Added::Added(0));
        assert_eq!(ended(&bench.end(again.at, End::Await).await), (RunOutcome::Awaited, JobStatus::Queued), "all have ended already");
        let last = bench.claim(9).await.remove(0);
        bench.end(last.at, done()).await;
        assert_eq!(bench.count("SELECT count(*) FROM parents").await, 0);
    }

    async fn a_parent_is_woken_at_once_though_the_clock_went_back_since_it_waits(test) {
        let mut bench = Bench::new(&test).await;
        let parent = bench.one(1).await;
        let run = bench.claim(1).await.remove(0);
        bench.add(run.at, &["a"]).await;
        let mut tx = bench.db.begin().await.unwrap();
        let an_hour_on = bench.now().plus(Duration::from_secs(3600));
        hot::end_runs(&mut tx, &[EndRun { at: run.at, end: End::Await }], an_hour_on).await.unwrap();
        tx.commit().await.unwrap();
        let child = bench.claim(9).await.remove(0);
        bench.end(child.at, done()).await;
        let woken = bench.claim(9).await;
        assert_eq!(woken.iter().map(|run| run.at.job).collect::<Vec<_>>(), [parent]);
    }

    async fn a_dead_child_stops_its_siblings_and_fails_its_parent_and_a_retry_takes_both_back(test) {
        let mut bench = Bench::new(&test).await;
        let parent = bench.one(1).await;
        let run = bench.claim(1).await.remove(0);
        bench.add(run.at, &["a", "b", "c"]).await;
        bench.end(run.at, End::Await).await;
        let running = bench.claim(2).await;
        bench.end(running[0].at, End::Fail { error: JobError::permanent("bad", "no"), dead_letter: false }).await;
        bench.stop_all().await;
        assert_eq!(bench.status(parent).await, JobStatus::Waiting, "one is in flight");
        let at = bench.now();
        assert_eq!(ended(&bench.end(running[1].at, End::Retry { at, error: transient() }).await), (RunOutcome::Cancelled, JobStatus::Cancelled));
        assert_eq!(bench.status(parent).await, JobStatus::Failed);
        let reopen = async |bench: &Bench, job| {
            let mut tx = bench.db.begin().await.unwrap();
            let answer = hot::reopen(&mut tx, job, None, bench.clock.now()).await.unwrap();
            tx.commit().await.unwrap();
            answer
        };
        assert_eq!(reopen(&bench, running[0].at.job).await, Reopened::Child);
        assert_eq!(reopen(&bench, parent).await, Reopened::Reopened { children: 3 });
        assert_eq!(reopen(&bench, parent).await, Reopened::NotEnded(JobStatus::Queued));
        let again = bench.claim(9).await;
        assert_eq!(again.len(), 4);
        let root = again.iter().find(|c| c.at.job == parent).unwrap();
        assert_eq!((root.at.run, root.attempts), (RunNo(3), 0), "run 2 was the end without a run");
        assert_eq!(bench.add(root.at, &["a", "b", "c"]).await, Added::Added(0));
        bench.end(root.at, End::Await).await;
        for child in again.iter().filter(|c| c.at.job != parent) {
            bench.end(child.at, done()).await;
        }
        assert_eq!(bench.status(parent).await, JobStatus::Queued);
        let last = bench.claim(9).await.remove(0);
        assert_eq!(ended(&bench.end(last.at, done()).await).1, JobStatus::Completed);
        assert_eq!(reopen(&bench, parent).await, Reopened::NotEnded(JobStatus::Completed));
    }

    async fn a_parent_fails_by_what_failed_since_its_retry(test) {
        let mut bench = Bench::new(&test).await;
        let parent = bench.one(1).await;
        let run = bench.claim(1).await.remove(0);
        bench.add(run.at, &["a", "b"]).await;
        bench.end(run.at, End::Await).await;
        let children = bench.claim(2).await;
        let fail = |code: &'static str| End::Fail { error: JobError::permanent(code, "no"), dead_letter: false };
        bench.end(children[0].at, fail("early")).await;
        bench.end(children[1].at, fail("earlier")).await;
        let message = async |bench: &Bench| {
            let mut conn = bench.db.read().await.unwrap();
            let sql = "SELECT error FROM runs WHERE job_seq = $1 ORDER BY run DESC LIMIT 1";
            fetch_all!(&mut conn, scalar String, sql, parent).unwrap().remove(0)
        };
        assert!(message(&bench).await.contains("early: no"));
        let mut tx = bench.db.begin().await.unwrap();
        hot::reopen(&mut tx, parent, None, bench.now()).await.unwrap();
        tx.commit().await.unwrap();
        let again = bench.claim(9).await;
        let (root, children): (Vec<_>, Vec<_>) = again.into_iter().partition(|c| c.at.job == parent);
        bench.end(root[0].at, End::Await).await;
        bench.end(children[0].at, done()).await;
        bench.end(children[1].at, fail("late")).await;
        let message = message(&bench).await;
        assert!(message.contains("late: no") && !message.contains("early"), "{message}");
    }

    async fn a_cancel_takes_the_whole_tree(test) {
        let mut bench = Bench::new(&test).await;
        let root = bench.one(1).await;
        let run = bench.claim(1).await.remove(0);
        bench.add(run.at, &["a", "b"]).await;
        bench.end(run.at, End::Await).await;
        let child = bench.claim(1).await.remove(0);
        bench.add(child.at, &["aa", "ab"]).await;
        bench.end(child.at, End::Await).await;
        let grandchild = bench.claim(9).await.into_iter().find(|c| c.parent == Some(child.at.job)).unwrap();
        assert_eq!(bench.cancel(root).await, CancelAnswer::Asked);
        bench.stop_all().await;
        let mut conn = bench.db.read().await.unwrap();
        assert_eq!(hot::poll_cancelled(&mut conn, &[grandchild.at.job]).await.unwrap(), [grandchild.at.job]);
        let running = fetch_all!(&mut conn, (i64, i64), "SELECT job_seq, run FROM running").unwrap();
        drop(conn);
        for (job, run) in running {
            bench.end(RunRef { job: JobSeq(job), run: RunNo(run) }, End::Cancel).await;
        }
        assert_eq!(bench.count("SELECT count(*) FROM job_status WHERE status <> 'cancelled'").await, 0);
        assert_eq!(bench.count("SELECT count(*) FROM parents").await, 0);
    }

    async fn a_parent_that_ends_without_waiting_stops_its_children(test) {
        let mut bench = Bench::new(&test).await;
        let root = bench.one(1).await;
        let run = bench.claim(1).await.remove(0);
        bench.add(run.at, &["a", "b"]).await;
        let child = bench.claim(1).await.remove(0);
        bench.end(run.at, done()).await;
        assert_eq!(bench.status(root).await, JobStatus::Completed);
        bench.stop_all().await;
        let mut tx = bench.db.begin().await.unwrap();
        assert_eq!(hot::reopen(&mut tx, root, None, bench.clock.now()).await.unwrap(), Reopened::NotEnded(JobStatus::Completed));
        drop(tx);
        assert_eq!(ended(&bench.end(child.at, End::Release).await).1, JobStatus::Cancelled);
        assert_eq!(bench.count("SELECT count(*) FROM parents").await, 0);
        assert_eq!(bench.count("SELECT count(*) FROM ready").await, 0);
    }
}
