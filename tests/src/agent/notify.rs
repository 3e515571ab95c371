//! The service manager's side of sd_notify.

use std::{
    collections::BTreeMap,
    io,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// A socket for `NOTIFY_SOCKET`, and what arrived on it.
#[derive(Debug)]
pub struct Notify {
    socket: UnixDatagram,
    path: PathBuf,
    said: BTreeMap<String, String>,
}

impl Notify {
    /// Listens at a path.
    ///
    /// # Errors
    /// When the socket can't be made there.
    pub fn new(path: PathBuf) -> Result<Self> {
        let socket = UnixDatagram::bind(&path).with_context(|| format!("binding {}", path.display()))?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, path, said: BTreeMap::new() })
    }

    /// For `NOTIFY_SOCKET`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes what has arrived.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn receive(&mut self) -> Result<()> {
        let mut buffer = [0; 4096];
        loop {
            match self.socket.recv(&mut buffer) {
                Ok(length) => {
                    let text = String::from_utf8_lossy(&buffer[..length]);
                    let pairs = text.lines().filter_map(|line| line.split_once('='));
                    self.said.extend(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("receiving a notification"),
            }
        }
    }

    /// The last value said for a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.said.get(key).map(String::as_str)
    }

    /// Whether a key was said to be 1.
    pub fn said(&self, key: &str) -> bool {
        self.get(key) == Some("1")
    }
}
