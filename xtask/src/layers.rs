//! The direction of dependencies: who may see whom in the workspace, and which crates may touch which outside library.
//!
//! This file is the one place where the direction is written down; `deny.toml` repeats the outside part, over the whole
//! dependency graph.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::repo::{Repo, output};

/// From the bottom up. A crate may depend on all layers below its own and on none of its neighbours.
const LAYERS: &[&[&str]] = &[
    // What the benchmarks measure the machine with knows nothing of the product, and is for benchmarks only.
    &["core", "bench/bench-gauge"],
    &["json-schema"],
    &["api-types", "config", "store", "blob", "auth", "models", "extract"],
    &["client"],
    &["engine"],
    &["app", "runtime"],
    &["rest", "console"],
    &["plugin"],
    // The example of a workload sees what workloads see.
    &["workloads/*", "examples/*"],
    &["cli"],
    // They may see all; only dev-dependencies name `test-support`, and nobody but benchmarks what benchmarks share.
    &["test-support", "bench/bench-rig"],
    &["bench/*"],
];

/// Crates that see less than the layers below them.
const NARROWED: &[(&str, &[&str])] = &[
    // What talks to a server knows the wire and nothing of the server.
    ("client", &["core", "api-types"]),
    // The doors hold no SQL: what they need of the store, `app` gives them.
    ("rest", DOORS),
    ("console", DOORS),
];

const DOORS: &[&str] = &[
    "core",
    "json-schema",
    "api-types",
    "config",
    "blob",
    "auth",
    "models",
    "extract",
    "client",
    "engine",
    "app",
    "runtime",
];

/// Judges the others, so it depends on none.
const ALONE: &str = "xtask";

/// Outside libraries that only some crates may name. A name that ends in `*` covers what begins with it.
const OUTSIDE: &[(&[&str], Rule)] = &[
    (&["sqlx*", "libsqlite3-sys", "rusqlite"], Rule::Only(&["store", "test-support", "bench/*"])),
    (
        &["axum*", "utoipa-axum", "utoipa-swagger-ui"],
        Rule::Only(&["rest", "console", "plugin", "workloads/*", "cli", "test-support", "bench/*"]),
    ),
    (&["jsonschema*"], Rule::Only(&["json-schema"])),
    (&["object_store"], Rule::Only(&["blob", "test-support", "bench/*"])),
    (&["tokio*", "reqwest", "hyper*", "figment", "object_store", "fs4"], Rule::Never(&["core"])),
    (&["tokio*", "reqwest", "hyper*"], Rule::Never(&["api-types", "config"])),
];

enum Rule {
    Only(&'static [&'static str]),
    Never(&'static [&'static str]),
}

/// A crate of the workspace and what its manifest names.
#[derive(Debug, PartialEq)]
struct Member {
    /// `core`, `workloads/generate`, `bench/engine`, `xtask`: the name without `windrow-`, the folder where it decides.
    room: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, PartialEq)]
struct Dependency {
    /// The room for a crate of the workspace, the package's name for others.
    name: String,
    ours: bool,
    dev: bool,
}

pub(crate) fn check(repo: &Repo) -> Result<Vec<String>> {
    let metadata = output(
        Command::new("cargo")
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .current_dir(&repo.root),
    )?;
    Ok(judge(&members(&metadata)?))
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: String,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: String,
    dependencies: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
    kind: Option<String>,
}

fn members(metadata: &str) -> Result<Vec<Member>> {
    let metadata: Metadata = serde_json::from_str(metadata).context("cargo metadata changed its format")?;
    let room_of = |package: &Package| -> String {
        let path = Path::new(&package.manifest_path);
        let folder = path.strip_prefix(&metadata.workspace_root).ok().and_then(Path::parent);
        let top =
            folder.and_then(|folder| folder.iter().next()).and_then(|top| top.to_str()).unwrap_or_default();
        let name = package.name.strip_prefix("windrow-").unwrap_or(&package.name);
        if matches!(top, "workloads" | "bench" | "examples") {
            format!("{top}/{name}")
        } else {
            name.to_owned()
        }
    };
    let rooms: Vec<(&str, String)> =
        metadata.packages.iter().map(|package| (package.name.as_str(), room_of(package))).collect();
    let dependency = |named: &Named| {
        let room = rooms.iter().find(|(name, _)| *name == named.name).map(|(_, room)| room.clone());
        Dependency {
            ours: room.is_some(),
            name: room.unwrap_or_else(|| named.name.clone()),
            dev: named.kind.as_deref() == Some("dev"),
        }
    };
    let member = |package: &Package| Member {
        room: room_of(package),
        dependencies: package.dependencies.iter().map(dependency).collect(),
    };
    Ok(metadata.packages.iter().map(member).collect())
}

