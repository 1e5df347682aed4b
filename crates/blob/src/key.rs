//! Where objects stand: `{prefix}/{owner hash}/{job}/…`, or `{prefix}/…` for what belongs to the installation.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use windrow_core::{JobId, OwnerId};

use crate::installation::InstallationSalt;

/// The longest segment, in bytes: a file name may have 255, and the local disk adds up to 12 for staging and sidecars.
pub const MAX_SEGMENT: usize = 200;
/// The longest key, in bytes. S3 and Azure allow 1,024; the local disk needs room for its root.
pub const MAX_KEY: usize = 800;

/// Why a text is no object key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("an object key must not be empty, nor any segment of it")]
    Empty,
    #[error("an object key must not begin with a slash")]
    Absolute,
    #[error("an object key must not contain the segment {0:?}")]
    Traversal(String),
    #[error("a segment of an object key must not begin with a dot: {0:?}")]
    Hidden(String),
    #[error(
        "a segment of an object key may hold ASCII letters, digits and any of . _ - = + @ , only; \
         {segment:?} has {character:?}"
    )]
    Character { segment: String, character: char },
    #[error("{what} of an object key has {length} bytes; the most is {max}")]
    TooLong { what: &'static str, length: usize, max: usize },
    #[error("{0:?} is no storage prefix")]
    UnknownPrefix(String),
    #[error(
        "objects under {0}/ belong to an owner: the second segment must be an owner hash of 32 hexadecimal digits"
    )]
    NoOwner(Prefix),
    #[error("objects under {0}/ belong to the installation, not to an owner")]
    Shared(Prefix),
    #[error("the key names a folder, not an object: it needs a name after its prefix and owner")]
    NoName,
}

macro_rules! prefixes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, shared: $shared:literal;)*) => {
        /// The first segment of every key: what the object is for.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Prefix { $($(#[$doc])* $name,)* }

        impl Prefix {
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Whether its objects belong to the installation and not to an owner.
            pub const fn is_shared(self) -> bool {
                match self { $(Self::$name => $shared,)* }
            }
        }
    };
}

prefixes! {
    /// Seed files that users put.
    SeedData = "seed-data", shared: false;
    /// Bundled datasets that everybody may read.
    SampleDatasets = "sample-datasets", shared: true;
    /// Other files that users put.
    Uploads = "uploads", shared: false;
    /// Parts and files that a job writes on its way.
    Outputs = "outputs", shared: false;
    /// What a user downloads, by version.
    Artifacts = "artifacts", shared: false;
    /// What a run saved for the next.
    Checkpoints = "checkpoints", shared: false;
    /// Images and documents that others are compared with.
    Baseline = "baseline", shared: false;
    /// Images and documents that a model made.
    Generated = "generated", shared: false;
    /// Catalogues that come with a workload.
    Reference = "reference", shared: true;
    /// Backups of the installation, dated.
    Backups = "backups", shared: true;
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Prefix {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().find(|prefix| prefix.as_str() == text);
        found.copied().ok_or_else(|| KeyError::UnknownPrefix(text.to_owned()))
    }
}

/// The owner in a key: the first 16 bytes of SHA-256 over the installation's salt and the owner's id, in hexadecimal.
/// A link thus shows neither who the owner is nor how many owners there are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerHash([u8; 16]);

impl OwnerHash {
    pub fn new(owner: OwnerId, salt: &InstallationSalt) -> Self {
        let digest = Sha256::new()
            .chain_update(b"windrow owner\0")
            .chain_update(salt.as_bytes())
            .chain_update(owner.0.to_be_bytes())
            .finalize();
        let mut hash = [0; 16];
        hash.copy_from_slice(&digest[..16]);
        Self(hash)
    }
}

impl fmt::Display for OwnerHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for OwnerHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for OwnerHash {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Only the form that Display writes: two keys must never name one owner.
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(hex::FromHexError::InvalidStringLength);
        }
        let mut hash = [0; 16];
        hex::decode_to_slice(text, &mut hash)?;
        Ok(Self(hash))
    }
}

/// A folder of keys, to list or to build keys in.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectPrefix {
    path: String,
    prefix: Prefix,
    owner: Option<OwnerHash>,
}

impl ObjectPrefix {
    /// Everything under a prefix, of all owners: for sweeping and backups.
    pub fn all(prefix: Prefix) -> Self {
        Self { path: prefix.as_str().to_owned(), prefix, owner: None }
    }

    /// What one owner has under a prefix.
    ///
    /// # Errors
    /// [`KeyError::Shared`] when objects under the prefix belong to nobody.
    pub fn owned(prefix: Prefix, owner: OwnerHash) -> Result<Self, KeyError> {
        if prefix.is_shared() {
            return Err(KeyError::Shared(prefix));
        }
        Ok(Self { path: format!("{prefix}/{owner}"), prefix, owner: Some(owner) })
    }

    /// What one job has under a prefix.
    ///
    /// # Errors
    /// [`KeyError::Shared`] when objects under the prefix belong to nobody.
    pub fn of_job(prefix: Prefix, owner: OwnerHash, job: JobId) -> Result<Self, KeyError> {
        Self::owned(prefix, owner)?.folder(&job.to_string())
    }

