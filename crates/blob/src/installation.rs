//! The two secrets of an installation that storage needs. Both are made and kept by the composition root.

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

/// Separates the owner hashes of one installation from those of another. Kept for the installation's life: with a
/// new salt, new objects of the same owner stand under another hash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct InstallationSalt([u8; 32]);

impl InstallationSalt {
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// 32 hexadecimal digits that name the installation and do not give the salt away.
    pub fn installation_id(&self) -> String {
        let digest = Sha256::new().chain_update(b"windrow installation\0").chain_update(self.0).finalize();
        hex::encode(&digest[..16])
    }
}

impl fmt::Debug for InstallationSalt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InstallationSalt(of {})", self.installation_id())
    }
}

/// What signs the links under `/blobs/`. Every process of an installation must hold the same; links die with it.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey([u8; 32]);

impl SigningKey {
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A key of its own from a secret that serves other purposes too.
    pub fn derive(secret: &[u8]) -> Self {
        let mac = mac(secret).chain_update(b"windrow blob links v1");
        Self(mac.finalize().into_bytes().into())
    }

    pub(crate) fn mac(&self) -> Hmac<Sha256> {
        mac(&self.0)
    }
}

fn mac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(hidden)")
    }
}