fn judge(members: &[Member]) -> Vec<String> {
    let mut findings = Vec::new();
    for member in members {
        if member.room != ALONE && layer(&member.room).is_none() {
            findings.push(format!("{} is in no layer; give it a line in xtask/src/layers.rs", member.room));
            continue;
        }
        for dependency in &member.dependencies {
            let (room, name) = (&member.room, &dependency.name);
            let allowed = if dependency.ours { inside(room, dependency) } else { outside(room, name) };
            if !allowed {
                let kind = if dependency.dev { " (dev)" } else { "" };
                findings.push(format!("{room} may not depend on {name}{kind}"));
            }
        }
    }
    findings
}

fn inside(room: &str, dependency: &Dependency) -> bool {
    match dependency.name.as_str() {
        "test-support" => dependency.dev || room.starts_with("bench/"),
        // A crate's tests may name the crate itself.
        own if own == room => dependency.dev,
        // Nobody stands on the binary, not even who may see all.
        "cli" => false,
        name if name.starts_with("bench/") && !room.starts_with("bench/") => false,
        name => {
            let below = matches!((layer(name), layer(room)), (Some(theirs), Some(ours)) if theirs < ours);
            let narrowed = NARROWED.iter().find(|(who, _)| *who == room);
            below && narrowed.is_none_or(|(_, sees)| sees.contains(&name))
        }
    }
}

/// A room's height, from 0.
fn layer(room: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.iter().any(|pattern| matches(pattern, room)))
}

fn outside(room: &str, name: &str) -> bool {
    OUTSIDE.iter().filter(|(names, _)| names.iter().any(|pattern| matches(pattern, name))).all(|(_, rule)| {
        match rule {
            Rule::Only(rooms) => rooms.iter().any(|pattern| matches(pattern, room)),
            Rule::Never(rooms) => !rooms.iter().any(|pattern| matches(pattern, room)),
        }
    })
}

