//! The store on a real directory, and the links that it signs.
#![allow(clippy::unwrap_used)]

mod links;
mod objects;

use std::sync::Arc;

use windrow_blob::{
    BlobSettings, BlobStore, InstallationSalt, LocalSettings, ObjectKey, OwnerHash, Prefix, SigningKey,
};
use windrow_core::{OwnerId, TestClock};

const SALT: InstallationSalt = InstallationSalt::from_bytes([7; 32]);

struct Fixture {
    directory: tempfile::TempDir,
    clock: Arc<TestClock>,
    store: BlobStore,
}

fn settings(directory: &tempfile::TempDir, salt: InstallationSalt, key: SigningKey) -> BlobSettings {
    BlobSettings::Local(LocalSettings {
        root: directory.path().join("objects"),
        public_url: "https://windrow.example/base/".parse().unwrap(),
        signing_key: key,
        salt,
    })
}

fn fixture() -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let clock = TestClock::shared();
    let settings = settings(&directory, SALT, SigningKey::derive(b"secret"));
    let store = BlobStore::open(settings, clock.clone()).unwrap();
    Fixture { directory, clock, store }
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::owned(Prefix::Outputs, OwnerHash::new(OwnerId(1), &SALT), &[name]).unwrap()
}
