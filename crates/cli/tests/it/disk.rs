//! A disk that takes no more: what was acknowledged is kept, and whoever asks is told why.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Api, Server, Windrow, example, until};
use crate::kills::assert_whole;
use crate::machine::{SmallDisk, ends_by_its_disk};

#[test]
fn a_full_disk_under_the_database_ends_the_server_and_loses_nothing_acknowledged() {
    let mut windrow = Windrow::new();
    for name in ["windrow.toml", "shout.schema.json"] {
        windrow.file(name, std::fs::read(example("remote-worker").join(name)).unwrap());
    }
    let disk = SmallDisk::at(&mut windrow, "data", "8m");
    let mut server = windrow.up();
    let token = windrow.token("alice", "contributor");
    let api = server.api(&token);
    let spec = |nth: usize| json!({ "text": format!("{nth} {}", "x".repeat(100_000)) });
    let mut acknowledged = Vec::new();
    let refused = (0..1_000).find_map(|nth| {
        let job = json!({ "workload": "shout", "spec": spec(nth), "run_at": "2126-01-01T00:00:00Z" });
        // the answer may be cut off by the server's end
        let answer = api.request("POST", "/v1/jobs").json(&job).send();
        let answer = answer.and_then(|answer| Ok((answer.status().as_u16(), answer.bytes()?)));
        match answer {
            Ok((202, body)) => {
                let job: serde_json::Value = serde_json::from_slice(&body).unwrap();
                acknowledged.push((nth, job["id"].as_str().unwrap().to_owned()));
                None
            }
            other => Some(other),
        }
    });
    let refused = refused.expect("the disk was full some time");
    assert!(acknowledged.len() > 10, "only {} jobs fit", acknowledged.len());
    if let Ok((status, body)) = &refused {
        let problem: serde_json::Value = serde_json::from_slice(body).unwrap();
        assert_eq!((*status, &problem["code"]), (503, &json!("database_unavailable")), "{problem}");
        assert!(
            problem["detail"].as_str().unwrap().contains("the disk under the database failed or is full"),
            "{problem}"
        );
    }
    ends_by_its_disk(&mut server);

    disk.resize("64m");
    let server = windrow.up();
    let api = server.api(&token);
    for (nth, job) in &acknowledged {
        let job = api.get(&format!("/v1/jobs/{job}")).expect(200).json();
        assert_eq!((&job["status"], &job["spec"]), (&json!("queued"), &spec(*nth)));
    }
    let listed = api.get("/v1/jobs?limit=200").expect(200).json()["items"].as_array().unwrap().len();
    // the last one may have been committed and not answered
    assert!((acknowledged.len()..=acknowledged.len() + 1).contains(&listed), "{listed}");
}

/// A server, one directory of which is a small disk, and a user's way to it.
fn served_beside(place: &'static str, size: &str) -> (Windrow, SmallDisk, Server, Api) {
    let mut windrow = Windrow::new();
    let disk = SmallDisk::at(&mut windrow, place, size);
    let server = windrow.up();
    let api = server.api(&windrow.token("alice", "contributor"));
    (windrow, disk, server, api)
}

