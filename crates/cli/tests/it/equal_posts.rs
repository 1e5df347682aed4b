//! The same submit fifty times at once, by clients that do not know of each other: one job.

use std::sync::Barrier;

use serde_json::{Value, json};
use windrow_test_support::TestDb;

use crate::harness::{Api, Windrow, example};

const POSTS: usize = 50;

fn with_a_remote_workload(windrow: Windrow) -> Windrow {
    for name in ["windrow.toml", "shout.schema.json"] {
        windrow.file(name, std::fs::read(example("remote-worker").join(name)).unwrap());
    }
    windrow
}

/// Each post goes to the next of the doors.
fn make_one_job(doors: &[Api]) {
    let job = json!({ "workload": "shout", "spec": { "text": "once" } });
    let together = Barrier::new(POSTS);
    let answers: Vec<(u16, bool, Value)> = std::thread::scope(|scope| {
        let posts: Vec<_> = (0..POSTS)
            .map(|nth| {
                let (api, job, together) = (&doors[nth % doors.len()], &job, &together);
                scope.spawn(move || {
                    let post =
                        api.request("POST", "/v1/jobs").header("idempotency-key", "the same").json(job);
                    together.wait();
                    let answer = api.send(post);
                    let replayed =
                        answer.headers.get("idempotency-replayed").is_some_and(|said| said == "true");
                    (answer.status, replayed, answer.json())
                })
            })
            .collect();
        posts.into_iter().map(|post| post.join().unwrap()).collect()
    });
    let first = answers.iter().filter(|(status, replayed, body)| {
        assert_eq!(*replayed, body["reused"] == true, "{body}");
        assert_eq!(*status, if *replayed { 200 } else { 202 }, "{body}");
        assert_eq!(body["id"], answers[0].2["id"]);
        !replayed
    });
    assert_eq!(first.count(), 1, "one of them made the job");
    let listed = doors[0].get("/v1/jobs?limit=200").expect(200).json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{listed}");
}

mod fifty_equal_posts_at_once_make_one_job {
    use super::*;

    #[test]
    fn sqlite() {
        let windrow = with_a_remote_workload(Windrow::new());
        let server = windrow.up();
        make_one_job(&[server.api(&windrow.token("alice", "contributor"))]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn postgres() {
        let db = TestDb::postgres().await;
        let url = db.url().to_owned();
        tokio::task::spawn_blocking(move || {
            let windrow = Windrow::new().with_env("DATABASE_URL", url).with_env("WINDROW_DATA_DIR", "data");
            let windrow = with_a_remote_workload(windrow);
            windrow.run(&["db", "migrate"]).ok();
            let doors = [(); 2].map(|()| windrow.start(&["api", "--port", "0", "--json"]));
            let token = windrow.run(&["token", "create", "--sub", "alice", "--role", "contributor"]).ok();
            make_one_job(&doors.each_ref().map(|door| door.api(token.stdout.trim())));
        })
        .await
        .unwrap();
    }
}
