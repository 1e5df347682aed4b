//! Objects: put, get, list and presign, over `object_store`.
//!
//! One [`BlobStore`] a process. Keys are typed ([`ObjectKey`]), errors are one stable enum ([`BlobError`]), transient
//! ones are retried here. Links that a browser may follow are signed ([`BlobStore::sign_get`], [`BlobStore::sign_put`])
//! and checked by [`BlobStore::verify`].
//!
//! This crate knows no database, no HTTP framework and no user: who may read or write what is decided by its callers
//! before they ask for a key or a link.
//!
//! # Local disk
//! Objects are files under one root, named by their key; written beside their place, fsynced, then renamed or linked
//! into it, so that an object is whole or absent after any crash; what a killed process left beside its place is for
//! [`BlobStore::sweep_unfinished`] to remove. `object_store` keeps no attributes for local files
//! (its `LocalFileSystem` answers `NotImplemented`), so those of an object that has any stand in a sidecar
//! `.meta/{key}.json`, which is written before the object and deleted after it: an object never lacks the attributes
//! that it was put with, and a sidecar without an object means nothing. Objects without attributes (checkpoints) cost
//! no second file.

mod attributes;
mod backend;
mod disposition;
mod error;
mod installation;
mod key;
mod retry;
mod sign;
mod sniff;
mod store;
mod unfinished;
mod writer;

pub use attributes::{ObjectAttributes, ObjectInfo, PutReceipt};
pub use backend::{BlobSettings, LocalSettings};
pub use disposition::{content_disposition, sanitise_file_name};
pub use error::{BlobError, BlobErrorClass};
pub use installation::{InstallationSalt, SigningKey};
pub use key::{KeyError, ObjectKey, ObjectPrefix, OwnerHash, Prefix};
pub use retry::count_from_zero;
pub use sign::{DownloadOptions, Grant, GrantError, PutGrant, SignedRequest, UploadOptions};
pub use sniff::{ContentKind, SNIFF_LEN, sniff};
pub use store::{BlobReader, BlobStore, ByteRange, ListedObject};
pub use writer::BlobWriter;
