//! Servers: they log or count what reached them.

use std::{
    collections::BTreeMap,
    ffi::c_int,
    fs::{self, File},
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::{
    net::{self, Address},
    say, until_stdin_closes,
    words::Words,
};

/// Where each accepted connection and datagram becomes a line.
type Log = Arc<Mutex<File>>;

/// `serve [tcp=ADDRESSES] [udp=ADDRESSES] log=FILE [shared=1] [patience=SECONDS]`: one line for each accepted connection or
/// datagram, with what the client said; until standard input closes. Says the bound addresses when it can be reached.
/// `shared` lets others bind the same ports; a client may be silent for two seconds, or for `patience`.
pub fn serve(words: &Words) -> Result<()> {
    let path = words.path("log")?;
    let log: Log =
        Arc::new(Mutex::new(File::create(&path).with_context(|| format!("creating {}", path.display()))?));
    let mut bound = json!({ "tcp": [], "udp": [] });
    let shared = words.get("shared").is_some();
    let patience = words.seconds("patience")?.unwrap_or(Duration::from_secs(2));
    for address in words.addresses("tcp")? {
        let listener = listen(address, shared).with_context(|| format!("listening on {address}"))?;
        push(&mut bound["tcp"], listener.local_addr()?);
        let log = Arc::clone(&log);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that stays silent must not hold up the next one.
                let log = Arc::clone(&log);
                thread::spawn(move || note_connection(&log, stream, patience));
            }
        });
    }
    for address in words.addresses("udp")? {
        let socket = datagrams(address, shared).with_context(|| format!("binding {address}"))?;
        enlarge(&socket);
        push(&mut bound["udp"], socket.local_addr()?);
        let log = Arc::clone(&log);
        thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                note(&log, "udp", peer, &buffer[..length]);
            }
        });
    }
    say(&bound);
    until_stdin_closes()
}

fn listen(at: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    if !shared {
        return TcpListener::bind(at);
    }
    let socket = bound(at, libc::SOCK_STREAM)?;
    net::listen(&socket)?;
    Ok(socket.into())
}

fn datagrams(at: SocketAddr, shared: bool) -> io::Result<UdpSocket> {
    if shared { bound(at, libc::SOCK_DGRAM).map(Into::into) } else { UdpSocket::bind(at) }
}

/// A socket beside which others may bind the same port.
fn bound(at: SocketAddr, kind: c_int) -> io::Result<OwnedFd> {
    let at = Address::ip(at);
    let socket = net::socket(at.family(), kind, 0)?;
    net::set(&socket, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    net::bind(&socket, &at)?;
    Ok(socket)
}

fn push(list: &mut Value, address: SocketAddr) {
    if let Value::Array(list) = list {
        list.push(json!(address.to_string()));
    }
}

/// Reads what the client says, up to the end of its stream: a client that was let through says its tag.
fn note_connection(log: &Log, mut stream: TcpStream, patience: Duration) {
    let Ok(peer) = stream.peer_addr() else { return };
    let _ = stream.set_read_timeout(Some(patience));
    let mut said = Vec::new();
    let _ = (&mut stream).take(256).read_to_end(&mut said);
    note(log, "tcp", peer, &said);
}

fn note(log: &Log, protocol: &str, peer: SocketAddr, said: &[u8]) {
    let said = String::from_utf8_lossy(said);
    let line =
        format!("{}\n", json!({ "protocol": protocol, "peer": peer.to_string(), "said": said.trim() }));
    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
    if let Err(error) = log.write_all(line.as_bytes()) {
        eprintln!("probe: writing the log: {error}");
    }
}

/// What one source sent.
#[derive(Default, Clone, Copy)]
struct Source {
    first: Option<Instant>,
    in_window: u64,
    total: u64,
}

/// `tally listen=ADDRESSES window=SECONDS`: counts datagrams by source until standard input closes; says the
/// bound addresses first, and at the end for each source the number within the window after its first
/// datagram, the number altogether, and how many the kernel dropped because the socket was full.
pub fn tally(words: &Words) -> Result<()> {
    let window = words.seconds("window")?.unwrap_or(Duration::MAX);
    let stop = Arc::new(AtomicBool::new(false));
    let before = overflows();
    let mut bound = json!({ "udp": [] });
    let mut threads = Vec::new();
    for address in words.addresses("listen")? {
        let socket = UdpSocket::bind(address).with_context(|| format!("binding {address}"))?;
        enlarge(&socket);
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        push(&mut bound["udp"], socket.local_addr()?);
        let stop = Arc::clone(&stop);
        threads.push(thread::spawn(move || count(&socket, window, &stop)));
    }
    say(&bound);
    until_stdin_closes()?;
    stop.store(true, Ordering::SeqCst);
    let mut sources = serde_json::Map::new();
    for thread in threads {
        for (address, source) in thread.join().unwrap_or_default() {
            let counts = json!({ "in_window": source.in_window, "total": source.total });
            sources.insert(address.to_string(), counts);
        }
    }
    say(&json!({ "sources": sources, "overflow": overflows() - before }));
    Ok(())
}

/// Counts until told to stop and nothing is waiting any more.
fn count(socket: &UdpSocket, window: Duration, stop: &AtomicBool) -> BTreeMap<IpAddr, Source> {
    let mut sources: BTreeMap<IpAddr, Source> = BTreeMap::new();
    let mut buffer = [0; 2048];
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((_, peer)) => {
                let source = sources.entry(peer.ip()).or_default();
                let first = *source.first.get_or_insert_with(Instant::now);
                source.total += 1;
                source.in_window += u64::from(first.elapsed() <= window);
            }
            Err(_) if stop.load(Ordering::SeqCst) => return sources,
            Err(_) => {}
        }
    }
}

/// Makes room for a burst, so that what the socket drops is not mistaken for what the agent drops. Root alone may.
fn enlarge(socket: &UdpSocket) {
    let _ = net::set(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 64 << 20);
}

/// Datagrams that this network namespace dropped because a socket was full (v4 and v6).
fn overflows() -> u64 {
    let v4 = fs::read_to_string("/proc/self/net/snmp").unwrap_or_default();
    let v6 = fs::read_to_string("/proc/self/net/snmp6").unwrap_or_default();
    let mut udp = v4.lines().filter_map(|line| line.strip_prefix("Udp: ")).map(str::split_whitespace);
    let column = udp.next().and_then(|mut names| names.position(|name| name == "RcvbufErrors"));
    let v4 = column.and_then(|column| udp.next()?.nth(column)?.parse::<u64>().ok()).unwrap_or_default();
    let v6 = v6.lines().find_map(|line| line.strip_prefix("Udp6RcvbufErrors")?.trim().parse::<u64>().ok());
    v4 + v6.unwrap_or_default()
}
