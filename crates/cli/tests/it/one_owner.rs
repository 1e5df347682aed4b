//! An embedded database has one owner, by whatever data directory a process comes to it.

use crate::harness::Windrow;

#[test]
fn a_database_that_is_owned_is_refused_to_another_data_directory() {
    let windrow = Windrow::new();
    let windrow = {
        let url = format!("sqlite:{}", windrow.path("x.db").display());
        windrow.with_env("DATABASE_URL", url)
    };
    let up = |dir| ["up", "--data-dir", dir, "--port", "0", "--json"];
    let mut first = windrow.start(&up("one"));
    let owner = format!("process {}", first.pid());
    let parts = ["x.db", &owner, &first.url, "/one", "--data-dir"];
    windrow.run(&up("two")).refused(1, &parts);
    // whoever would come to it, with whatever command; a worker does not wait for what will not come
    windrow.run(&["worker", "--data-dir", "two"]).refused(1, &parts);
    windrow.run(&["db", "status", "--data-dir", "two"]).refused(1, &parts);
    let grant = ["user", "grant", "eve", "--role", "admin", "--reason", "why"];
    windrow.run(&[&grant[..], &["--data-dir", "two"]].concat()).refused(1, &parts);
    windrow.run(&[&grant[..], &["--data-dir", "one"]].concat()).ok();

    // its end, however it comes, makes the database free
    first.kill();
    let mut second = windrow.start(&up("two"));
    windrow.run(&up("one")).refused(1, &["x.db", &format!("process {}", second.pid()), "/two"]);
    assert_eq!(second.terminate().0, 0);
    windrow.run(&["db", "status", "--data-dir", "one"]).ok();
}
