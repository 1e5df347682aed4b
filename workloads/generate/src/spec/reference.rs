//! How a spec names a template and its seed data.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use windrow_core::UploadId;

/// A template, as a job or an include names it: `name`, `name@latest` or `name@3`; an id may stand for the name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TemplateRef {
    /// The name or the id.
    pub id: String,
    /// None for the latest one, which is resolved and pinned at submit.
    pub version: Option<u32>,
}

/// Where the seed records are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SeedRef {
    /// A stored upload of the owner.
    Upload(UploadId),
    /// A shared sample dataset, written `sample:NAME`.
    Sample(String),
    /// None: the job makes seed records. Stands in pinned specs as `none`; no user can submit it.
    None,
}

/// How [`SeedRef::None`] is written.
const NO_SEED: &str = "none";
/// The name of the template of jobs that make seed records; no user's template can have it, for want of a letter.
const NO_TEMPLATE: &str = "-";

impl TemplateRef {
    /// Of a job that makes seed records.
    pub fn none() -> Self {
        Self { id: NO_TEMPLATE.to_owned(), version: None }
    }

    pub fn is_none(&self) -> bool {
        self.id == NO_TEMPLATE
    }
}

impl SeedRef {
    /// Of a job that makes seed records.
    pub const fn none() -> Self {
        Self::None
    }

    pub fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// Why a text is not a reference.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    #[error("\"{0}\" is not a template: write name@version, such as poem-qa@3 or poem-qa@latest")]
    Template(String),
    #[error("\"{0}\" is not seed data: give the id of an upload, or sample:NAME")]
    Seed(String),
}

/// Whether a text can be the name of a template or a sample: lower-case letters, digits, `.`, `_`, `-`, beginning with
/// a letter or digit, at most 100 characters.
pub(crate) fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    first
        && text.len() <= 100
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'))
}

impl FromStr for TemplateRef {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ReferenceError::Template(text.to_owned());
        let (id, version) = match text.split_once('@') {
            None => (text, None),
            Some((id, "latest")) => (id, None),
            Some((id, version)) => {
                let version: u32 = version.parse().map_err(|_| error())?;
                (id, Some(version).filter(|v| *v > 0))
            }
        };
        let zeroth = text.contains('@') && version.is_none() && !text.ends_with("@latest");
        if !(is_name(id) || id == NO_TEMPLATE) || zeroth {
            return Err(error());
        }
        Ok(Self { id: id.to_owned(), version })
    }
}

impl fmt::Display for TemplateRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Some(version) => write!(f, "{}@{version}", self.id),
            None => write!(f, "{}@latest", self.id),
        }
    }
}

impl FromStr for SeedRef {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ReferenceError::Seed(text.to_owned());
        match text.strip_prefix("sample:") {
            Some(name) if is_name(name) => Ok(Self::Sample(name.to_owned())),
            Some(_) => Err(error()),
            None if text == NO_SEED => Ok(Self::None),
            None => text.parse().map(Self::Upload).map_err(|_| error()),
        }
    }
}

impl fmt::Display for SeedRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upload(id) => id.fmt(f),
            Self::Sample(name) => write!(f, "sample:{name}"),
            Self::None => f.write_str(NO_SEED),
        }
    }
}

macro_rules! as_text {
    ($($name:ty)*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}

as_text! { TemplateRef SeedRef }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates() {
        for (text, id, version) in [
            ("poem-qa@3", "poem-qa", Some(3)),
            ("poem-qa", "poem-qa", None),
            ("poem-qa@latest", "poem-qa", None),
            ("0199d0a8-5f6c-7000-8000-000000000001@1", "0199d0a8-5f6c-7000-8000-000000000001", Some(1)),
        ] {
            let parsed: TemplateRef = text.parse().unwrap();
            assert_eq!((parsed.id.as_str(), parsed.version), (id, version), "{text}");
            assert_eq!(parsed.to_string().parse::<TemplateRef>().unwrap(), parsed);
        }
        for text in ["", "@1", "a@", "a@0", "a@-1", "a@1@2", "A@1", "a b@1", "../a@1", "a@99999999999"] {
            assert!(text.parse::<TemplateRef>().is_err(), "{text}");
        }
    }

    #[test]
    fn seeds() {
        let id = "0199d0a8-5f6c-7000-8000-000000000001";
        assert!(matches!(id.parse().unwrap(), SeedRef::Upload(_)));
        assert_eq!("sample:poems".parse(), Ok(SeedRef::Sample("poems".to_owned())));
        for text in ["", "poems", "sample:", "sample:../x", "sample:a/b"] {
            assert!(text.parse::<SeedRef>().is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_reference_or_refused(text in ".{0,40}|[a-z0-9.-]{0,9}@(latest|[0-9]{0,12})|sample:[a-z0-9A-Z]{0,9}") {
            if let Ok(template) = text.parse::<TemplateRef>() {
                proptest::prop_assert_eq!(template.to_string().parse::<TemplateRef>(), Ok(template));
            }
            if let Ok(seed) = text.parse::<SeedRef>() {
                proptest::prop_assert_eq!(seed.to_string().parse::<SeedRef>(), Ok(seed));
            }
        }
    }
}
