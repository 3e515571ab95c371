//! The SSH sessions of now: no rate limit may lock the operator out.

use std::{collections::BTreeSet, fmt, net::IpAddr, path::Path};

use procfs::{
    net::TcpState,
    process::{FDTarget, Process},
};

/// What belongs to SSH on this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ssh {
    /// Local TCP ports that an SSH server listens on or has sessions on.
    pub ports: BTreeSet<u16>,
    /// The other ends of sessions.
    pub peers: BTreeSet<IpAddr>,
}

impl Ssh {
    /// As it is now, in the agent's network namespace.
    #[must_use]
    pub fn now() -> Self {
        let owned = sockets();
        let mut found = Self::default();
        let tables = [procfs::net::tcp(), procfs::net::tcp6()];
        for entry in tables.into_iter().flatten().flatten().filter(|entry| owned.contains(&entry.inode)) {
            match entry.state {
                TcpState::Listen => drop(found.ports.insert(entry.local_address.port())),
                TcpState::Established => {
                    found.ports.insert(entry.local_address.port());
                    found.peers.insert(entry.remote_address.ip().to_canonical());
                }
                _ => {}
            }
        }
        found
    }
}

impl fmt::Display for Ssh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ports.is_empty() {
            return f.write_str(
                "no SSH server runs here; if one starts later, protect it: protect = [\"tcp/22\"]",
            );
        }
        let ports: Vec<_> = self.ports.iter().map(u16::to_string).collect();
        let peers: Vec<_> = self.peers.iter().map(IpAddr::to_string).collect();
        write!(f, "never dropped: SSH on port {}", ports.join(", "))?;
        if peers.is_empty() { Ok(()) } else { write!(f, " and its peers {}", peers.join(", ")) }
    }
}

/// Sockets of SSH servers.
fn sockets() -> BTreeSet<u64> {
    let processes = procfs::process::all_processes().into_iter().flatten().flatten();
    let servers = processes.filter(is_server);
    let targets = servers.filter_map(|process| process.fd().ok()).flatten().flatten().map(|fd| fd.target);
    targets
        .filter_map(|target| if let FDTarget::Socket(inode) = target { Some(inode) } else { None })
        .collect()
}

/// An SSH server runs as root; a name alone is anybody's to choose.
fn is_server(process: &Process) -> bool {
    let root = process.uid().is_ok_and(|uid| uid == 0);
    root && process.exe().is_ok_and(|exe| {
        let name = exe.file_name().map(Path::new).and_then(Path::to_str).unwrap_or_default();
        // OpenSSH 9.8 gave sessions a program of their own, sshd-session.
        name == "sshd" || name.starts_with("sshd-") || name == "dropbear"
    })
}
