//! The operating system's randomness, for secrets and for numbers that processes must not share.

use rand::TryRng as _;
use rand::rngs::SysRng;

/// # Panics
/// When the operating system has no randomness: nothing that needs a secret may go on then.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SysRng.try_fill_bytes(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

pub(crate) fn number() -> u64 {
    u64::from_le_bytes(bytes())
}
