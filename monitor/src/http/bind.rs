//! Binds the listener, and explains why it can't be.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use anyhow::{Context as _, Result};
use procfs::{
    net::{TcpNetEntry, TcpState},
    process::{FDTarget, Process},
};

use crate::event::Text;

/// Binds `[metrics] listen`. With port 0 the kernel picks one: see [`TcpListener::local_addr`].
///
/// # Errors
/// Says why not, who has the port if that can be told, and what to do.
pub fn bind(addr: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(addr)
        .map_err(|error| {
            let why = explain(addr, &error);
            anyhow::Error::new(error).context(why)
        })
        .with_context(|| format!("can't listen on {addr}"))
}

fn explain(addr: SocketAddr, error: &io::Error) -> String {
    const REMEDY: &str = "set [metrics] listen to another address";
    let port = addr.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => match listener_on(addr) {
            Some(who) => format!("port {port} is in use by {who}; stop it or {REMEDY}"),
            None => format!("port {port} is in use; another monitor? Stop it or {REMEDY}"),
        },
        io::ErrorKind::AddrNotAvailable => {
            format!("no interface of this host has the address {}; {REMEDY}", addr.ip())
        }
        io::ErrorKind::PermissionDenied => {
            format!("no permission; port {port} may need CAP_NET_BIND_SERVICE: run as root or {REMEDY}")
        }
        _ => REMEDY.to_owned(),
    }
}

/// Who listens where `addr` can't be bound, if that can be told (it takes root for the processes of others).
fn listener_on(addr: SocketAddr) -> Option<String> {
    let tables = [procfs::net::tcp(), procfs::net::tcp6()];
    let entries: Vec<TcpNetEntry> = tables.into_iter().flatten().flatten().collect();
    let conflicts = |entry: &&TcpNetEntry| {
        let local = entry.local_address;
        let same = local.ip().to_canonical() == addr.ip().to_canonical();
        let listens = entry.state == TcpState::Listen && local.port() == addr.port();
        listens && (same || local.ip().is_unspecified() || addr.ip().is_unspecified())
    };
    let inode = entries.iter().find(conflicts)?.inode;
    let owns = |process: &Process| {
        let mut fds = process.fd().into_iter().flatten().flatten();
        fds.any(|fd| matches!(fd.target, FDTarget::Socket(socket) if socket == inode))
    };
    let owner = procfs::process::all_processes().ok()?.flatten().find(owns)?;
    let comm = owner.stat().ok()?.comm;
    Some(format!("{} (process {})", Text::from(&*comm), owner.pid()))
}

#[cfg(test)]
mod tests {
    use super::bind;

    #[test]
    fn a_port_in_use_names_its_owner_and_the_remedy() {
        let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let addr = first.local_addr().unwrap();
        let message = format!("{:#}", bind(addr).unwrap_err());
        let expected = format!("can't listen on {addr}: port {} is in use by ", addr.port());
        assert!(message.starts_with(&expected), "{message}");
        assert!(message.contains(&format!("(process {})", std::process::id())), "{message}");
        assert!(message.contains("set [metrics] listen"), "{message}");
    }

    #[test]
    fn a_foreign_address_is_explained() {
        // 192.0.2.0/24 is for documentation (RFC 5737): no host has it.
        let message = format!("{:#}", bind("192.0.2.1:0".parse().unwrap()).unwrap_err());
        assert!(message.contains("no interface of this host has the address 192.0.2.1"), "{message}");
    }
}
