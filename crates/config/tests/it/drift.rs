//! The committed files are what the contract writes.

use std::path::{Path, PathBuf};

use windrow_config::{CONTRACT, Config, Input, Profile, check, parse_env_file, render_docs, render_env};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn assert_committed(name: &str, expected: &str) {
    let path = root().join(name);
    if std::env::var_os("WINDROW_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let difference = found.lines().zip(expected.lines()).find(|(found, expected)| found != expected);
    assert!(
        found == expected,
        "{name} differs from the contract, first in {difference:?}: \
         run WINDROW_BLESS=1 cargo nextest run -p windrow-config and commit it"
    );
}

#[test]
fn the_example_files_are_the_contracts() {
    for profile in Profile::ALL {
        assert_committed(profile.file_name(), &render_env(profile));
    }
}

#[test]
fn the_documentation_is_the_contracts() {
    assert_committed("docs/configuration.md", &render_docs());
}

#[test]
fn the_local_example_loads_alone() {
    let env = parse_env_file(&render_env(Profile::Local)).unwrap();
    Config::load(&Input { env, ..Input::default() }).unwrap();
}

#[test]
fn the_other_examples_load_once_their_placeholders_are_filled_in() {
    for profile in [Profile::Uat, Profile::Prod] {
        let text = render_env(profile);
        let env = parse_env_file(&text).unwrap();
        let problems = check(&Input { env, ..Input::default() }).problems;
        assert!(
            !problems.is_empty()
                && problems
                    .iter()
                    .all(|p| p.message.contains("CHANGE_ME") || p.message.contains("must be set")),
            "{problems:?}"
        );

        let env = parse_env_file(&text.replace("CHANGE_ME", "a-secret-of-thirty-two-characters")).unwrap();
        let config = Config::load(&Input { env, ..Input::default() }).unwrap();
        assert_eq!(config.app_env.as_str(), profile.as_str());
    }
}

#[test]
fn every_example_shows_every_name() {
    for profile in Profile::ALL {
        let text = render_env(profile);
        for setting in CONTRACT {
            let Some(name) = setting.env else { continue };
            let shown =
                text.lines().filter(|line| line.trim_start_matches("# ").starts_with(&format!("{name}=")));
            assert_eq!(shown.count(), 1, "{name} in {}", profile.file_name());
        }
    }
}

#[test]
fn names_and_places_are_unique() {
    let mut names: Vec<&str> = CONTRACT
        .iter()
        .flat_map(|s| s.env.into_iter().chain(s.aliases.iter().map(|alias| alias.name)).chain([s.path]))
        .collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
}
