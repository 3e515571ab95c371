//! Against real sockets on the loopback interface, all of them the test's own.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
};

use super::*;

/// This process again, holding its standard input and waiting for the end of it.
fn waiting(input: std::process::Stdio) -> std::process::Child {
    std::process::Command::new("/proc/self/exe")
        .args(["--exact", "host::connections::tests::waits_for_the_end_of_its_input"])
        .env("MONITOR_TEST_WAITS", "1")
        .stdin(input)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

/// Both ends of a connection to an address; none if the host has no such address.
fn pair(address: &str) -> Option<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind(address).ok()?;
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    Some((client, listener.accept().unwrap().0))
}

fn addresses(connection: &Connection) -> (SocketAddr, SocketAddr) {
    let of = |end: &Endpoint| SocketAddr::new(IpAddr::from(end.addr), end.port);
    (of(&connection.local), of(&connection.remote))
}

fn find(listing: &Listing, local: SocketAddr, remote: SocketAddr, protocol: u8) -> Option<Connection> {
    let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let wanted = (canonical(local), canonical(remote));
    let is_it = |it: &&Connection| addresses(it) == wanted && it.local.protocol == protocol;
    listing.connections.iter().find(is_it).cloned()
}

/// A listing, if this kernel has what makes one: guests may lack the modules.
fn listing(diag: &mut Diag) -> Option<Listing> {
    match diag.list() {
        Ok(listing) => Some(listing),
        Err(error) => {
            let cause = error.downcast_ref::<rustix::io::Errno>();
            assert_eq!(cause, Some(&rustix::io::Errno::NOENT), "{error:#}");
            assert!(format!("{error:#}").contains("CONFIG_INET_DIAG"), "{error:#}");
            None
        }
    }
}

fn inode(socket: impl std::os::fd::AsFd) -> u64 {
    rustix::fs::fstat(socket.as_fd()).unwrap().st_ino
}

#[test]
fn both_ends_of_connections_are_listed_with_their_holders() {
    let mut diag = Diag::open().unwrap();
    for address in ["127.0.0.1:0", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
        let Some((client, server)) = pair(address) else { continue };
        let Some(listing) = listing(&mut diag) else { return };
        let mut sockets = HashSet::new();
        for end in [&client, &server] {
            let (local, remote) = (end.local_addr().unwrap(), end.peer_addr().unwrap());
            let found = find(&listing, local, remote, 6).unwrap();
            assert_eq!((found.inode, found.uid), (inode(end), rustix::process::geteuid().as_raw()));
            assert_eq!(found.local.family, if local.is_ipv4() { 4 } else { 6 }, "{address}");
            assert_ne!(found.cookie, 0);
            sockets.insert(found.inode);
        }
        let held = holders(&sockets);
        assert_eq!(held.by_inode.len(), 2);
        assert!(held.by_inode.values().all(|pids| pids.contains(&std::process::id())));
    }
}

#[test]
fn half_closed_connections_and_connected_udp_sockets_are_listed_and_listeners_are_not() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let here = listener.local_addr().unwrap();
    let client = TcpStream::connect(here).unwrap();
    let server = listener.accept().unwrap().0;
    client.shutdown(Shutdown::Write).unwrap();
    let (one, other) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    one.connect(other.local_addr().unwrap()).unwrap();
    let Some(listing) = listing(&mut Diag::open().unwrap()) else { return };
    let local = client.local_addr().unwrap();
    assert!(find(&listing, local, here, 6).is_some() && find(&listing, here, local, 6).is_some());
    let found = find(&listing, one.local_addr().unwrap(), other.local_addr().unwrap(), 17).unwrap();
    assert_eq!(found.inode, inode(&one));
    let of = |port| listing.connections.iter().filter(|it| it.local.port == port).count();
    assert_eq!((of(here.port()), of(other.local_addr().unwrap().port())), (1, 0));
    drop(server);
}

