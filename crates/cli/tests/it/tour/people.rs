//! `windrow token`, `windrow key` and `windrow user`

use serde_json::{Value, json};

use super::{Desk, text};
use crate::harness::Windrow;

#[test]
fn a_token_logs_in_and_a_wrong_wish_for_one_is_refused() {
    let desk = Desk::new();
    let made = desk.windrow.run(&[
        "token",
        "create",
        "--sub",
        "eve",
        "--role",
        "contributor",
        "--ttl",
        "1",
        "--data-dir",
        "data",
        "--json",
    ]);
    let made = made.ok().json();
    assert_eq!(made["sub"], "eve", "{made}");
    let me = desk.server.api(&text(&made["token"])).get("/v1/me").expect(200).json();
    assert_eq!((&me["sub"], &me["role"]), (&json!("eve"), &json!("contributor")), "{me}");
    // without a role the user keeps the one that they have
    let again = desk.windrow.run(&["token", "create", "--sub", "eve", "--data-dir", "data"]).ok();
    let me = desk.server.api(again.stdout.trim()).get("/v1/me").expect(200).json();
    assert_eq!(me["role"], "contributor", "{me}");

    for (args, parts) in [
        (&["--role", "admin"][..], &["--sub"][..]),
        (&["--sub", "eve", "--role", "emperor"], &["emperor", "consumer"]),
        (&["--sub", "eve", "--ttl", "0"], &["--ttl"]),
        (&["--sub", "eve", "--ttl", "a day"], &["--ttl"]),
    ] {
        desk.windrow.run(&[&["token", "create", "--data-dir", "data"], args].concat()).refused(2, parts);
    }
    desk.windrow.run(&["token", "create", "--sub", "", "--data-dir", "data"]).refused(1, &["sub"]);
    let elsewhere = Windrow::new()
        .with_env("WINDROW_AUTH", "jwks")
        .with_env("WINDROW_AUTH_ISSUER", "https://login.example.com")
        .with_env("WINDROW_AUTH_CLIENT_ID", "windrow");
    elsewhere.run(&["token", "create", "--sub", "eve"]).refused(2, &["auth mode local"]);
}

#[test]
fn roles_are_granted_where_the_database_is() {
    let windrow = Windrow::new();
    let grant = |sub: &str, role: &str, reason: &str| {
        windrow.run(&[
            "user",
            "grant",
            sub,
            "--role",
            role,
            "--reason",
            reason,
            "--data-dir",
            "data",
            "--json",
        ])
    };
    // the first admin, before anything runs
    let root = grant("root", "admin", "the first one").ok().json();
    assert_eq!((&root["sub"], &root["role"]), (&json!("root"), &json!("admin")), "{root}");
    grant("root", "contributor", "a slip").refused(1, &["admin"]);

    // and beside a server
    let server = windrow.up();
    let token = windrow.run(&["token", "create", "--sub", "root", "--data-dir", "data"]).ok().stdout;
    let root = server.api(token.trim());
    let eve = grant("eve", "contributor", "she writes").ok().json();
    assert_eq!(eve["role"], "contributor", "{eve}");
    let list = |token: &str| windrow.run(&["user", "list", "--data-dir", "data", "--token", token, "--json"]);
    let listed = list(&root.token).ok().json();
    let roles: Vec<(String, String)> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|user| (text(&user["sub"]), text(&user["role"])))
        .collect();
    for (sub, role) in [("root", "admin"), ("eve", "contributor")] {
        assert!(roles.contains(&(sub.to_owned(), role.to_owned())), "{roles:?}");
    }
    let table = windrow.run(&["user", "list", "--data-dir", "data", "--token", &root.token]).ok().stdout;
    assert!(table.lines().any(|line| line.contains("contributor") && line.ends_with("eve")), "{table}");
    let audit = root.get("/v1/audit").expect(200).json();
    let reasons: Vec<&Value> =
        audit["items"].as_array().unwrap().iter().map(|line| &line["reason"]).collect();
    assert!(reasons.contains(&&json!("she writes")) && reasons.contains(&&json!("the first one")), "{audit}");

    let eve = windrow.run(&["token", "create", "--sub", "eve", "--data-dir", "data"]).ok().stdout;
    list(eve.trim()).refused(1, &["needs the role admin"]);
    grant("eve", "admin", " ").refused(1, &["reason"]);
    windrow.run(&["user", "grant", "eve", "--role", "admin", "--data-dir", "data"]).refused(2, &["--reason"]);
    grant("eve", "queen", "why not").refused(2, &["queen"]);
}

#[test]
fn a_key_is_made_used_listed_and_revoked() {
    let desk = Desk::new();
    let made = desk.json(&["key", "create", "--name", "reader", "--scope", "read"]);
    let (id, secret) = (text(&made["id"]), text(&made["secret"]));
    assert!(secret.starts_with("wr_"), "{made}");
    desk.run_as(&secret, &["job", "list"]).ok();
    let submit = ["job", "submit", "--workload", "generate", "--spec", "{}"];
    desk.run_as(&secret, &submit).refused(1, &["write"]);

    let keys = desk.json(&["key", "list"]);
    assert_eq!((&keys[0]["id"], &keys[0]["name"]), (&made["id"], &json!("reader")), "{keys}");
    assert!(!keys.to_string().contains(&secret), "a list shows no secret");
    assert_eq!(desk.json(&["key", "revoke", &id]), json!({ "revoked": id }));
    desk.run_as(&secret, &["job", "list"]).refused(1, &["revoked"]);
    let listed = desk.run(&["key", "list"]).ok().stdout;
    assert!(listed.contains("revoked"), "{listed}");
    assert!(!text(&desk.json(&["key", "webhook-secret"])["secret"]).is_empty());

    desk.run(&["key", "revoke", "0199d0a8-5f6c-7000-8000-000000000001"]).refused(1, &["key"]);
    desk.run(&["key", "revoke", "my key"]).refused(2, &["my key"]);
    desk.run(&["key", "create", "--scope", "admin"]).refused(1, &["admin"]);
    desk.run(&["key", "create", "--scope", "worker:generate"]).refused(1, &["admin"]);
}
