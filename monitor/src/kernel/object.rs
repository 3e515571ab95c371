//! The kernel object that is inside of the agent's binary.

use anyhow::{Result, bail};
use sha2::{Digest as _, Sha256};

/// aya reads the object in place, which needs the alignment of its headers.
#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);

static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/monitor.bpf.o")));

/// The bytes of the object.
pub fn bytes() -> Result<&'static [u8]> {
    if OBJECT.0.is_empty() {
        bail!("this binary was built without its kernel programs; build it with `cargo xtask build`");
    }
    Ok(&OBJECT.0)
}

/// SHA-256 of the object in hexadecimal; of nothing, if it was built without.
#[must_use]
pub fn sha256() -> String {
    hex(&Sha256::digest(&OBJECT.0))
}

/// Bytes as lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
