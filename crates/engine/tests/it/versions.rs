//! What another version of the program wrote fails the job by a permanent error; nothing is guessed.

use serde_json::json;
use windrow_core::{JobError, JobId, JobStatus};
use windrow_engine::testing::{Bench, Scripted};
use windrow_engine::{Checkpoint, EngineError, NewChild, Output, RunEnd};
use windrow_test_support::on_both;

use crate::support::{bench, write};

async fn assert_unknown(bench: &Bench, id: JobId, what: &str) {
    assert!(bench.claim().await.is_empty());
    let job = bench.job(id).await;
    assert_eq!((job.status, job.code.as_deref()), (JobStatus::Failed, Some("unknown_schema_version")));
    let error = job.error.unwrap();
    assert!(error.contains(what) && error.contains("is 2"), "{error}");
}

on_both! {
    async fn of_a_spec_and_of_a_checkpoint(db) {
        let (bench, _dir) = bench(&db).await;
        let id = bench.submit(json!({}), None).await;
        write(&bench, "UPDATE jobs SET spec_version = 2").await;
        assert_unknown(&bench, id, "spec").await;
        let id = bench.submit(json!({}), None).await;
        let run = bench.claim_one().await.run;
        bench.engine.checkpoint(run, Checkpoint { state: json!(1), ..Checkpoint::default() }).await.unwrap();
        bench.engine.end(run, RunEnd::Released).await.unwrap();
        write(&bench, "UPDATE checkpoints SET schema_version = 2").await;
        assert_unknown(&bench, id, "checkpoint").await;
    }

    async fn of_what_a_child_left(db) {
        let (bench, _dir) = bench(&db).await;
        bench.submit(json!({}), None).await;
        let parent = bench.claim_one().await.run;
        let child = NewChild { key: "a".to_owned(), workload: Scripted::NAME.to_owned(), spec: json!({}) };
        bench.engine.add_children(parent, vec![child]).await.unwrap();
        let run = bench.claim_one().await.run;
        bench.engine.checkpoint(run, Checkpoint { state: json!(1), ..Checkpoint::default() }).await.unwrap();
        let output = Output { result: json!(1), artifacts: vec![] };
        bench.engine.end(run, RunEnd::Done { output }).await.unwrap();
        assert_eq!(bench.engine.children(parent, None, 9).await.unwrap().len(), 1);
        for (what, newer, known) in [
            ("result", "UPDATE results SET schema_version = 2", "UPDATE results SET schema_version = 1"),
            ("checkpoint", "UPDATE checkpoints SET schema_version = 2", "UPDATE checkpoints SET schema_version = 1"),
        ] {
            write(&bench, newer).await;
            let refused = bench.engine.children(parent, None, 9).await.unwrap_err();
            let EngineError::Job(JobError { code, message, .. }) = refused else { panic!("{refused}") };
            assert!(code == "unknown_schema_version" && message.contains(what), "{code}: {message}");
            write(&bench, known).await;
        }
    }
}
