//! `windrow upload` and `windrow download`

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Desk, FREE, SEED, text};

const NOBODYS: &str = "0199d0a8-5f6c-7000-8000-000000000001";

/// A job of ten records that has ended.
fn job(desk: &Desk, more: &Value) -> String {
    desk.windrow.file("seed.jsonl", SEED);
    let seed = text(&desk.json(&["upload", "seed.jsonl"])["id"]);
    let template = desk.api().post("/v1/templates", &json!({ "document": FREE })).json();
    let template = template["id"].as_str().map_or_else(
        || text(&desk.api().get("/v1/templates?mine=true").expect(200).json()["items"][0]["id"]),
        str::to_owned,
    );
    let mut spec = json!({ "template": template, "seed": seed, "records": 10, "pairing": "sequential" });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let spec = spec.to_string();
    let job = desk.json(&["job", "submit", "--workload", "generate", "--spec", &spec, "--watch"]);
    assert_eq!(job["status"], "completed", "{job}");
    text(&job["id"])
}

/// Paths of all files below a directory, from it.
fn below(root: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            match entry.unwrap().path() {
                path if path.is_dir() => folders.push(path),
                path => drop(found.insert(path.strip_prefix(root).unwrap().to_owned())),
            }
        }
    }
    found
}

fn paths(names: &[&str]) -> BTreeSet<PathBuf> {
    names.iter().map(PathBuf::from).collect()
}

fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).unwrap().lines().count()
}

