//! Files that a command names: a template with the fragments it includes, and seed data.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use windrow_core::FieldError;
use windrow_plugin::{CommandError, ExitCode};

use crate::samples;
use crate::spec::TemplateRef;
use crate::template::{CompiledTemplate, Fragments, MAX_CHARS, TemplateDocument, analyse};

/// The largest version of a fragment that a local file stands for.
pub(super) const MAX_FRAGMENT_VERSION: u32 = 100;

/// A template that can be run, with all that it includes.
pub(super) struct LocalTemplate {
    pub(super) text: String,
    pub(super) compiled: CompiledTemplate,
    /// In the order in which they were found: whoever is included comes later than who includes it.
    pub(super) fragments: Vec<LocalFragment>,
}

/// A file that stands for a fragment.
#[derive(Clone, Debug)]
pub(super) struct LocalFragment {
    pub(super) name: String,
    /// The highest version that an include names; 1 when none does.
    pub(super) version: u32,
    /// The document.
    pub(super) text: String,
    body: String,
}

/// A fault in a file that the user named: as a wrong argument.
pub(super) fn file_fault(path: &Path, fault: impl std::fmt::Display) -> CommandError {
    CommandError::new(ExitCode::Usage, anyhow::Error::msg(format!("{}: {fault}", path.display())))
}

fn faults(path: &Path, errors: &[FieldError]) -> CommandError {
    let lines: Vec<String> = errors.iter().map(|error| format!("\n  {error}")).collect();
    file_fault(path, format!("the template is not valid{}", lines.concat()))
}

/// Reads a small text file.
pub(super) fn read_text(path: &Path) -> Result<String, CommandError> {
    // four bytes a character, and a byte more to see that there is too much
    let most = 4 * MAX_CHARS as u64 + 1;
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes));
    read.map_err(|error| file_fault(path, error))?;
    if bytes.len() as u64 == most {
        return Err(file_fault(
            path,
            format!("is larger than {most} bytes; a template has at most {MAX_CHARS} characters"),
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid].iter().filter(|b| **b == b'\n').count() + 1;
        file_fault(path, format!("line {line}: the file is not UTF-8"))
    })
}

impl LocalTemplate {
    /// Reads a template and finds what it includes: among `includes`, then among the files beside it.
    ///
    /// # Errors
    /// Everything that keeps it from running.
    pub(super) fn read(path: &Path, includes: &[PathBuf]) -> Result<Self, CommandError> {
        let text = read_text(path)?;
        let document = TemplateDocument::parse(&text).map_err(|errors| faults(path, &errors))?;
        let mut known: Vec<LocalFragment> =
            includes.iter().map(|file| named_fragment(file)).collect::<Result<_, _>>()?;
        let mut looked_beside = false;
        let mut fragments = Fragments::new();
        let mut used: Vec<LocalFragment> = Vec::new();
        loop {
            let analysis = analyse(&document, &fragments);
            let missing: Vec<String> = analysis
                .includes
                .into_iter()
                .filter(|include| include.missing)
                .map(|include| include.name)
                .collect();
            if !missing.is_empty() && !looked_beside {
                looked_beside = true;
                known.extend(fragments_beside(path));
            }
            let found = missing.iter().filter_map(|name| Some((name, lookup(&known, name)?)));
            let found: Vec<(String, LocalFragment)> =
                found.map(|(name, fragment)| (name.clone(), fragment)).collect();
            if found.is_empty() {
                break;
            }
            for (include, fragment) in found {
                fragments.insert(include, fragment.body.clone());
                match used.iter_mut().find(|other| other.name == fragment.name) {
                    Some(other) => other.version = other.version.max(fragment.version),
                    None => used.push(fragment),
                }
            }
        }
        let compiled =
            CompiledTemplate::compile(document, &fragments).map_err(|errors| faults(path, &errors))?;
        Ok(Self { text, compiled, fragments: used })
    }

    /// Of all its texts.
    pub(super) fn hash(&self, into: &mut Sha256) {
        let texts = std::iter::once(&self.text).chain(self.fragments.iter().map(|fragment| &fragment.text));
        for text in texts {
            into.update(Sha256::digest(text));
        }
    }
}

/// The fragment that an include means; a file stands for every version.
fn lookup(known: &[LocalFragment], include: &str) -> Option<LocalFragment> {
    let reference: TemplateRef = include.parse().ok()?;
    let fragment = known.iter().find(|fragment| fragment.name == reference.id)?;
    let version = reference.version.unwrap_or(1);
    (version <= MAX_FRAGMENT_VERSION).then(|| LocalFragment { version, ..fragment.clone() })
}

