//! Names and passwords.

use std::{
    collections::{BTreeMap, HashSet},
    str::FromStr as _,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result, bail};
use axum::http::{HeaderMap, header};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bcrypt::HashParts;
use sha2::{Digest as _, Sha256};
use tokio::{sync::Semaphore, task};

/// So many users may be named.
const MAX_USERS: usize = 256;
/// A password takes twice as long to check with each step; beyond this one an answer takes seconds.
const MAX_COST: u32 = 14;
/// Passwords that are checked at one time: one takes a core for a tenth of a second.
const CHECKS: usize = 1;
/// Scrapers that were right are known, so that a scrape each few seconds costs nothing.
const KNOWN: usize = 256;

/// Who may ask. Empty: everybody.
pub struct Users {
    /// Names and hashes.
    hashes: BTreeMap<String, String>,
    /// Checked for who isn't there, so that a name can't be found out by how long an answer takes.
    nobody: String,
    checks: Semaphore,
    /// Digests of names and passwords that were right, with `secret`.
    known: Mutex<HashSet<[u8; 32]>>,
    secret: [u8; 32],
}

/// Somebody who may not ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denied;

impl Users {
    /// From names and bcrypt hashes.
    ///
    /// # Errors
    /// When one is no such hash.
    pub fn new(hashes: BTreeMap<String, String>) -> Result<Self> {
        if hashes.len() > MAX_USERS {
            bail!("`basic_auth_users` has more than {MAX_USERS} users");
        }
        let mut cost = 4;
        for (name, hash) in &hashes {
            // The hash is not shown: it is a secret.
            let parts = HashParts::from_str(hash).ok().with_context(|| {
                format!("`basic_auth_users`: what {name:?} has is no bcrypt hash (`htpasswd -nB {name}` makes one)")
            })?;
            if parts.get_cost() > MAX_COST {
                bail!("`basic_auth_users`: the hash of {name:?} has a cost of more than {MAX_COST}");
            }
            cost = cost.max(parts.get_cost());
        }
        let mut secret = [0; 32];
        rustix::rand::getrandom(&mut secret, rustix::rand::GetRandomFlags::empty())
            .context("can't get random numbers from the kernel")?;
        let nobody = if hashes.is_empty() {
            String::new()
        } else {
            bcrypt::hash(secret, cost).context("can't compute a bcrypt hash")?
        };
        Ok(Self { hashes, nobody, checks: Semaphore::new(CHECKS), known: Mutex::default(), secret })
    }

    /// Whether a request with these headers may be answered.
    ///
    /// # Errors
    /// If not.
    pub async fn admit(self: Arc<Self>, headers: &HeaderMap) -> Result<(), Denied> {
        if self.hashes.is_empty() {
            return Ok(());
        }
        let (name, password) = credentials(headers).ok_or(Denied)?;
        let digest: [u8; 32] = Sha256::new()
            .chain_update(self.secret)
            .chain_update((name.len() as u64).to_le_bytes())
            .chain_update(&name)
            .chain_update(&password)
            .finalize()
            .into();
        if self.known().contains(&digest) {
            return Ok(());
        }
        let Ok(_permit) = self.checks.acquire().await else { return Err(Denied) };
        let hash = self.hashes.get(&name);
        let (known, hash) = (hash.is_some(), hash.unwrap_or(&self.nobody).clone());
        let right = task::spawn_blocking(move || bcrypt::verify(password, &hash).unwrap_or(false)).await;
        if !known || !right.unwrap_or(false) {
            return Err(Denied);
        }
        let mut right = self.known();
        // bcrypt looks at 72 bytes, so there may be more right ones than users.
        if right.len() < KNOWN {
            right.insert(digest);
        }
        Ok(())
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashSet<[u8; 32]>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Name and password of a request (RFC 7617).
fn credentials(headers: &HeaderMap) -> Option<(String, Vec<u8>)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let both = BASE64_STANDARD.decode(encoded.trim()).ok()?;
    let colon = both.iter().position(|byte| *byte == b':')?;
    let name = String::from_utf8(both[..colon].to_vec()).ok()?;
    Some((name, both[colon + 1..].to_vec()))
}