#[test]
fn a_file_is_uploaded_and_what_is_wrong_with_one_is_said() {
    let desk = Desk::new();
    desk.windrow.file("seed.jsonl", SEED);
    let id = desk.run(&["upload", "seed.jsonl"]).ok().stdout;
    let stored = desk.api().get(&format!("/v1/uploads/{}", id.trim())).expect(200).json();
    assert_eq!((&stored["status"], &stored["size"]), (&json!("stored"), &json!(SEED.len())), "{stored}");
    let options =
        ["--content-type", "application/x-ndjson", "--purpose", "baseline", "--workload", "generate"];
    let upload = desk.json(&[&["upload", "seed.jsonl"], &options[..]].concat());
    assert_eq!(
        (&upload["status"], &upload["purpose"], &upload["filename"]),
        (&json!("stored"), &json!("baseline"), &json!("seed.jsonl")),
        "{upload}"
    );

    desk.windrow.file("fake.csv", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR");
    for (args, code, part) in [
        (&["upload", "absent.csv"][..], 2, "absent.csv"),
        (&["upload", "."], 2, "is no file"),
        (&["upload", "fake.csv"], 1, "image/png"),
        (&["upload", "seed.jsonl", "--purpose", "fun"], 1, "/purpose"),
        (&["upload", "seed.jsonl", "--workload", "knit"], 1, "knit"),
        (&["upload"], 2, "<FILE>"),
    ] {
        desk.run(args).refused(code, &[part]);
    }
}

#[test]
fn a_job_is_downloaded_whole_and_an_artifact_alone() {
    let desk = Desk::new();
    let job = job(&desk, &json!({ "formats": ["jsonl", "csv"] }));
    let printed = desk.run(&["download", &job, "--out", "out"]).ok().stdout;
    let dataset = paths(&["README.md", "data.csv", "data.jsonl", "dataset_card.md", "manifest.json"]);
    assert_eq!(below(&desk.windrow.path("out")), dataset);
    let printed: BTreeSet<PathBuf> =
        printed.lines().map(|line| Path::new(line).strip_prefix("out").unwrap().to_owned()).collect();
    assert_eq!(printed, dataset);
    assert_eq!(lines(&desk.windrow.path("out/data.jsonl")), 10);
    assert_eq!(lines(&desk.windrow.path("out/data.csv")), 11);

    let groups = desk.api().get(&format!("/v1/jobs/{job}/artifacts")).expect(200).json();
    let csv = groups.as_array().unwrap().iter().find(|group| group["kind"] == "csv").unwrap();
    let files = desk.json(&["download", csv["latest"]["id"].as_str().unwrap(), "--out", "one"]);
    assert_eq!(files, json!(["one/data.csv"]));
    assert_eq!(below(&desk.windrow.path("one")), paths(&["data.csv"]));

    desk.run(&["download", NOBODYS]).refused(1, &["there is no artifact and no job", NOBODYS]);
    desk.run(&["download", "data.csv"]).refused(2, &["data.csv"]);
    let mallory = desk.windrow.token("mallory", "contributor");
    desk.run_as(&mallory, &["download", &job, "--out", "stolen"])
        .refused(1, &["there is no artifact and no job"]);
    assert!(!desk.windrow.path("stolen").exists(), "a refused download leaves no directory");
    desk.windrow.file("taken", "");
    desk.run(&["download", &job, "--out", "taken"]).refused(1, &["taken"]);
}

#[test]
fn a_file_that_is_there_is_overwritten_only_when_that_is_said() {
    let desk = Desk::new();
    let job = job(&desk, &json!({ "formats": ["jsonl", "csv"] }));
    let readme = desk.windrow.file("README.md", "# Mine");
    let partial = desk.windrow.file("data.partial", "mine too");
    let before = below(desk.windrow.dir.path()).len();
    desk.run(&["download", &job]).refused(1, &["README.md is there already", "--out", "--force"]);
    assert_eq!(below(desk.windrow.dir.path()).len(), before, "what is refused leaves nothing");
    assert_eq!(std::fs::read_to_string(&readme).unwrap(), "# Mine");

    desk.run(&["download", &job, "--force"]).ok();
    assert_ne!(std::fs::read_to_string(&readme).unwrap(), "# Mine");
    assert_eq!(lines(&desk.windrow.path("data.jsonl")), 10);
    assert_eq!(std::fs::read_to_string(&partial).unwrap(), "mine too");

    // what is there already is the same: a second download is no fault, and writes only what is missing
    std::fs::remove_file(desk.windrow.path("data.csv")).unwrap();
    let written = std::fs::metadata(&readme).unwrap().modified().unwrap();
    let again = desk.run(&["download", &job]).ok();
    assert!(again.stderr.contains("README.md is there already"), "{}", again.stderr);
    assert!(!again.stderr.contains("data.csv is there"), "{}", again.stderr);
    assert!(again.stdout.contains("README.md") && again.stdout.contains("data.csv"), "{}", again.stdout);
    assert_eq!(std::fs::metadata(&readme).unwrap().modified().unwrap(), written);
    assert_eq!(lines(&desk.windrow.path("data.csv")), 11);
    // of the same size, and other content
    let data = desk.windrow.path("data.csv");
    let mut other = std::fs::read(&data).unwrap();
    other[0] ^= 1;
    std::fs::write(&data, other).unwrap();
    desk.run(&["download", &job]).refused(1, &["data.csv is there already"]);
    std::fs::remove_file(&data).unwrap();
    std::fs::create_dir(&data).unwrap();
    desk.run(&["download", &job]).refused(1, &["data.csv is there already"]);
    desk.run(&["download", &job, "--force"]).refused(1, &["data.csv"]);
    let partials =
        below(desk.windrow.dir.path()).into_iter().filter(|p| p.extension() == Some("partial".as_ref()));
    assert_eq!(partials.collect::<Vec<_>>(), [PathBuf::from("data.partial")]);
}

#[test]
fn a_download_that_breaks_off_leaves_nothing() {
    let desk = Desk::new();
    let job = job(&desk, &json!({ "formats": ["jsonl"] }));
    // objects that are gone: the server has the rows, and not the bytes
    let objects = desk.windrow.path("data/objects");
    for file in below(&objects) {
        if !file.starts_with(".installation") {
            std::fs::remove_file(objects.join(file)).unwrap();
        }
    }
    let refused = desk.run(&["download", &job, "--out", "out"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert_eq!(below(&desk.windrow.path("out")), BTreeSet::new());
}

#[test]
fn a_partitioned_dataset_is_downloaded_in_its_folders() {
    let desk = Desk::new();
    let job = job(&desk, &json!({ "formats": ["jsonl", "parquet"], "partition_by": "kind" }));
    let printed = desk.json(&["download", &job, "--out", "out"]);
    let parts = [
        "jsonl/kind=dry/part-00000.jsonl",
        "jsonl/kind=wet/part-00000.jsonl",
        "parquet/kind=dry/part-00000.parquet",
        "parquet/kind=wet/part-00000.parquet",
    ];
    let documents = ["README.md", "dataset_card.md", "manifest.json"];
    assert_eq!(below(&desk.windrow.path("out")), paths(&[&parts[..], &documents].concat()));
    assert_eq!(printed.as_array().unwrap().len(), parts.len() + documents.len(), "{printed}");
    for part in &parts[..2] {
        assert_eq!(lines(&desk.windrow.path("out").join(part)), 5, "{part}");
    }
}
