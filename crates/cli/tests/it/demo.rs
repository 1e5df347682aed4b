//! `windrow demo`, in an empty folder.

use crate::harness::Windrow;

#[test]
fn the_demo_shows_the_whole_of_it() {
    let windrow = Windrow::new();
    let ran = windrow.run(&["demo"]).ok();
    let said = format!("{}{}", ran.stdout, ran.stderr);
    for part in
        ["upload", "template", "estimate", "killed", "200 records", ".jsonl", ".csv", ".parquet", "cost"]
    {
        assert!(said.to_lowercase().contains(part), "the demo does not show {part:?}:\n{said}");
    }
}