    /// A folder inside this one.
    ///
    /// # Errors
    /// Says what is wrong with the segment.
    pub fn folder(mut self, segment: &str) -> Result<Self, KeyError> {
        if self.owner.is_none() && !self.prefix.is_shared() {
            return Err(KeyError::NoOwner(self.prefix));
        }
        push(&mut self.path, segment)?;
        Ok(self)
    }

    /// The object of this name in this folder.
    ///
    /// # Errors
    /// Says what is wrong with the name.
    pub fn key(&self, name: &str) -> Result<ObjectKey, KeyError> {
        let Self { path, prefix, owner } = self.clone().folder(name)?;
        Ok(ObjectKey { path, prefix, owner })
    }

    pub fn as_str(&self) -> &str {
        &self.path
    }
}

impl fmt::Debug for ObjectPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.path)
    }
}

/// The name of one object. Whoever holds one knows that it is safe in a path, in a URL and in every kind of storage.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    path: String,
    prefix: Prefix,
    owner: Option<OwnerHash>,
}

impl ObjectKey {
    /// `{prefix}/{owner}/{segments…}`.
    ///
    /// # Errors
    /// Says which segment is wrong, or that the prefix is a shared one.
    pub fn owned(prefix: Prefix, owner: OwnerHash, segments: &[&str]) -> Result<Self, KeyError> {
        Self::build(ObjectPrefix::owned(prefix, owner)?, segments)
    }

    /// `{prefix}/{owner}/{job}/{segments…}`.
    ///
    /// # Errors
    /// Says which segment is wrong, or that the prefix is a shared one.
    pub fn of_job(prefix: Prefix, owner: OwnerHash, job: JobId, segments: &[&str]) -> Result<Self, KeyError> {
        Self::build(ObjectPrefix::of_job(prefix, owner, job)?, segments)
    }

    /// `{prefix}/{segments…}`, for what belongs to the installation.
    ///
    /// # Errors
    /// Says which segment is wrong, or that objects under the prefix need an owner.
    pub fn shared(prefix: Prefix, segments: &[&str]) -> Result<Self, KeyError> {
        if !prefix.is_shared() {
            return Err(KeyError::NoOwner(prefix));
        }
        Self::build(ObjectPrefix::all(prefix), segments)
    }

    fn build(mut folder: ObjectPrefix, segments: &[&str]) -> Result<Self, KeyError> {
        let (name, folders) = segments.split_last().ok_or(KeyError::NoName)?;
        for segment in folders {
            folder = folder.folder(segment)?;
        }
        folder.key(name)
    }

    pub fn as_str(&self) -> &str {
        &self.path
    }

    pub const fn prefix(&self) -> Prefix {
        self.prefix
    }

    /// Whose it is; none for what belongs to the installation.
    pub const fn owner(&self) -> Option<OwnerHash> {
        self.owner
    }

    /// The last segment.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    pub(crate) fn to_path(&self) -> object_store::path::Path {
        object_store::path::Path::parse(&self.path).expect("a key's segments are stricter than a path's")
    }
}

impl FromStr for ObjectKey {
    type Err = KeyError;

    /// Reads a key as [`ObjectKey::as_str`] gives it, from a row or a URL.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(KeyError::Empty);
        }
        if text.starts_with('/') {
            return Err(KeyError::Absolute);
        }
        if text.len() > MAX_KEY {
            return Err(KeyError::TooLong { what: "the text", length: text.len(), max: MAX_KEY });
        }
        let segments: Vec<&str> = text.split('/').collect();
        let (first, rest) = segments.split_first().ok_or(KeyError::Empty)?;
        // The segments first: a `..` is named as such wherever it stands.
        segments.iter().try_for_each(|segment| check_segment(segment))?;
        let prefix: Prefix = first.parse()?;
        if prefix.is_shared() {
            return Self::shared(prefix, rest);
        }
        let (owner, rest) = rest.split_first().ok_or(KeyError::NoOwner(prefix))?;
        let owner = owner.parse().map_err(|_| KeyError::NoOwner(prefix))?;
        Self::owned(prefix, owner, rest)
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}

fn push(path: &mut String, segment: &str) -> Result<(), KeyError> {
    check_segment(segment)?;
    path.push('/');
    path.push_str(segment);
    if path.len() > MAX_KEY {
        return Err(KeyError::TooLong { what: "the text", length: path.len(), max: MAX_KEY });
    }
    Ok(())
}

fn check_segment(segment: &str) -> Result<(), KeyError> {
    if segment.is_empty() {
        return Err(KeyError::Empty);
    }
    if segment == "." || segment == ".." {
        return Err(KeyError::Traversal(segment.to_owned()));
    }
    if segment.len() > MAX_SEGMENT {
        return Err(KeyError::TooLong { what: "a segment", length: segment.len(), max: MAX_SEGMENT });
    }
    if segment.starts_with('.') {
        return Err(KeyError::Hidden(segment.to_owned()));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-=+@,".contains(c);
    match segment.chars().find(|c| !allowed(*c)) {
        Some(character) => Err(KeyError::Character { segment: segment.to_owned(), character }),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;
