//! A guest's whole file system: an archive in the format `newc` of cpio, which the kernel unpacks into memory.
//! Described in the kernel's `Documentation/driver-api/early-userspace/buffer-format.rst`.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, BufWriter, Write},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use anyhow::{Context as _, Result};

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const PLAIN: u32 = 0o100_644;
const LINK: u32 = 0o120_777;
const FILE: u32 = 0o100_000;

/// An archive being written.
pub struct Archive<W> {
    out: W,
    /// Inode numbers must differ, or the kernel takes files for hard links of each other.
    entries: u32,
    written: usize,
    directories: HashSet<String>,
}

impl Archive<BufWriter<File>> {
    /// Begins an archive in a file.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("writing {}", path.display()))?;
        Ok(Self::new(BufWriter::new(file)))
    }
}

impl<W: Write> Archive<W> {
    /// Begins an archive.
    pub fn new(out: W) -> Self {
        Self { out, entries: 0, written: 0, directories: HashSet::new() }
    }

    /// Adds a program from a file of this machine. Paths in the archive have no `/` in front.
    pub fn program(&mut self, path: &str, source: &Path) -> Result<()> {
        let content = fs::read(source).with_context(|| format!("reading {}", source.display()))?;
        self.add(path, PROGRAM, &content)
    }

    /// Adds a plain file.
    pub fn file(&mut self, path: &str, content: &[u8]) -> Result<()> {
        self.add(path, PLAIN, content)
    }

    /// Adds a file of this machine with its permissions.
    pub fn copy(&mut self, path: &str, source: &Path) -> Result<()> {
        let file = || format!("reading {}", source.display());
        let mode = fs::metadata(source).with_context(file)?.permissions().mode();
        let content = fs::read(source).with_context(file)?;
        self.add(path, FILE | mode & 0o7777, &content)
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) -> Result<()> {
        self.add(path, LINK, target.as_bytes())
    }

    /// Adds an empty directory, unless it is there.
    pub fn directory(&mut self, path: &str) -> Result<()> {
        self.directories_of(&format!("{path}/"))
    }

    /// Ends the archive and returns its size in bytes.
    pub fn finish(mut self) -> Result<usize> {
        self.entry("TRAILER!!!", 0, &[]).context("ending the archive")?;
        self.out.flush().context("ending the archive")?;
        Ok(self.written)
    }

    fn add(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        self.directories_of(path)?;
        self.entry(path, mode, content).with_context(|| format!("adding {path}"))
    }

    fn directories_of(&mut self, path: &str) -> Result<()> {
        for (end, _) in path.match_indices('/') {
            if self.directories.insert(path[..end].to_owned()) {
                self.entry(&path[..end], DIRECTORY, &[])
                    .with_context(|| format!("adding {}", &path[..end]))?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.entries += 1;
        let size = u32::try_from(content.len()).map_err(io::Error::other)?;
        let name_size = u32::try_from(path.len() + 1).map_err(io::Error::other)?;
        // ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        let mut head = String::from("070701");
        for field in fields {
            head.push_str(&format!("{field:08X}"));
        }
        head.push_str(path);
        head.push('\0');
        self.padded(head.as_bytes())?;
        self.padded(content)
    }

    /// Head and content each end at a multiple of four bytes.
    fn padded(&mut self, bytes: &[u8]) -> io::Result<()> {
        let padding = bytes.len().next_multiple_of(4) - bytes.len();
        self.out.write_all(bytes)?;
        self.out.write_all(&[0; 3][..padding])?;
        self.written += bytes.len() + padding;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout() {
        let mut out = Vec::new();
        let mut archive = Archive::new(&mut out);
        archive.file("etc/passwd", b"root\n").unwrap();
        archive.file("etc/group", b"").unwrap();
        let size = archive.finish().unwrap();
        assert_eq!(size, out.len());
        let heads: Vec<usize> =
            out.windows(6).enumerate().filter(|(_, w)| *w == b"070701").map(|(at, _)| at).collect();
        assert_eq!(heads.len(), 4, "one directory, two files, the trailer");
        assert!(heads.iter().all(|at| at % 4 == 0), "{heads:?}");
        let second = &out[heads[1]..heads[2]];
        assert_eq!(&second[6..14], b"00000002", "its inode number");
        assert_eq!(&second[54..62], b"00000005", "its size");
        assert_eq!(&second[110..121], b"etc/passwd\0");
        assert_eq!(&second[124..129], b"root\n");
    }
}
