//! The end of a file.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use rustix::{fs::OFlags, io::Errno};

use super::Output;
use crate::config::FileSink;

const NOT_REGULAR: &str = "it is not a regular file; set `path` to one, or use type = \"stdout\"";

/// A regular file that is appended to.
pub(super) struct AppendFile {
    path: PathBuf,
    file: File,
    rotation: Option<Rotation>,
    /// Bytes in it.
    size: u64,
    /// Whether the last byte ended a line.
    at_line: bool,
}

/// When the file is begun anew.
#[derive(Clone, Copy, Debug)]
struct Rotation {
    /// At this size, bytes.
    max_size: u64,
    /// Old files that are kept.
    keep: u32,
}

impl AppendFile {
    pub fn open(sink: FileSink) -> Result<Self> {
        let FileSink { path, max_size, keep } = sink;
        let file = open(&path).with_context(|| format!("can't open {} for [[sink]]", path.display()))?;
        let size = file.metadata().context("can't ask for the file's size")?.len();
        let rotation = max_size.map(|max_size| Rotation { max_size, keep });
        Ok(Self { path, file, rotation, size, at_line: true })
    }

    /// Renames the file to `PATH.1`, and what has that name to `PATH.2`, and begins a new one.
    fn rotate(&mut self, keep: u32) -> Result<()> {
        let name = |number: u32| {
            let mut path = self.path.clone().into_os_string();
            path.push(format!(".{number}"));
            PathBuf::from(path)
        };
        for number in (1..keep).rev() {
            rename(&name(number), &name(number + 1))?;
        }
        match keep {
            0 => fs::remove_file(&self.path)
                .with_context(|| format!("can't remove {}", self.path.display()))?,
            _ => rename(&self.path, &name(1))?,
        }
        self.reopen()
    }
}

impl Output for AppendFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(Rotation { max_size, keep }) = self.rotation
            && self.at_line
            && self.size > 0
            && self.size + bytes.len() as u64 > max_size
            && let Err(error) = self.rotate(keep)
        {
            // Better a file that is too long than findings that are lost. The next try is when it is as long again.
            tracing::error!("a file of findings grows past its `max_size`: {error:#}");
            self.size = 0;
        }
        let written = self.file.write(bytes)?;
        self.size += written as u64;
        self.at_line = written == 0 || bytes[written - 1] == b'\n';
        Ok(written)
    }

    fn is_patient(&self) -> bool {
        true
    }

    fn reopen(&mut self) -> Result<()> {
        self.file = open(&self.path).with_context(|| format!("can't open {} again", self.path.display()))?;
        self.size = self.file.metadata().map_or(0, |data| data.len());
        self.at_line = true;
        Ok(())
    }
}

/// Renames a file, if there is one.
fn rename(from: &Path, to: &Path) -> Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("can't rename {} to {}", from.display(), to.display()))
        }
        _ => Ok(()),
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
