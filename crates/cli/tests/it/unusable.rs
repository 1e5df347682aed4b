//! Directories and files that can't be a database: read-only, truncated, another program's. They are refused with a message that
//! says which and what to do, and are left as they are.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Ran, Windrow};
use crate::machine::as_nobody;

const UP: [&str; 6] = ["up", "--data-dir", "data", "--port", "0", "--json"];

/// An installation in which something was done.
fn used() -> (Windrow, PathBuf) {
    let windrow = Windrow::new();
    let mut server = windrow.up();
    windrow.token("alice", "contributor");
    assert_eq!(server.terminate().0, 0);
    let database = windrow.path("data/windrow.db");
    (windrow, database)
}

#[track_caller]
fn refused(windrow: &Windrow, parts: &[&str]) {
    let before = std::fs::read(windrow.path("data/windrow.db")).unwrap();
    for args in [&UP[..], &["db", "status", "--data-dir", "data"], &["worker", "--data-dir", "data"]] {
        windrow.run(args).refused(1, parts);
    }
    assert!(std::fs::read(windrow.path("data/windrow.db")).unwrap() == before, "the file was changed");
}

#[test]
fn a_truncated_database_is_refused_and_left_as_it_is() {
    let (windrow, database) = used();
    let whole = std::fs::read(&database).unwrap();
    // in a page, between two pages, in the header
    for size in [whole.len() / 2 + 1000, whole.len() / 8192 * 4096, 50] {
        std::fs::write(&database, &whole[..size]).unwrap();
        refused(&windrow, &["windrow.db", "the database is damaged", "restore it from a backup"]);
    }
    std::fs::write(&database, whole).unwrap();
    assert_eq!(windrow.up().terminate().0, 0);
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_as_it_is() {
    let windrow = Windrow::new();
    std::fs::create_dir(windrow.path("data")).unwrap();
    windrow.file("data/windrow.db", "Dear diary, ".repeat(1000));
    refused(&windrow, &["windrow.db", "the database is damaged, or is none of Windrow's", "DATABASE_URL"]);
}

#[test]
fn a_database_of_another_program_is_refused_and_left_as_it_is() {
    let windrow = Windrow::new();
    std::fs::create_dir(windrow.path("data")).unwrap();
    // one of its tables bears a name that is Windrow's too
    let make = "import sqlite3; db = sqlite3.connect('data/windrow.db'); db.executescript('CREATE TABLE jobs (a); CREATE TABLE pets (b)')";
    let made = Command::new("python3").args(["-c", make]).current_dir(windrow.dir.path()).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    refused(&windrow, &["another program's", "jobs, pets", "DATABASE_URL"]);
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn ran(windrow: &Windrow) -> Ran {
    Ran::of(&as_nobody(windrow, &UP).output().unwrap())
}

#[test]
fn what_can_not_be_written_is_named() {
    let (windrow, database) = used();
    set_mode(windrow.dir.path(), 0o755);
    let data = windrow.path("data");
    if rustix::process::geteuid().is_root() {
        let given = Command::new("chown").args(["-R", "65534"]).arg(&data).status().unwrap();
        assert!(given.success());
    }
    // the file alone, then one that is opened earlier, then a directory in which nothing can be made
    for (path, name) in [(&database, "windrow.db"), (&data.join("lock"), "data/lock")] {
        set_mode(path, 0o400);
        ran(&windrow).refused(1, &[name, "may this user write"]);
        set_mode(path, 0o600);
    }
    let nowhere = windrow.path("nowhere");
    std::fs::create_dir(&nowhere).unwrap();
    set_mode(&nowhere, 0o555);
    let args = ["up", "--data-dir", "nowhere/data", "--port", "0", "--json"];
    Ran::of(&as_nobody(&windrow, &args).output().unwrap())
        .refused(1, &["nowhere/data", "may this user write"]);
}
