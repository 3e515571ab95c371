//! What the service manager is told (`sd_notify(3)`), without ever waiting for it: a manager that doesn't read must not
//! hold up the agent.

use std::{
    env, io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{ffi::OsStrExt as _, net::SocketAddr, net::UnixDatagram},
    },
};

use sd_notify::NotifyState;

/// Tells the service manager, if there is one. What it has no room for is left out and logged.
pub(super) fn notify(states: &[NotifyState<'_>]) {
    let text: String = states.iter().map(|state| format!("{state}\n")).collect();
    if let Err(error) = send(&text) {
        tracing::warn!("can't tell the service manager {:?}: {error}", text.trim());
    }
}

fn send(text: &str) -> io::Result<()> {
    let Some(name) = env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(&name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to_addr(text.as_bytes(), &address).map(drop)
}
