//! Trying the configured environment out.

use serde_json::Value;

use crate::harness::Windrow;

#[test]
fn storage_and_queue_are_tried_step_by_step_by_admins() {
    let windrow = Windrow::new();
    let server = windrow.up();
    let admin = windrow.token("root", "admin");
    for (what, steps) in
        [("storage", &["put", "head", "get", "delete"][..]), ("queue", &["send", "receive", "delete"])]
    {
        let ran = windrow.run(&["smoke", what, "--data-dir", "data", "--token", &admin]).ok();
        let printed: Vec<&str> =
            ran.stdout.lines().filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(printed, steps, "{}", ran.stdout);
        assert!(ran.stdout.lines().all(|line| line.contains(" ok ")), "{}", ran.stdout);
        let ran = windrow.run(&["smoke", what, "--data-dir", "data", "--token", &admin, "--json"]).ok();
        let report: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(report["ok"], true, "{report}");
        let refused = windrow.run(&["smoke", what, "--data-dir", "data"]);
        assert_eq!(refused.code, 1);
        assert!(refused.stderr.contains("role"), "{}", refused.stderr);
    }
    let jobs = server.api(&admin).get("/v1/jobs").expect(200).json();
    assert_eq!(jobs["items"].as_array().unwrap().len(), 0, "{jobs}");
}