#[test]
fn a_full_disk_under_the_objects_refuses_the_object_and_keeps_the_rest() {
    let (windrow, _disk, server, api) = served_beside("data/objects", "6m");
    let small = b"{\"a\": 1}\n";
    let kept = api.upload("small.jsonl", "application/x-ndjson", small);

    let large = "{\"a\": 1}\n".repeat(1_000_000);
    windrow.file("large.jsonl", &large);
    let wish = json!({ "filename": "l.jsonl", "content_type": "application/x-ndjson", "size": large.len(), "purpose": "seed_data" });
    let created = api.post("/v1/uploads", &wish).expect(201).json();
    let mut put = api.http.put(created["url"].as_str().unwrap()).body(large);
    for (name, value) in created["headers"].as_object().unwrap() {
        put = put.header(name, value.as_str().unwrap());
    }
    let refused = api.send(put).expect(507).json();
    assert_eq!(refused["code"], "storage_full", "{refused}");
    let id = created["id"].as_str().unwrap();
    api.post(&format!("/v1/uploads/{id}/complete"), &json!({})).expect(409);
    let upload = ["upload", "large.jsonl", "--data-dir", "data", "--token", &api.token];
    windrow.run(&upload).refused(1, &["the storage is full"]);

    // nothing is left of it, and all else goes on
    let pending = api.get(&format!("/v1/uploads/{id}")).expect(200).json();
    assert_eq!(pending["status"], "pending", "it may be put again when there is room");
    assert_eq!(reqwest::blocking::get(format!("{}/ready", server.url)).unwrap().status(), 200);
    let template = "template:\n  name: t\n  steps: [{id: x, model: offline, prompt: 'About {{ a }}'}]\n";
    let template = api.post("/v1/templates", &json!({ "document": template })).expect(201).json();
    let spec = json!({ "template": template["id"], "seed": kept, "records": 5 });
    let job = api.post("/v1/jobs", &json!({ "workload": "generate", "spec": spec })).expect(202).json();
    assert_eq!(api.finished(job["id"].as_str().unwrap())["status"], "completed");
}

/// A job whose parts are 10 MB, in four objects, as its dataset is in one; gives its id.
fn large_job(api: &Api) -> String {
    let template = "template:\n  name: t\n  steps: [{id: x, model: offline, max_tokens: 5, prompt: 'About {{ a }}'}]\n  output: {text: '{{ steps.x.output }}', pad: '{{ pad }}'}\n";
    let template = api.post("/v1/templates", &json!({ "document": template })).expect(201).json();
    let seed = json!({ "a": 1, "pad": "x".repeat(50_000) }).to_string();
    let seed = api.upload("a.jsonl", "application/x-ndjson", seed.as_bytes());
    let spec = json!({ "template": template["id"], "seed": seed, "records": 200, "formats": ["jsonl"] });
    let job = api.post("/v1/jobs", &json!({ "workload": "generate", "spec": spec })).expect(202).json();
    job["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_job_whose_scratch_files_find_no_room_is_tried_again_and_ends_whole_when_there_is_some() {
    let (_windrow, disk, server, api) = served_beside("data/scratch", "6m");
    let job = large_job(&api);
    let mut failed = serde_json::Value::Null;
    until(Duration::from_secs(60), "a run of the job finds no room", || {
        let runs = api.get(&format!("/v1/jobs/{job}/runs")).expect(200).json();
        let found = runs.as_array().unwrap().iter().find(|run| run["error"].is_object());
        failed = found.cloned().unwrap_or_default();
        found.is_some()
    });
    assert_eq!(failed["error"]["class"], "transient", "{failed}");
    assert!(failed["error"]["message"].as_str().unwrap().contains("No space left on device"), "{failed}");
    assert_eq!(reqwest::blocking::get(format!("{}/ready", server.url)).unwrap().status(), 200);

    disk.resize("64m");
    let ended = api.finished(&job);
    assert_whole(&api, &ended, 200);
}

#[test]
fn a_job_whose_objects_find_no_room_waits_and_ends_whole_when_there_is_some() {
    // its parts have room, beside the sample datasets; its dataset has none
    let (_windrow, disk, server, api) = served_beside("data/objects", "16m");
    let job = large_job(&api);
    until(Duration::from_secs(60), "a run of the job finds no room", || {
        let metrics = reqwest::blocking::get(format!("{}/metrics", server.url)).unwrap().text().unwrap();
        metrics
            .lines()
            .any(|line| line.starts_with("windrow_storage_errors_total") && line.contains("no_space"))
    });
    assert_eq!(api.get(&format!("/v1/jobs/{job}")).expect(200).json()["status"], "running");
    assert_eq!(reqwest::blocking::get(format!("{}/ready", server.url)).unwrap().status(), 200);

    disk.resize("64m");
    let ended = api.finished(&job);
    assert_whole(&api, &ended, 200);
    assert_eq!(ended["attempts"], 0, "no run failed by it: {ended}");
}
