//! The socket itself.

use std::{
    fs, io,
    os::{
        fd::OwnedFd,
        unix::{fs::PermissionsExt as _, net::UnixListener},
    },
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use rustix::{
    fs::{AtFlags, CWD, Gid, Mode, chownat, fchmod},
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with},
};

/// Connections that wait to be taken.
const BACKLOG: i32 = 8;

/// A listening socket, whose name goes with it.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Makes the socket, for its owner and a group only. Who calls this holds the lock of the directory, so a socket that is there was left
    /// by an agent that was killed.
    pub(super) fn make(path: &Path, group: Option<u32>) -> Result<Self> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("can't remove the old {}", path.display()));
            }
            _ => {}
        }
        let listener =
            open(path, group).with_context(|| format!("can't make the control socket {}", path.display()))?;
        Ok(Self { listener, path: path.to_owned() })
    }
}

fn open(path: &Path, group: Option<u32>) -> io::Result<UnixListener> {
    let socket: OwnedFd = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // The name inherits the socket's mode, so there is no moment in which others may connect.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    if let Some(group) = group {
        chownat(CWD, path, None, Some(Gid::from_raw(group)), AtFlags::SYMLINK_NOFOLLOW)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    }
    listen(&socket, BACKLOG)?;
    let listener = UnixListener::from(socket);
    listener.set_nonblocking(true)?;
    Ok(listener)
}

impl Drop for Socket {
    fn drop(&mut self) {
        // If it fails, the next agent does it.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn only_the_owner_may_connect_and_the_name_goes_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        fs::write(&path, "left behind").unwrap();
        let socket = Socket::make(&path, None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::os::unix::net::UnixStream::connect(&path).unwrap();
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn a_group_may_connect_as_well() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let group = rustix::process::getegid().as_raw();
        let _socket = Socket::make(&path, Some(group)).unwrap();
        let found = fs::metadata(&path).unwrap();
        assert_eq!((found.permissions().mode() & 0o777, found.gid()), (0o660, group));
    }
}
