//! The end of a file.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use rustix::{fs::OFlags, io::Errno};

use super::Output;

const NOT_REGULAR: &str = "it is not a regular file; set `path` to one, or use type = \"stdout\"";

/// A regular file that is appended to.
pub(super) struct AppendFile {
    path: PathBuf,
    file: File,
}

impl AppendFile {
    pub fn open(path: PathBuf) -> Result<Self> {
        let file = open(&path).with_context(|| format!("can't open {} for [[sink]]", path.display()))?;
        Ok(Self { path, file })
    }
}

impl Output for AppendFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn reopen(&mut self) -> Result<()> {
        self.file = open(&self.path).with_context(|| format!("can't open {} again", self.path.display()))?;
        Ok(())
    }
}

/// Opens or makes the file. It holds what others did and said, so it is made readable for its owner only; the mode of
/// a file that is there already is left as it is.
fn open(path: &Path) -> Result<File> {
    // The agent is privileged: a symbolic link that somebody put there must not lead it to write elsewhere, and a
    // named pipe must not hold it up.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(flags).open(path);
    let file = file.map_err(|error| explain(path, error))?;
    if !file.metadata()?.is_file() {
        bail!(NOT_REGULAR);
    }
    Ok(file)
}

/// What the error means for this path, and what to do.
fn explain(path: &Path, error: io::Error) -> anyhow::Error {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let parent = parent.display();
    let remedy = match error.kind() {
        _ if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
            "it is a symbolic link; set `path` to where it leads".to_owned()
        }
        io::ErrorKind::NotFound => {
            format!(
                "the directory {parent} does not exist; make it (mkdir -p -m 0750 {parent}) or change `path`"
            )
        }
        io::ErrorKind::NotADirectory => format!("{parent} is not a directory; change `path`"),
        io::ErrorKind::IsADirectory => "it is a directory; set `path` to a file in it".to_owned(),
        io::ErrorKind::PermissionDenied => format!("no permission to write it or to make it in {parent}"),
        io::ErrorKind::ReadOnlyFilesystem => format!("{parent} is on a read-only file system; change `path`"),
        // ENXIO: a named pipe nobody reads, or a socket.
        _ if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => NOT_REGULAR.to_owned(),
        _ => format!("change `path` or mend {parent}"),
    };
    anyhow::Error::new(error).context(remedy)
}