fn matches(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder, its package, and what that depends on: (name, kind).
    type Manifest<'a> = (&'a str, &'a str, &'a [(&'a str, Option<&'a str>)]);

    /// What is wrong with a workspace that `cargo metadata` prints so.
    fn workspace(packages: &[Manifest<'_>]) -> Vec<String> {
        let packages: Vec<_> = packages
            .iter()
            .map(|(folder, name, dependencies)| {
                let dependencies: Vec<_> = dependencies
                    .iter()
                    .map(|(name, kind)| serde_json::json!({ "name": name, "kind": kind }))
                    .collect();
                let manifest_path = format!("/w/{folder}/Cargo.toml");
                serde_json::json!({ "name": name, "manifest_path": manifest_path, "dependencies": dependencies })
            })
            .collect();
        let metadata = serde_json::json!({ "packages": packages, "workspace_root": "/w" });
        judge(&members(&metadata.to_string()).unwrap())
    }

    const CORE: Manifest<'_> = ("crates/core", "windrow-core", &[("serde", None)]);
    const STORE: Manifest<'_> = ("crates/store", "windrow-store", &[("windrow-core", None), ("sqlx", None)]);

    #[test]
    fn the_direction_of_the_house_passes() {
        let support =
            ("crates/test-support", "windrow-test-support", &[("windrow-store", None), ("sqlx", None)][..]);
        let app = (
            "crates/app",
            "windrow-app",
            &[("windrow-store", None), ("windrow-test-support", Some("dev")), ("windrow-core", None)][..],
        );
        let workload =
            ("workloads/generate", "windrow-generate", &[("windrow-app", None), ("axum", None)][..]);
        let cli =
            ("crates/cli", "windrow-cli", &[("windrow-generate", None), ("axum", None), ("tokio", None)][..]);
        let bench = ("bench/engine", "bench-engine", &[("windrow-test-support", None), ("sqlx", None)][..]);
        assert_eq!(workspace(&[CORE, STORE, support, app, workload, cli, bench]), [""; 0]);
    }

    #[test]
    fn an_arrow_that_points_up_is_caught() {
        let core = ("crates/core", "windrow-core", &[("windrow-store", None)][..]);
        assert_eq!(workspace(&[core, STORE]), ["core may not depend on store"]);
    }

    #[test]
    fn an_arrow_between_neighbours_is_caught() {
        let blob = ("crates/blob", "windrow-blob", &[("windrow-store", None)][..]);
        assert_eq!(workspace(&[CORE, STORE, blob]), ["blob may not depend on store"]);
        let one = ("workloads/evidence", "windrow-evidence", &[("windrow-generate", None)][..]);
        let other = ("workloads/generate", "windrow-generate", &[][..]);
        assert_eq!(workspace(&[one, other]), ["workloads/evidence may not depend on workloads/generate"]);
    }

    #[test]
    fn what_sees_less_than_its_height_is_held_to_it() {
        let client = ("crates/client", "windrow-client", &[("windrow-store", None)][..]);
        let rest = ("crates/rest", "windrow-rest", &[("windrow-store", None), ("windrow-client", None)][..]);
        let found = workspace(&[STORE, client, rest]);
        assert_eq!(found, ["client may not depend on store", "rest may not depend on store"]);
    }

    #[test]
    fn a_wrong_arrow_is_caught_in_tests_too() {
        let store = ("crates/store", "windrow-store", &[("windrow-app", Some("dev"))][..]);
        let app = ("crates/app", "windrow-app", &[][..]);
        assert_eq!(workspace(&[store, app]), ["store may not depend on app (dev)"]);
    }

    #[test]
    fn test_support_is_for_tests_only() {
        let app = ("crates/app", "windrow-app", &[("windrow-test-support", None)][..]);
        let support = ("crates/test-support", "windrow-test-support", &[][..]);
        assert_eq!(workspace(&[app, support]), ["app may not depend on test-support"]);
        let cli = ("crates/cli", "windrow-cli", &[("windrow-test-support", None)][..]);
        assert_eq!(workspace(&[cli, support]), ["cli may not depend on test-support"]);
    }

    #[test]
    fn nobody_stands_on_the_binary() {
        let bench = ("bench/engine", "bench-engine", &[("windrow-cli", None)][..]);
        let cli = ("crates/cli", "windrow-cli", &[][..]);
        assert_eq!(workspace(&[bench, cli]), ["bench/bench-engine may not depend on cli"]);
    }

    #[test]
    fn benchmarks_share_a_gauge_that_nobody_else_names() {
        let gauge = ("bench/gauge", "windrow-bench-gauge", &[][..]);
        let bench = ("bench/engine", "windrow-bench-engine", &[("windrow-bench-gauge", None)][..]);
        assert_eq!(workspace(&[gauge, bench]), [""; 0]);
        let rig = ("bench/rig", "windrow-bench-rig", &[("windrow-bench-gauge", None)][..]);
        let bench = ("bench/engine", "windrow-bench-engine", &[("windrow-bench-rig", None)][..]);
        assert_eq!(workspace(&[gauge, rig, bench]), [""; 0]);
        let app = ("crates/app", "windrow-app", &[("windrow-bench-gauge", None)][..]);
        assert_eq!(workspace(&[gauge, app]), ["app may not depend on bench/bench-gauge"]);
    }

    #[test]
    fn sqlx_and_axum_stay_in_their_rooms() {
        let app = ("crates/app", "windrow-app", &[("sqlx", None), ("axum", None), ("utoipa-axum", None)][..]);
        let found = workspace(&[app]);
        assert_eq!(
            found,
            ["app may not depend on sqlx", "app may not depend on axum", "app may not depend on utoipa-axum"]
        );
        let rest = ("crates/rest", "windrow-rest", &[("axum", None), ("sqlx-core", None)][..]);
        assert_eq!(workspace(&[rest]), ["rest may not depend on sqlx-core"]);
    }

    #[test]
    fn core_stays_pure() {
        let core = ("crates/core", "windrow-core", &[("tokio", None), ("uuid", None)][..]);
        assert_eq!(workspace(&[core]), ["core may not depend on tokio"]);
    }

    #[test]
    fn a_crate_without_a_layer_is_caught() {
        let found = workspace(&[("crates/utils", "windrow-utils", &[])]);
        assert_eq!(found, ["utils is in no layer; give it a line in xtask/src/layers.rs"]);
    }
}
