//! From what the caller hands over ([`Input`]) to a [`Config`], with every problem at once.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde_json::Value;

use crate::aliases;
use crate::contract::{Kind, Required, Setting};
use crate::input::{Input, concerns_embedded, has_our_prefix};
use crate::nearest::nearest;
use crate::sections::Config;
use crate::table::CONTRACT;
use crate::validate::validate;
use crate::value::{Raw, parse};

/// One thing that is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The setting, or the place in a file.
    pub name: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Problem {
    pub(crate) fn new(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self { name: name.into(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.message)
    }
}

/// Why a process can't start with these settings: everything that is wrong with them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration has {} to mend (`windrow config check` shows all of it):{}", count(.0), list(.0))]
pub struct ConfigError(pub Vec<Problem>);

fn count(problems: &[Problem]) -> String {
    if problems.len() == 1 { "1 problem".to_owned() } else { format!("{} problems", problems.len()) }
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

/// A line of `windrow config check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckRow {
    pub name: String,
    /// The place in `windrow.toml`.
    pub path: String,
    /// `(hidden)` for a secret; none when it is not set.
    pub value: Option<String>,
    /// `default`, `environment`, `environment as NAME`, the file's path, `command line`, or `not set`.
    pub source: String,
    /// Who usually sets it.
    pub set_by: &'static str,
    pub format: String,
    /// When it must be set.
    pub required: &'static str,
    /// Whether it must be set and isn't.
    pub missing: bool,
}

/// Everything that `windrow config check` shows.
#[derive(Clone, Debug)]
pub struct CheckReport {
    pub rows: Vec<CheckRow>,
    pub problems: Vec<Problem>,
}

/// Reads all settings and says what stands where.
pub fn check(input: &Input) -> CheckReport {
    let (rows, outcome) = evaluate(input);
    CheckReport { rows, problems: outcome.err().unwrap_or_default() }
}

impl Config {
    /// Reads all settings.
    ///
    /// # Errors
    /// Every missing, malformed, unknown and contradictory setting, at once.
    pub fn load(input: &Input) -> Result<Self, ConfigError> {
        evaluate(input).1.map_err(ConfigError)
    }
}

/// A dotted place with the user's own names in it, which may hold dots themselves.
pub(crate) type Segments = Vec<String>;

/// A value that was found for a setting, before it is read.
pub(crate) struct Found {
    pub(crate) raw: Owned,
    pub(crate) source: String,
}

pub(crate) enum Owned {
    Text(String),
    Toml(toml::Value),
}

impl Owned {
    pub(crate) fn raw(&self) -> Raw<'_> {
        match self {
            Self::Text(text) => Raw::Text(text),
            Self::Toml(value) => Raw::Toml(value),
        }
    }
}

struct Evaluation {
    tree: Value,
    rows: Vec<CheckRow>,
    problems: Vec<Problem>,
}

fn evaluate(input: &Input) -> (Vec<CheckRow>, Result<Config, Vec<Problem>>) {
    let mut problems = unknown_names(input);
    problems.extend(input.not_unicode.iter().map(|name| {
        Problem::new(name, "its value, or its name, is no UTF-8 text; set it anew, or unset it")
    }));
    let mut in_file = read_file(input, &mut problems);
    in_file.retain(|_, (setting, _)| !input.embedded || concerns_embedded(setting.path));
    let mut all = Evaluation { tree: Value::Object(serde_json::Map::new()), rows: Vec::new(), problems };

    for setting in CONTRACT.iter().filter(|setting| !setting.path.contains('*')) {
        let segments: Segments = setting.path.split('.').map(str::to_owned).collect();
        let from_file = in_file.remove(&segments).map(|(_, found)| found);
        let (found, clash) = aliases::find(setting, input);
        all.problems.extend(clash);
        all.take(setting, &segments, found.or(from_file).as_ref());
    }
    // What is left stands under names of the user's own.
    for (segments, (setting, found)) in in_file {
        all.take(setting, &segments, Some(&found));
    }
    let Evaluation { tree, rows, mut problems } = all;
    let config = serde_path_to_error::deserialize::<_, Config>(tree).map_err(|error| {
        let path = error.path().to_string();
        Problem::new(path, error.into_inner().to_string())
    });
    match config {
        Ok(config) => {
            problems.extend(validate(&config));
            (rows, if problems.is_empty() { Ok(config) } else { Err(problems) })
        }
        Err(problem) => {
            // After another problem a section may lack a value for that reason alone.
            if problems.is_empty() || !problem.message.starts_with("missing field") {
                problems.push(problem);
            }
            (rows, Err(problems))
        }
    }
}