#[test]
fn the_very_connection_is_closed_and_no_other() {
    let (mut client, mut server) = pair("127.0.0.1:0").unwrap();
    let (mut bystander, mut other) = pair("127.0.0.1:0").unwrap();
    let mut diag = Diag::open().unwrap();
    let Some(listing) = listing(&mut diag) else { return };
    let found = find(&listing, client.local_addr().unwrap(), client.peer_addr().unwrap(), 6).unwrap();
    let mut stale = found.clone();
    stale.id.cookie = [1; 8];
    match diag.close(&stale) {
        Err(NotClosed::Gone) => {}
        Err(NotClosed::Unsupported) => return,
        other => panic!("{other:?}"),
    }
    if !rustix::process::geteuid().is_root() {
        assert_eq!(diag.close(&found), Err(NotClosed::Failed(rustix::io::Errno::PERM)));
        return;
    }
    client.write_all(b"x").unwrap();
    diag.close(&found).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::ConnectionAborted);
    // A reset discards what was not read yet, or comes behind it.
    let mut rest = Vec::new();
    assert_eq!(server.read_to_end(&mut rest).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(diag.close(&found), Err(NotClosed::Gone));
    bystander.write_all(b"y").unwrap();
    other.read_exact(&mut [0]).unwrap();

    let (one, another) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    one.connect(another.local_addr().unwrap()).unwrap();
    let listing = diag.list().unwrap();
    let found = find(&listing, one.local_addr().unwrap(), another.local_addr().unwrap(), 17).unwrap();
    diag.close(&found).unwrap();
    assert_eq!(one.recv(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::ConnectionAborted);
    assert_eq!(one.peer_addr().unwrap_err().kind(), std::io::ErrorKind::NotConnected);
}

#[test]
fn a_socket_that_two_processes_hold_has_two_holders() {
    let (client, server) = pair("127.0.0.1:0").unwrap();
    // As its standard input, the child holds it, too.
    let input = std::process::Stdio::from(std::os::fd::OwnedFd::from(client.try_clone().unwrap()));
    let mut child = waiting(input);
    let inode = inode(&client);
    let found = holders(&HashSet::from([inode, 0, u64::MAX]));
    server.shutdown(Shutdown::Both).unwrap();
    child.wait().unwrap();
    // A child of another test holds it, too, until its exec.
    assert!([std::process::id(), child.id()].iter().all(|pid| found.by_inode[&inode].contains(pid)));
    assert_eq!(found.by_inode.len(), 1);
    assert!(holders(&HashSet::new()).whole);
}

/// What the child of the test above runs; by itself it does nothing.
#[test]
fn waits_for_the_end_of_its_input() {
    if std::env::var_os("MONITOR_TEST_WAITS").is_some() {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
    }
}

#[test]
fn a_socket_of_a_thread_with_its_own_descriptors_is_found() {
    let (client, server) = pair("127.0.0.1:0").unwrap();
    let inode = inode(&client);
    std::thread::scope(|scope| {
        let (ready, is_ready) = std::sync::mpsc::channel();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let raw = std::os::fd::AsRawFd::as_raw_fd(&client);
        scope.spawn(move || {
            // SAFETY: this thread gets a copy of the table of descriptors, and closes only what it was not given.
            let made = unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FILES) };
            ready.send(made.map(|()| raw)).unwrap();
            let _ = stopped.recv();
        });
        is_ready.recv().unwrap().unwrap();
        drop(client);
        let found = holders(&HashSet::from([inode]));
        drop(stop);
        assert!(found.by_inode[&inode].contains(&std::process::id()));
    });
    drop(server);
}

/// Needs root, for a network namespace of its own.
#[test]
fn connections_of_another_network_namespace_are_listed_by_way_of_a_process() {
    if listing(&mut Diag::open().unwrap()).is_none() {
        return;
    }
    let there = std::thread::spawn(|| {
        // SAFETY: moves this thread alone, which ends with the closure.
        if let Err(error) = unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) } {
            assert!(!rustix::process::geteuid().is_root(), "{error}");
            return None;
        }
        bring_loopback_up();
        let (client, server) = pair("127.0.0.1:0").unwrap();
        let ends = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        let mut child = waiting(std::process::Stdio::piped());
        let listing = Diag::of_process(child.id()).and_then(|mut diag| diag.list());
        let others = other_namespaces();
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(others.0.contains(&child.id()) && others.1 == 0);
        assert_eq!(find(&listing.unwrap(), ends.0, ends.1, 6).unwrap().inode, inode(&client));
        drop(server);
        Some(ends)
    });
    let Some(ends) = there.join().unwrap() else { return };
    assert_eq!(find(&Diag::open().unwrap().list().unwrap(), ends.0, ends.1, 6), None);
    assert!(Diag::of_process(u32::MAX).is_err());
}

/// In a new namespace it is down.
fn bring_loopback_up() {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    // SAFETY: all zeroes is a valid request.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[..2].copy_from_slice(&[b'l' as libc::c_char, b'o' as libc::c_char]);
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    let raw = std::os::fd::AsRawFd::as_raw_fd(&socket);
    // SAFETY: an open socket, and the request that this command takes.
    assert_eq!(unsafe { libc::ioctl(raw, libc::SIOCSIFFLAGS as libc::Ioctl, &raw const request) }, 0);
}
