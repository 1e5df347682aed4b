//! `windrow demo`, in an empty folder.

use crate::harness::Windrow;

#[test]
fn the_demo_shows_the_whole_of_it() {
    let windrow = Windrow::new();
    windrow.run(&["demo"]).ok();
    // once more in the same folder
    let ran = windrow.run(&["demo"]).ok();
    let said = format!("{}{}", ran.stdout, ran.stderr);
    for part in
        ["upload", "template", "estimate", "killed", "200 records", ".jsonl", ".csv", ".parquet", "cost"]
    {
        assert!(said.to_lowercase().contains(part), "the demo does not show {part:?}:\n{said}");
    }
    let made = |line: &str| -> u32 {
        let line = said.lines().find(|said| said.contains(line)).unwrap();
        let before = line.split(" of 200").next().unwrap();
        before.split(' ').next_back().unwrap().parse().unwrap()
    };
    let (killed, after) = (made("SIGKILL"), made("a new worker process"));
    assert!((80..200).contains(&killed), "killed with {killed} of 200 records made:\n{said}");
    assert!(after > killed, "nothing was made after the kill:\n{said}");
}
