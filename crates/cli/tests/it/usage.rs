//! What the command line says, and the exit codes that scripts rely on.

use crate::harness::Windrow;

#[test]
fn help_is_stable() {
    let windrow = Windrow::new();
    for args in [
        &["--help"][..],
        &["generate", "--help"],
        &["generate", "run", "--help"],
        &["job", "--help"],
        &["job", "submit", "--help"],
        &["db", "--help"],
        &["dead-letters", "--help"],
    ] {
        let help = windrow.run(args).ok();
        insta::assert_snapshot!(format!("help {}", args[..args.len() - 1].join(" ")), help.stdout);
    }
}

#[test]
fn wrong_usage_is_2() {
    let windrow = Windrow::new();
    for args in
        [&["nonsense"][..], &["job", "submit"], &["job", "show", "not-an-id"], &["up", "--port", "many"]]
    {
        assert_eq!(windrow.run(args).code, 2, "{args:?}");
    }
}

#[test]
fn nobody_there_is_4_and_says_what_to_do() {
    let windrow = Windrow::new();
    let ran = windrow.run(&["job", "list", "--server", "http://127.0.0.1:9", "--token", "x"]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains("127.0.0.1:9"), "{}", ran.stderr);
    let ran = windrow.run(&["job", "list", "--data-dir", "empty"]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains("windrow up"), "{}", ran.stderr);
}
