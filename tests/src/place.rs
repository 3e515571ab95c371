//! Temporary directories and copies of programs in them.

use std::{
    ffi::CString,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::needs;

/// Name of the directory where an agent pins what outlives it; a BPF file system is mounted there.
pub const PINS: &str = "bpf";

/// A temporary directory that every user may read, removed when dropped.
#[derive(Debug)]
pub struct Place {
    directory: Option<TempDir>,
    path: PathBuf,
}

impl Place {
    /// Makes an empty directory.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn new() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("monitor-test-").tempdir()?;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
        // The path a kernel would report: no symlink on the way.
        let path = directory.path().canonicalize()?;
        Ok(Self { directory: Some(directory), path })
    }

    /// The directory's path, with no symlink in it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of `name` in the directory.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Makes a directory in it.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn directory(&self, name: &str) -> Result<PathBuf> {
        let path = self.join(name);
        fs::create_dir_all(&path).with_context(|| format!("creating {}", path.display()))?;
        Ok(path)
    }

    /// Copies one of the static programs here under another name: another file, another identity.
    ///
    /// # Errors
    /// When there is no such program or the file system refuses.
    pub fn copy(&self, program: &str, name: &str) -> Result<PathBuf> {
        self.copy_file(&needs::program(program)?, name)
    }

    /// Copies a file here under another name, with its permissions.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn copy_file(&self, from: &Path, name: &str) -> Result<PathBuf> {
        let to = self.join(name);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::copy(from, &to).with_context(|| format!("copying {} to {}", from.display(), to.display()))?;
        Ok(to)
    }

    /// Writes a script that everybody may execute: a first line that names its interpreter.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn script(&self, name: &str, interpreter: &Path) -> Result<PathBuf> {
        let path = self.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, format!("#!{}\n", interpreter.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }

    /// Takes off what agents left pinned in here.
    fn unmount(&self) {
        let pins = self.join(PINS);
        if let Ok(path) = CString::new(pins.as_os_str().as_bytes()) {
            // SAFETY: a path that ends with a zero byte. Nothing may be mounted there.
            unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
        }
    }

    /// Removes the directory now, and says when that fails.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn remove(mut self) -> Result<()> {
        self.unmount();
        let directory = self.directory.take().context("it was removed before")?;
        directory.close().context("removing the temporary directory")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.unmount();
    }
}
