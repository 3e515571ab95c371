//! Who may read `/metrics`, and over what: TLS and passwords, from a file in the format that Prometheus' own exporters read
//! (`--web.config.file`), so that what is deployed for these does for us.
//!
//! The file and what it names are read anew when they change, within [`LOOK`]: certificates are renewed while the agent
//! runs. A change that can't be read leaves what was in force, and is logged.

mod auth;
mod file;
mod tls;

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use tokio_rustls::TlsAcceptor;

pub use auth::{Denied, Users};

use crate::host::trust;

/// How often it looks whether a file has changed, at most.
const LOOK: Duration = Duration::from_secs(2);

/// What a `web.config` file asks for.
#[derive(Clone)]
pub struct Rules {
    /// How connections are encrypted; `None`: not at all.
    pub tls: Option<TlsAcceptor>,
    /// Who may ask; everybody if there is none.
    pub users: Arc<Users>,
}

/// A `web.config` file in force.
pub struct Web {
    path: PathBuf,
    state: Mutex<State>,
}

struct State {
    rules: Rules,
    /// What was read, and how it looked.
    files: Files,
    looked: Instant,
}

/// Files, and how they looked; none if they couldn't be looked at.
type Files = Vec<(PathBuf, Option<Stamp>)>;

/// By what a change of a file is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        let changed = (found.ctime(), found.ctime_nsec());
        Some(Self { device: found.dev(), inode: found.ino(), size: found.size(), changed })
    }
}

impl Web {
    /// Reads the file.
    ///
    /// # Errors
    /// What is wrong with it, or with a file that it names.
    pub fn open(path: &Path) -> Result<Self> {
        let (rules, files) = read(path)?;
        let state = Mutex::new(State { rules, files, looked: Instant::now() });
        Ok(Self { path: path.to_owned(), state })
    }

    /// Whether a text is such a file, whatever the files are that it names.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<()> {
        file::parse(text).map(drop)
    }

    /// What is in force now.
    pub fn rules(&self) -> Rules {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() >= LOOK {
            state.looked = Instant::now();
            if state.files.iter().any(|(path, stamp)| Stamp::of(path) != *stamp) {
                self.read_anew(&mut state);
            }
        }
        state.rules.clone()
    }

    fn read_anew(&self, state: &mut State) {
        match read(&self.path) {
            Ok((rules, files)) => {
                tracing::info!("{} has changed, and what it says is in force", self.path.display());
                (state.rules, state.files) = (rules, files);
            }
            Err(error) => {
                tracing::error!("what was said before stays in force for [metrics]: {error:#}");
                // Said once; and looked at again when something changes.
                state.files.iter_mut().for_each(|(path, stamp)| *stamp = Stamp::of(path));
            }
        }
    }
}

/// The rules, and every file that they came from.
fn read(path: &Path) -> Result<(Rules, Files)> {
    // Before they are read: what is written meanwhile is seen as a change later.
    let own = (path.to_owned(), Stamp::of(path));
    let web = || -> Result<_> {
        trusted(path)?;
        let file = file::parse(&fs::read_to_string(path)?)?;
        let dir = path.parent().unwrap_or(Path::new("/"));
        let named: Vec<_> = file.named().iter().map(|name| dir.join(name)).collect();
        let files = named.into_iter().map(|path| (path.clone(), Stamp::of(&path)));
        let files = std::iter::once(own.clone()).chain(files).collect();
        let tls = file.tls_server_config.as_ref().map(|tls| tls::acceptor(tls, dir)).transpose()?;
        let users = Arc::new(Users::new(file.basic_auth_users)?);
        Ok((Rules { tls, users }, files))
    };
    web().with_context(|| format!("can't use the web configuration {}", path.display()))
}

/// Refuses a file that others may change: who writes a password or a certificate reads the metrics.
fn trusted(path: &Path) -> Result<()> {
    match trust::check(path).with_context(|| format!("can't look at {}", path.display()))? {
        Ok(()) => Ok(()),
        Err(untrusted) => bail!("others may change it: {untrusted}; {}", untrusted.remedy()),
    }
}

#[cfg(test)]
mod tests;