impl Evaluation {
    /// Reads one setting's value into the tree and makes its row.
    fn take(&mut self, setting: &'static Setting, segments: &[String], found: Option<&Found>) {
        let name = setting.env.map_or_else(|| show(segments), str::to_owned);
        let source = found.map(|found| found.source.clone());
        let shown = found.map(|found| found.raw.raw().shown());
        if let Some(value) = self.read(setting, &name, found) {
            insert(&mut self.tree, segments, value);
        }
        let missing = shown.is_none() && self.is_missing(setting, &name);
        let value = shown.or_else(|| setting.default.map(str::to_owned));
        let hidden = |text: String| if setting.secret { "(hidden)".to_owned() } else { text };
        let unset = if setting.default.is_some() { "default" } else { "not set" };
        self.rows.push(CheckRow {
            name,
            path: show(segments),
            value: value.map(hidden),
            source: source.unwrap_or_else(|| unset.to_owned()),
            set_by: setting.set_by.as_str(),
            format: setting.kind.format(),
            required: setting.required.as_str(),
            missing,
        });
    }

    /// The value, or the default after a problem, so that what depends on it is checked too.
    fn read(&mut self, setting: &Setting, name: &str, found: Option<&Found>) -> Option<Value> {
        let default = || {
            setting.default.map(|text| {
                parse(setting.kind, &Raw::Text(text)).expect("a test reads every default of the contract")
            })
        };
        let Some(found) = found else { return default() };
        let raw = found.raw.raw();
        let shown = raw.shown();
        if shown.contains("CHANGE_ME") {
            let message = "it still has the example's placeholder CHANGE_ME; set the real value";
            self.problems.push(Problem::new(name, message));
            return default();
        }
        let meant = setting.synonyms.iter().find(|(synonym, _)| *synonym == shown).map(|(_, meant)| *meant);
        match parse(setting.kind, &meant.map_or(raw, Raw::Text)) {
            Ok(value) => Some(value),
            Err(message) => {
                let message = if setting.secret {
                    format!("its value (hidden) is malformed; expected {}", setting.kind.format())
                } else {
                    format!("{message}{}", not_in_this_version(setting.kind, &shown))
                };
                self.problems.push(Problem::new(name, format!("{message} (from {})", found.source)));
                default()
            }
        }
    }

    /// Whether it must be set here. Cases that depend on other settings are validation's.
    fn is_missing(&mut self, setting: &Setting, name: &str) -> bool {
        let deployed = self.tree.get("app_env").is_some_and(|app_env| app_env != "local");
        if setting.required != Required::Deployed || !deployed {
            return false;
        }
        let format = setting.kind.format();
        self.problems.push(Problem::new(
            name,
            format!("it must be set {}; expected {format}", setting.required.as_str()),
        ));
        true
    }
}

/// Values that the contract of other versions has: better than a bare "is no value of it".
fn not_in_this_version(kind: Kind, value: &str) -> &'static str {
    match (kind, value) {
        (Kind::OneOf(_), "s3" | "azure" | "sqs" | "bedrock") => ". This version does not have it yet",
        _ => "",
    }
}

fn unknown_names(input: &Input) -> Vec<Problem> {
    let known: Vec<&str> = CONTRACT
        .iter()
        .flat_map(|setting| setting.env.into_iter().chain(setting.aliases.iter().map(|alias| alias.name)))
        .collect();
    let in_env = input.env.keys().map(String::as_str).filter(|name| has_our_prefix(name));
    let in_flags = input.flags.iter().map(|(name, _)| *name);
    let unknown = in_env.chain(in_flags).filter(|name| !known.contains(name));
    unknown
        .map(|name| Problem::new(name, format!("there is no such setting{}", did_you_mean(name, &known))))
        .collect()
}

