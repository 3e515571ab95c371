//! Tokens. They are never shown, and kept only as a header that is marked as sensitive.

use std::{env, fs};

use anyhow::{Context as _, Result, ensure};
use axum::http::HeaderValue;

use crate::config::Secret;

/// Longest token, bytes.
const LONGEST: usize = 4096;

/// The value of an `Authorization` header.
pub(super) fn bearer(secret: &Secret) -> Result<HeaderValue> {
    let (token, whence) = match secret {
        Secret::File(path) => {
            let read = fs::read_to_string(path);
            (
                read.with_context(|| format!("can't read the token in {}", path.display()))?,
                path.display().to_string(),
            )
        }
        Secret::Env(name) => {
            let value = env::var(name).ok();
            (value.with_context(|| format!("the environment has no {name} for `token_env`"))?, name.clone())
        }
    };
    let token = token.trim();
    ensure!(!token.is_empty(), "the token in {whence} is empty");
    ensure!(token.len() <= LONGEST, "the token in {whence} is longer than {LONGEST} bytes");
    // The error of a wrong value must not quote it.
    let value = HeaderValue::from_str(&format!("Bearer {token}")).ok();
    let mut value =
        value.with_context(|| format!("the token in {whence} has characters that a header can't have"))?;
    value.set_sensitive(true);
    Ok(value)
}
