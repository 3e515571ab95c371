//! Who may ask: root, and the members of one group if the configuration names one. The kernel says who it is that connects.

use std::{
    io,
    os::{fd::AsRawFd as _, unix::net::UnixStream},
};

use anyhow::{Context as _, Result, bail};
use rustix::net::sockopt::socket_peercred;

use crate::{
    config::{self, Account},
    host::{accounts::Accounts, file::Tree},
};

/// The most groups of a process that are looked at; the kernel allows as many (`NGROUPS_MAX`).
const GROUPS: usize = 65_536;

/// Who may ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// The group whose members may, besides root.
    pub group: Option<u32>,
    /// Whether they may change anything.
    pub changes: bool,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    /// Its user.
    pub user: u32,
    /// Whether it may change anything.
    pub changes: bool,
}

impl Peer {
    pub(super) const fn is_root(self) -> bool {
        self.user == 0
    }
}

impl Access {
    /// As the configuration says. The group is looked up on this host.
    ///
    /// # Errors
    /// When there is no such group.
    pub fn new(control: &config::Control) -> Result<Self> {
        let group = match control.group.as_ref().map(|group| &group.value) {
            None => None,
            Some(Account::Id(id)) => Some(*id),
            Some(Account::Name(name)) => {
                let accounts = Accounts::read(&Tree::open()?)?;
                Some(accounts.group(name).context("[control] group")?)
            }
        };
        Ok(Self { group, changes: control.changes })
    }

    /// Makes this process a member of the group, so that it may give its socket to it without the right to give any file to
    /// anybody. To be called before capabilities are dropped and threads started.
    ///
    /// # Errors
    /// When it may not, with the remedy.
    pub fn join(&self) -> Result<()> {
        let Some(group) = self.group else { return Ok(()) };
        let own = rustix::process::getgroups().context("can't tell the own groups")?;
        let mut groups: Vec<libc::gid_t> = own.iter().map(|group| group.as_raw()).collect();
        if rustix::process::getegid().as_raw() == group || groups.contains(&group) {
            return Ok(());
        }
        groups.push(group);
        // SAFETY: the pointer is to as many groups as are said.
        if unsafe { libc::setgroups(groups.len(), groups.as_ptr()) } != 0 {
            let error = io::Error::last_os_error();
            bail!(
                "can't join group {group}, which `[control] group` names ({error}): give the service \
                 `SupplementaryGroups={group}`, or CAP_SETGID"
            );
        }
        Ok(())
    }

    /// Who is at the other end, if it may ask anything at all. What counts are the ids it had when it connected.
    pub(super) fn admit(&self, stream: &UnixStream) -> Result<Peer> {
        let peer = socket_peercred(stream).context("can't tell who connects")?;
        let user = peer.uid.as_raw();
        if peer.uid.is_root() {
            return Ok(Peer { user, changes: true });
        }
        let Some(group) = self.group else { bail!("user {user} is not root") };
        if peer.gid.as_raw() == group || groups(stream)?.contains(&group) {
            return Ok(Peer { user, changes: self.changes });
        }
        bail!("user {user} is neither root nor in group {group}, which `[control] group` names")
    }
}

/// The supplementary groups of the other end.
fn groups(stream: &UnixStream) -> Result<Vec<libc::gid_t>> {
    let mut groups: Vec<libc::gid_t> = vec![0; 64];
    loop {
        let mut bytes = libc::socklen_t::try_from(size_of_val(&*groups)).unwrap_or(0);
        // SAFETY: the kernel writes at most `bytes` bytes to where so many are, and the length to `bytes`.
        let result = unsafe {
            libc::getsockopt(
                stream.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut bytes,
            )
        };
        let count = bytes as usize / size_of::<libc::gid_t>();
        if result == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        // It says how many there are.
        if error.raw_os_error() != Some(libc::ERANGE) || count <= groups.len() || count > GROUPS {
            return Err(error).context("can't tell the groups of who connects");
        }
        groups.resize(count, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_groups_of_the_other_end_are_those_of_this_process() {
        let (one, _other) = UnixStream::pair().unwrap();
        let mut own: Vec<_> = rustix::process::getgroups().unwrap().iter().map(|gid| gid.as_raw()).collect();
        let mut seen = groups(&one).unwrap();
        own.sort_unstable();
        seen.sort_unstable();
        assert_eq!(seen, own);
    }

    #[test]
    fn a_group_by_number_needs_no_name_and_one_that_is_missing_is_said() {
        let named = |text: &str| {
            let loaded = config::Loaded::from_text("test.toml".as_ref(), text);
            Access::new(&loaded.config.unwrap().control)
        };
        assert_eq!(named("").unwrap(), Access::default());
        let wanted = Access { group: Some(4711), changes: true };
        assert_eq!(named("[control]\ngroup = 4711\nchanges = true\n").unwrap(), wanted);
        let error = format!("{:#}", named("[control]\ngroup = \"no-such-group-here\"\n").unwrap_err());
        assert!(error.contains("no-such-group-here"), "{error}");
    }
}