fn named_fragment(path: &Path) -> Result<LocalFragment, CommandError> {
    let text = read_text(path)?;
    let document = TemplateDocument::parse(&text).map_err(|errors| faults(path, &errors))?;
    let fragment =
        document.fragment.ok_or_else(|| file_fault(path, "has steps, and no fragment to include"))?;
    Ok(LocalFragment { name: document.name, version: 1, text, body: fragment })
}

/// Whatever beside the template is a fragment; other files are nobody's business.
fn fragments_beside(path: &Path) -> Vec<LocalFragment> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    let is_document = |file: &PathBuf| {
        let extension = file.extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("yaml" | "yml" | "json"))
    };
    files.iter().filter(|file| is_document(file)).filter_map(|file| named_fragment(file).ok()).collect()
}

/// Seed data that a command names.
#[derive(Clone, Debug)]
pub(super) enum LocalSeed {
    File(PathBuf),
    Sample(String),
}

impl LocalSeed {
    /// # Errors
    /// When there is no such file or sample.
    pub(super) fn find(text: &str) -> Result<Self, CommandError> {
        if let Some(name) = text.strip_prefix("sample:") {
            if samples::key(name).is_none() {
                let known: Vec<&str> = samples::ALL.iter().map(|sample| sample.name).collect();
                let message = format!("there is no sample named {name}; there are {}", known.join(", "));
                return Err(CommandError::usage(message));
            }
            return Ok(Self::Sample(name.to_owned()));
        }
        let path = PathBuf::from(text);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => Ok(Self::File(path)),
            Ok(_) => Err(file_fault(&path, "is no file")),
            Err(error) => Err(file_fault(&path, error)),
        }
    }

    /// # Errors
    /// When the file can't be opened.
    pub(super) fn open(&self) -> Result<Box<dyn Read + Send>, CommandError> {
        match self {
            Self::Sample(name) => {
                let sample = samples::ALL.iter().find(|sample| sample.name == name);
                Ok(Box::new(sample.map_or(&b""[..], |sample| sample.bytes)))
            }
            Self::File(path) => {
                let file = File::open(path).map_err(|error| file_fault(path, error))?;
                Ok(Box::new(std::io::BufReader::with_capacity(1 << 20, file)))
            }
        }
    }

    /// SHA-256 of its bytes, streamed.
    ///
    /// # Errors
    /// When the file can't be read.
    pub(super) fn sha256(&self) -> Result<[u8; 32], CommandError> {
        let mut hash = Sha256::new();
        std::io::copy(&mut self.open()?, &mut hash)?;
        Ok(hash.finalize().into())
    }
}

/// The media type that a file's name speaks of; the server looks at the bytes.
pub(super) fn content_type(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()).unwrap_or_default() {
        "jsonl" | "ndjson" => "application/x-ndjson",
        "json" => "application/json",
        "csv" => "text/csv",
        "gz" => "application/gzip",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    const TEMPLATE: &str =
        "template:\n  name: t\n  steps:\n    - {id: a, prompt: \"{% include 'style@3' %} {{ x }}\"}\n";

    #[test]
    fn fragments_beside_the_template_are_found_with_what_they_include() {
        let folder = folder(&[
            ("t.yaml", TEMPLATE),
            ("style.yaml", "template:\n  name: style\n  fragment: \"Short. {% include 'tone' %}\"\n"),
            ("tone.json", r#"{"template": {"name": "tone", "fragment": "Kind."}}"#),
            ("broken.yaml", "::: no template"),
        ]);
        let template = LocalTemplate::read(&folder.path().join("t.yaml"), &[]).ok().unwrap();
        let found: Vec<(&str, u32)> =
            template.fragments.iter().map(|fragment| (fragment.name.as_str(), fragment.version)).collect();
        assert_eq!(found, [("style", 3), ("tone", 1)]);
    }

    #[test]
    fn a_named_fragment_comes_first_and_a_missing_one_is_named() {
        let folder = folder(&[("t.yaml", TEMPLATE)]);
        let path = folder.path().join("t.yaml");
        let error = LocalTemplate::read(&path, &[]).err().unwrap();
        assert_eq!(error.code, ExitCode::Usage);
        assert!(error.error.to_string().contains("style@3"), "{}", error.error);
        let elsewhere = self::folder(&[("s.yaml", "template:\n  name: style\n  fragment: Long.\n")]);
        let template = LocalTemplate::read(&path, &[elsewhere.path().join("s.yaml")]).ok().unwrap();
        assert_eq!(template.fragments[0].body, "Long.");
    }

    #[test]
    fn what_is_no_text_is_refused_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.yaml");
        fs::write(&path, b"template:\n  name: \xff\n").unwrap();
        let error = LocalTemplate::read(&path, &[]).err().unwrap();
        assert!(error.error.to_string().contains("line 2"), "{}", error.error);
    }
}
