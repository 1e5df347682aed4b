//! Dead letters by command: each is decided as the command says.

use serde_json::json;

use crate::harness::{Api, Ran, Server, Windrow, example};

/// A job whose run fails for good, which is no user's fault.
fn dead_letter(api: &Api, worker: &Api) -> String {
    let job = json!({ "workload": "shout", "spec": { "text": "x" } });
    let job = api.post("/v1/jobs", &job).expect(202).json()["id"].as_str().unwrap().to_owned();
    let claim = json!({ "workloads": ["shout"], "slots": 1, "wait_ms": 20_000 });
    let claimed = worker.post("/v1/worker/claim", &claim).expect(200).json();
    let lease = &claimed["leases"][0];
    assert_eq!(lease["job"], json!(job), "{claimed}");
    let error = json!({ "class": "permanent", "code": "broken", "message": "it is broken" });
    let fail = format!("/v1/worker/leases/{job}.{}/fail", lease["run"]);
    worker.post(&fail, &json!({ "error": error })).expect(200);
    job
}

pub fn with_a_remote_workload() -> (Windrow, Server, Api, Api) {
    let windrow = Windrow::new();
    for name in ["windrow.toml", "shout.schema.json"] {
        windrow.file(name, std::fs::read(example("remote-worker").join(name)).unwrap());
    }
    let server = windrow.up();
    let api = server.api(&windrow.token("alice", "contributor"));
    let admin = server.api(&windrow.token("root", "admin"));
    let key = json!({ "name": "w", "scopes": ["worker:shout"] });
    let key = admin.post("/v1/keys", &key).expect(201).json()["secret"].as_str().unwrap().to_owned();
    let worker = server.api(&key);
    (windrow, server, api, worker)
}

#[test]
fn dead_letters_are_listed_retried_and_discarded() {
    let (windrow, _server, api, worker) = with_a_remote_workload();
    let run = |args: &[&str]| -> Ran {
        let common = ["--data-dir", "data", "--token", &api.token, "--json"];
        windrow.run(&[&["dead-letters"], args, &common].concat())
    };
    let first = dead_letter(&api, &worker);
    let listed = run(&["list"]).ok().stdout;
    assert!(listed.contains(&first) && listed.contains("it is broken"), "{listed}");

    let discarded = run(&["discard", &first]).ok().stdout;
    assert!(discarded.contains(&first), "{discarded}");
    assert!(!run(&["list"]).ok().stdout.contains(&first));

    dead_letter(&api, &worker);
    let aimless = run(&["purge"]);
    assert_eq!(aimless.code, 2, "{}", aimless.stderr);
    let purged = run(&["purge", "--workload", "shout"]).ok().stdout;
    assert!(purged.contains("\"changed\": 1") || purged.contains("\"changed\":1"), "{purged}");

    let third = dead_letter(&api, &worker);
    run(&["retry", &third]).ok();
    assert_eq!(api.get(&format!("/v1/jobs/{third}")).expect(200).json()["status"], "queued");
}

#[test]
fn an_admin_decides_on_others_dead_letters_by_saying_so_and_why() {
    let (windrow, server, alice, worker) = with_a_remote_workload();
    let admin = server.api(&windrow.token("root", "admin"));
    let run = |token: &str, args: &[&str]| -> Ran {
        windrow.run(&[&["dead-letters"], args, &["--data-dir", "data", "--token", token, "--json"]].concat())
    };
    let (first, second) = (dead_letter(&alice, &worker), dead_letter(&alice, &worker));
    assert!(!run(&admin.token, &["list"]).ok().stdout.contains(&first), "one's own");
    run(&admin.token, &["discard", &first]).refused(1, &["no dead letter"]);
    let everybodys = run(&admin.token, &["list", "--everybody"]).ok().stdout;
    assert!(everybodys.contains(&first) && everybodys.contains(&second), "{everybodys}");
    run(&alice.token, &["list", "--everybody"]).refused(1, &["admin"]);

    run(&admin.token, &["discard", &first, "--everybody"]).refused(2, &["--reason"]);
    run(&admin.token, &["discard", &first, "--everybody", "--reason", "of no use"]).ok();
    let retried = run(&admin.token, &["retry", "--all", "--everybody", "--reason", "it is mended"]).ok();
    assert_eq!(retried.json()["changed"], 1);
    assert_eq!(alice.get(&format!("/v1/jobs/{second}")).expect(200).json()["status"], "queued");
    let audit = admin.get("/v1/audit?actor=root").expect(200).json();
    let reasons: Vec<&str> =
        audit["items"].as_array().unwrap().iter().map(|line| line["reason"].as_str().unwrap()).collect();
    assert!(reasons.contains(&"of no use") && reasons.contains(&"it is mended"), "{audit}");
}