fn did_you_mean(name: &str, known: &[&str]) -> String {
    nearest(name, known.iter().copied()).map_or_else(
        || "; docs/configuration.md lists them all".to_owned(),
        |near| format!("; did you mean {near}?"),
    )
}

type FromFile = BTreeMap<Segments, (&'static Setting, Found)>;

fn read_file(input: &Input, problems: &mut Vec<Problem>) -> FromFile {
    let named = || input.env.get("WINDROW_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
    let Some(path) = input.file.clone().or_else(named) else { return FromFile::new() };
    let place = path.display().to_string();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            problems.push(Problem::new(place, format!("the settings file can't be read: {error}")));
            return FromFile::new();
        }
    };
    match text.parse::<toml::Table>() {
        Ok(table) => {
            let mut found = FromFile::new();
            walk(&place, &mut Vec::new(), table, &mut found, problems);
            found
        }
        Err(error) => {
            problems.push(Problem::new(
                place,
                format!("it is no valid TOML: {}", without_the_line(&text, &error)),
            ));
            FromFile::new()
        }
    }
}

/// What is wrong with a file and where, but not its text: an error's own text shows the line, and secrets stand in lines.
fn without_the_line(text: &str, error: &toml::de::Error) -> String {
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else {
        return error.message().to_owned();
    };
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    format!("{} (line {line}, column {column})", error.message())
}

/// Sorts what the file holds to the contract's settings; what belongs to none is a problem.
fn walk(
    place: &str,
    above: &mut Segments,
    table: toml::Table,
    found: &mut FromFile,
    problems: &mut Vec<Problem>,
) {
    for (key, value) in table {
        above.push(key);
        let exact = CONTRACT.iter().find(|setting| setting.path == above.join("."));
        let setting = exact.or_else(|| CONTRACT.iter().find(|setting| matches(setting.path, above, true)));
        let is_section = CONTRACT.iter().any(|setting| matches(setting.path, above, false));
        match (setting, value) {
            (Some(setting), value) => {
                let found_here = Found { raw: Owned::Toml(value), source: place.to_owned() };
                found.insert(above.clone(), (setting, found_here));
            }
            (None, toml::Value::Table(inner)) if is_section => walk(place, above, inner, found, problems),
            (None, _) if is_section => {
                let message = format!("in {place}: expected a section, [{}]", show(above));
                problems.push(Problem::new(show(above), message));
            }
            (None, _) => problems.push(unknown_key(place, above)),
        }
        above.pop();
    }
}

/// Whether a pattern of the contract names this place (`whole`), or one inside it.
fn matches(pattern: &str, place: &[String], whole: bool) -> bool {
    let pattern: Vec<&str> = pattern.split('.').collect();
    let long_enough = if whole { pattern.len() == place.len() } else { pattern.len() > place.len() };
    long_enough && pattern.iter().zip(place).all(|(part, name)| *part == "*" || part == name)
}

fn unknown_key(place: &str, segments: &[String]) -> Problem {
    let (key, above) = segments.split_last().expect("a key has a name");
    let siblings: Vec<&str> = CONTRACT
        .iter()
        .filter(|setting| matches(setting.path, above, false))
        .filter_map(|setting| setting.path.split('.').nth(above.len()))
        .filter(|name| *name != "*")
        .collect();
    let message = format!("in {place}: there is no such key{}", did_you_mean(key, &siblings));
    Problem::new(show(segments), message)
}

fn show(segments: &[String]) -> String {
    let quoted = segments.iter().map(|segment| {
        let bare = segment.chars().all(|c| c.is_ascii_alphanumeric() || "_-*".contains(c));
        if bare { segment.clone() } else { format!("{segment:?}") }
    });
    quoted.collect::<Vec<_>>().join(".")
}

fn insert(tree: &mut Value, segments: &[String], value: Value) {
    let Some((name, inner)) = segments.split_first() else {
        *tree = value;
        return;
    };
    let table = tree.as_object_mut().expect("a place in the contract is a section or a setting, never both");
    insert(table.entry(name.clone()).or_insert_with(|| Value::Object(serde_json::Map::new())), inner, value);
}
