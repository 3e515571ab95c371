//! Files that are written as a whole.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// Has `fill` write a file that only its owner may read. Whoever reads finds what was there before, or all of it, also after the
/// machine has lost power. What is written goes to `PATH.new` first.
///
/// # Errors
/// Those of `fill`, or when the file system refuses; then what was there before still is.
pub fn write(path: &Path, fill: impl FnOnce(File) -> Result<File>) -> Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    // Never over what is there, or where a link leads.
    let _ = fs::remove_file(&new);
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(&new);
    let file = file.with_context(|| format!("can't make {}", new.display()))?;
    let file = fill(file).with_context(|| format!("can't write {}", new.display()))?;
    file.sync_all().with_context(|| format!("can't write {} to the disk", new.display()))?;
    fs::rename(&new, path)
        .with_context(|| format!("can't rename {} to {}", new.display(), path.display()))?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.with_context(|| format!("can't write the directory {} to the disk", directory.display()))
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn the_old_one_stays_until_the_new_one_is_whole_and_nobody_else_may_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "old").unwrap();
        let half = |mut file: File| {
            file.write_all(b"ne")?;
            anyhow::bail!("no more")
        };
        assert!(write(&path, half).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        // Where a link leads is not written to.
        let elsewhere = directory.path().join("elsewhere");
        let new = directory.path().join("file.new");
        fs::remove_file(&new).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &new).unwrap();
        let whole = |mut file: File| {
            file.write_all(b"new")?;
            Ok(file)
        };
        write(&path, whole).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!elsewhere.exists() && !new.exists());
    }
}
