//! Every setting is read by somebody. A setting that nobody reads is a promise that nobody keeps, and the compiler can't
//! tell: sections are public. So the sources of the other crates are searched for `section.field`.

use std::path::{Path, PathBuf};

use windrow_config::{CONTRACT, Kind, Setting};

/// Settings that [`windrow_config::Config`] reads for others, and the method by which they get them.
const READ_FOR_OTHERS: [(&str, &str); 13] = [
    // by the loading itself
    ("config_file", "load"),
    ("server.public_url", "public_url"),
    ("database.url", "database"),
    ("database.listen_url", "database"),
    ("storage.dir", "storage_dir"),
    ("storage.aws_region", "issuer"),
    ("auth.issuer", "issuer"),
    ("auth.cognito_user_pool_id", "issuer"),
    ("auth.jwks_url", "jwks_url"),
    ("retry.base", "policy"),
    ("retry.cap", "policy"),
    ("retry.max_attempts", "policy"),
    ("log.format", "log_format"),
];

/// What the documentation says of a setting that waits for a later version.
const UNUSED: &str = "does not use it";

/// Sections by a name that the user chooses: where they stand, and their types.
const CHOSEN: [(&str, &str); 4] = [
    ("providers", "ProviderSection"),
    ("limits", "ModelLimits"),
    ("prices", "ModelPrice"),
    ("workloads", "WorkloadSection"),
];

/// One file's code: no comments, no tests, method chains on one line.
struct Source {
    path: PathBuf,
    code: String,
}

impl Source {
    fn read(path: PathBuf) -> Self {
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        let mut code = String::new();
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
            // a method chain goes on where its first line ended
            if !line.starts_with('.') {
                code.push('\n');
            }
            code.push_str(line);
        }
        Self { path, code }
    }

    /// Whether it reads the field of a section, or of a variable that is one.
    fn reads(&self, section: &str, field: &str) -> bool {
        let of_section = |owner: &str| owner == section || self.binds(owner, section);
        self.owners(field).any(of_section)
    }

    /// Whether it has to do with sections of this kind, and reads such a field of anything.
    fn reads_chosen(&self, (section, kind): (&str, &str), field: &str) -> bool {
        let concerned = self.code.contains(kind) || self.code.contains(&format!(".{section}"));
        concerned && self.owners(field).next().is_some()
    }

    /// Before each `.field`, the last name.
    fn owners<'a>(&'a self, field: &'a str) -> impl Iterator<Item = &'a str> {
        let found = self.code.match_indices(field).filter_map(move |(at, _)| {
            let before = self.code[..at].strip_suffix('.')?;
            let after = self.code[at + field.len()..].chars().next();
            let is_field = !after.is_some_and(|c| is_name(c) || c == '(');
            is_field.then(|| last_name(before))
        });
        found.filter(|owner| !owner.is_empty())
    }

    /// Whether a variable is a section: `let variable = &config.section;`, or a parameter of its type.
    fn binds(&self, variable: &str, section: &str) -> bool {
        let assigned = self.code.match_indices(&format!("let {variable} = ")).any(|(at, start)| {
            let rest = &self.code[at + start.len()..];
            rest.split(';').next().is_some_and(|value| last_name(value) == section)
        });
        let mut kind = section.to_owned();
        kind[..1].make_ascii_uppercase();
        assigned || self.code.contains(&format!("{variable}: &{kind}Section"))
    }

    fn calls(&self, method: &str) -> bool {
        self.code.contains(&format!(".{method}("))
    }
}

const fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn last_name(text: &str) -> &str {
    text.rsplit(|c| !is_name(c)).next().unwrap_or_default()
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut found = Vec::new();
    for folder in ["crates", "workloads"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("config") && !path.ends_with("test-support") {
                walk(&path.join("src"), &mut found);
            }
        }
    }
    assert!(found.len() > 100, "the sources are where they were");
    found
}

fn walk(folder: &Path, found: &mut Vec<Source>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("tests") {
            walk(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("tests.rs") {
            found.push(Source::read(path));
        }
    }
}

/// A file that reads the setting, or why none need.
fn reader<'s>(setting: &Setting, sources: &'s [Source]) -> Option<&'s Path> {
    let find = |reads: &dyn Fn(&Source) -> bool| {
        sources.iter().find(|source| reads(source)).map(|source| source.path.as_path())
    };
    if let Some((_, method)) = READ_FOR_OTHERS.iter().find(|(path, _)| *path == setting.path) {
        return find(&|source| source.calls(method) || source.code.contains(&format!("Config::{method}(")));
    }
    let mut names = setting.path.rsplit('.');
    let field = names.next().unwrap_or_default();
    match (names.next(), names.next()) {
        (Some("*"), Some(section)) => {
            let chosen = *CHOSEN.iter().find(|(name, _)| *name == section).unwrap();
            find(&|source| source.reads_chosen(chosen, field))
        }
        (section, _) => find(&|source| source.reads(section.unwrap_or("config"), field)),
    }
}

/// Whether there is no choice yet, or another line of the table is the same field by a name that the user chooses.
fn need_not_be_read(setting: &Setting) -> bool {
    let same_field = |pattern: &str| {
        let (pattern, path): (Vec<_>, Vec<_>) =
            (pattern.split('.').collect(), setting.path.split('.').collect());
        let is_same = |(a, b): (&&str, &&str)| a == b || *a == "*";
        pattern.len() == path.len() && pattern.iter().zip(&path).all(is_same)
    };
    matches!(setting.kind, Kind::OneOf([_]))
        || CONTRACT.iter().any(|other| other.path != setting.path && same_field(other.path))
}

#[test]
fn every_setting_is_read_or_says_that_it_is_not() {
    let sources = sources();
    let mut wrong = Vec::new();
    for setting in CONTRACT.iter().filter(|setting| !need_not_be_read(setting)) {
        match (reader(setting, &sources), setting.doc.contains(UNUSED)) {
            (None, false) => wrong.push(format!("nobody reads {}; read it or remove it", setting.path)),
            (Some(path), true) => {
                wrong.push(format!("{} reads {}, whose text says otherwise", path.display(), setting.path));
            }
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
