//! The example files and the documentation, written from the contract.

use std::fmt::Write;

use crate::contract::{Convert, Setting};
use crate::table::CONTRACT;

/// Which example file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    Local,
    Uat,
    Prod,
}

impl Profile {
    pub const ALL: [Self; 3] = [Self::Local, Self::Uat, Self::Prod];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Uat => "uat",
            Self::Prod => "prod",
        }
    }

    /// The file's name at the root of the repository.
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Local => ".env.local.example",
            Self::Uat => ".env.uat.example",
            Self::Prod => ".env.prod.example",
        }
    }

    fn example(self, setting: &Setting) -> Option<&'static str> {
        setting.examples[self as usize]
    }
}

const SECTIONS: &[(&str, &str)] = &[
    ("", "This installation"),
    ("server", "Server"),
    ("database", "Database"),
    ("storage", "Storage"),
    ("queue", "Queue"),
    ("auth", "Login"),
    ("webhooks", "Webhooks"),
    ("worker", "Worker"),
    ("retry", "Retries"),
    ("models", "Models"),
    ("limits", "Limits"),
    ("retention", "Retention"),
    ("log", "Logs"),
    ("otlp", "Traces"),
    ("client", "The command line as a client"),
    ("workloads", "Workloads"),
];

fn section_of(setting: &Setting) -> &'static str {
    setting.path.split_once('.').map_or("", |(section, _)| section)
}

/// An example file: every name of the contract, in its order; what keeps its default is a comment.
pub fn render_env(profile: Profile) -> String {
    let mut out = format!(
        "# Windrow's settings for APP_ENV={}, written from the contract in crates/config.\n\
         # The names are the same in local, uat and prod; only values differ. See docs/configuration.md.\n",
        profile.as_str()
    );
    for (section, title) in SECTIONS {
        let settings: Vec<&Setting> =
            CONTRACT.iter().filter(|s| s.env.is_some() && section_of(s) == *section).collect();
        if settings.is_empty() {
            continue;
        }
        line(&mut out, format_args!("\n# ---- {title}"));
        for setting in settings {
            env_entry(&mut out, setting, profile);
        }
    }
    out
}

fn env_entry(out: &mut String, setting: &Setting, profile: Profile) {
    let name = setting.name();
    for text in wrap(setting.doc, 110) {
        line(out, format_args!("# {text}"));
    }
    match profile.example(setting) {
        Some(value) => line(out, format_args!("{name}={value}")),
        None => line(out, format_args!("# {name}={}", setting.default.unwrap_or_default())),
    }
}

/// `docs/configuration.md`.
pub fn render_docs() -> String {
    let mut out = String::from(INTRODUCTION);
    for (section, title) in SECTIONS {
        line(&mut out, format_args!("\n## {title}\n"));
        line(&mut out, format_args!("| name | in `windrow.toml` | what it is | format | default | set by |"));
        line(&mut out, format_args!("|---|---|---|---|---|---|"));
        for setting in CONTRACT.iter().filter(|setting| section_of(setting) == *section) {
            docs_row(&mut out, setting);
        }
    }
    out.push_str(
        "\n## Other names\n\nThese are accepted as they are. A name and its other name may not disagree.\n\n",
    );
    out.push_str("| other name | setting | its value |\n|---|---|---|\n");
    for setting in CONTRACT {
        for alias in setting.aliases {
            let value = match alias.convert {
                Convert::Same => "the same",
                Convert::Seconds => "a number of seconds",
                Convert::Millis => "a number of milliseconds",
            };
            line(&mut out, format_args!("| `{}` | `{}` | {value} |", alias.name, setting.name()));
        }
    }
    out.push_str("\n| setting | value | means |\n|---|---|---|\n");
    for setting in CONTRACT {
        for (synonym, meant) in setting.synonyms {
            line(&mut out, format_args!("| `{}` | `{synonym}` | `{meant}` |", setting.name()));
        }
    }
    out
}

const INTRODUCTION: &str = "# Configuration

Written from the contract in `crates/config/src/table.rs`; a test fails when the two differ, and
`WINDROW_BLESS=1 cargo nextest run -p windrow-config` writes it anew.

Later ones win: defaults, `windrow.toml`, the environment, the command line. The file is `windrow.toml` in the working
directory, or the one that `WINDROW_CONFIG` names. An empty variable counts as not set. An unknown key, an unknown
`WINDROW_…` variable (but for the tests' own `WINDROW_TEST_…`), a malformed or missing value: the process refuses to start and lists all of them.
`windrow config check` shows every setting with its value (secrets hidden), where it comes from, and what is missing.

`windrow demo` and `windrow generate run`, `estimate` and `seed` stand on a directory of their own, whatever installation the file and the
environment are for. They heed the sections `models`, `worker`, `retry`, `workloads` and `log`, and `limits.upload_max`; not what ties a process to
an installation: its kind, database, storage, login, keys, addresses, approvals, and which workloads a worker takes.

A `*` stands for a name of your own: `[models.providers.my-server]`, `[workloads.translate]`. Names with dots or colons
are quoted: `[models.limits.\"openai:gpt-4.1\"]`.
";

fn docs_row(out: &mut String, setting: &Setting) {
    let name = setting.env.map_or_else(|| "–".to_owned(), |name| format!("`{name}`"));
    let mut doc = setting.doc.to_owned();
    let required = setting.required.as_str();
    if required != "no" {
        write!(doc, " **Required {required}.**").expect("writing to a string never fails");
    }
    if setting.secret {
        doc.push_str(" Secret.");
    }
    let default = setting.default.map_or_else(|| "–".to_owned(), |value| format!("`{value}`"));
    let format = cell(&setting.kind.format());
    let (path, set_by) = (setting.path, setting.set_by.as_str());
    line(out, format_args!("| {name} | `{path}` | {} | {format} | {default} | {set_by} |", cell(&doc)));
}

/// Text for a table's cell: bars are escaped, URLs are code, as a bare URL would become a link.
fn cell(text: &str) -> String {
    let coded = text.split(' ').map(|word| {
        let bare = word.trim_end_matches([',', '.', ';']);
        if bare.contains("://") { word.replace(bare, &format!("`{bare}`")) } else { word.replace('|', "\\|") }
    });
    coded.collect::<Vec<_>>().join(" ")
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("writing to a string never fails");
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(last) if last.len() + word.len() < width => {
                last.push(' ');
                last.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
