//! Mounts that only this process and its children see.

use std::{
    ffi::{CStr, CString},
    io,
    os::unix::ffi::OsStrExt,
    path::Path,
    ptr,
};

use anyhow::{Context, Result};

/// Goes to a mount namespace of one's own.
pub fn own_namespace() -> Result<()> {
    // SAFETY: takes no pointers.
    done("unshare", unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    mount(None, Path::new("/"), None, libc::MS_REC | libc::MS_PRIVATE).context("making mounts private")
}

/// Mounts an empty file system.
pub fn empty(point: &Path) -> Result<()> {
    mount(None, point, Some(c"tmpfs"), 0).context("mounting an empty file system")
}

/// Shows a file or directory at another path, too.
pub fn bind(from: &Path, point: &Path) -> Result<()> {
    let what = || format!("showing {} at {}", from.display(), point.display());
    mount(Some(from), point, None, libc::MS_BIND).with_context(what)
}

fn mount(from: Option<&Path>, point: &Path, kind: Option<&CStr>, flags: libc::c_ulong) -> Result<()> {
    let path = |path: &Path| CString::new(path.as_os_str().as_bytes()).context("a path");
    let (from, point) = (from.map(path).transpose()?, path(point)?);
    let source = from.as_deref().or(kind).map_or(ptr::null(), CStr::as_ptr);
    let kind = kind.map_or(ptr::null(), CStr::as_ptr);
    // SAFETY: all names are C strings or null; there is no data.
    done("mount", unsafe { libc::mount(source, point.as_ptr(), kind, flags, ptr::null()) })
}

fn done(what: &'static str, code: i32) -> Result<()> {
    if code == -1 { Err(io::Error::last_os_error()).context(what) } else { Ok(()) }
}
