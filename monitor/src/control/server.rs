//! The agent's end: a thread that takes connections, and one for each of them. None of them is on the way of an event.

use std::{
    io::BufReader,
    os::unix::net::UnixStream,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    LINE, Parts, SOCKET,
    access::{Access, Peer},
    answer,
    line::{self, Out},
    socket::Socket,
};
use crate::metrics::{ControlOutcome, Counters};

/// Connections at one time.
const CONNECTIONS: usize = 32;
/// Those of others than root: however many the group has, root gets through.
const OTHERS: usize = 24;
/// How long a request may take to come, from its first byte on.
const REQUEST: Duration = Duration::from_secs(5);
/// How long a connection may say nothing, or not take its answer.
const IDLE: Duration = Duration::from_secs(60);
/// How often the threads look whether the agent ends.
const LOOK_MS: i64 = 200;

/// What every connection needs.
struct Server {
    parts: Parts,
    access: Access,
    counters: Arc<Counters>,
    stop: Arc<AtomicBool>,
    connections: AtomicUsize,
}

/// A place among the connections; dropping it gives it back.
struct Place(Arc<Server>);

impl Place {
    fn take(server: &Arc<Server>, peer: Peer) -> Option<Self> {
        let most = if peer.is_root() { CONNECTIONS } else { OTHERS };
        let more = |taken: usize| (taken < most).then_some(taken + 1);
        server.connections.fetch_update(Relaxed, Relaxed, more).ok()?;
        Some(Self(Arc::clone(server)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
    }
}

/// Serves requests at the socket in the run directory, until `stop` is set.
///
/// # Errors
/// When the socket can't be made.
pub fn serve(
    run_dir: &Path,
    parts: Parts,
    access: Access,
    counters: Arc<Counters>,
    stop: Arc<AtomicBool>,
) -> Result<JoinHandle<()>> {
    let socket = Socket::make(&run_dir.join(SOCKET), access.group)?;
    let server = Arc::new(Server { parts, access, counters, stop, connections: AtomicUsize::new(0) });
    let builder = std::thread::Builder::new().name("control".to_owned());
    builder.spawn(move || take(&socket, &server)).context("can't start the thread of the control socket")
}

fn take(socket: &Socket, server: &Arc<Server>) {
    let wait = Timespec { tv_sec: 0, tv_nsec: LOOK_MS * 1_000_000 };
    while !server.stop.load(Relaxed) {
        let mut fds = [PollFd::new(&socket.listener, PollFlags::IN)];
        match poll(&mut fds, Some(&wait)) {
            Ok(0) | Err(_) => continue,
            Ok(_) => {}
        }
        let Ok((stream, _)) = socket.listener.accept() else { continue };
        if let Err(error) = begin(server, stream) {
            server.counters.control(ControlOutcome::Refused);
            tracing::warn!("control socket: {error:#}");
        }
    }
}

/// Starts the thread of a connection, or says why not.
fn begin(server: &Arc<Server>, stream: UnixStream) -> Result<()> {
    // What is sent below fits into the socket's buffer.
    stream.set_nonblocking(false).context("can't use a connection")?;
    stream.set_read_timeout(Some(IDLE)).context("can't use a connection")?;
    stream.set_write_timeout(Some(IDLE)).context("can't use a connection")?;
    let out = stream.try_clone().context("can't use a connection")?;
    let refuse = |why: anyhow::Error, out: UnixStream| -> Result<()> {
        let _ = Out::new(out).error(&why);
        Err(why)
    };
    let peer = match server.access.admit(&stream) {
        Ok(peer) => peer,
        Err(error) => return refuse(error, out),
    };
    let Some(place) = Place::take(server, peer) else {
        return refuse(anyhow!("there are too many connections already"), out);
    };
    let connection = move || {
        let mut out = Out::new(out);
        if let Err(error) = converse(&place.0, peer, stream, &mut out) {
            let _ = out.error(&error);
        }
    };
    let started = std::thread::Builder::new().name("control".to_owned()).spawn(connection);
    started.map(drop).context("there can be no more threads")
}

/// Answers one request after the other. An error ends the connection.
fn converse(server: &Server, peer: Peer, stream: UnixStream, out: &mut Out) -> Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    while let Some(line) = line::read(&mut stream, &mut line, LINE, REQUEST)? {
        if server.stop.load(Relaxed) {
            bail!("the agent is stopping");
        }
        let outcome = line::request(line).and_then(|request| {
            if request.changes() && !peer.changes {
                bail!("user {} may only look: `[control] changes` is not set", peer.user);
            }
            answer(&server.parts, &request, &server.stop, out)
        });
        match outcome {
            Ok(()) => server.counters.control(ControlOutcome::Done),
            Err(error) => {
                server.counters.control(ControlOutcome::Failed);
                out.error(&error)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, Read as _, Write as _};

    use super::*;

    struct Running {
        dir: tempfile::TempDir,
        stop: Arc<AtomicBool>,
        thread: Option<JoinHandle<()>>,
    }

    impl Running {
        fn start() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let stop = Arc::new(AtomicBool::new(false));
            let thread = serve(
                dir.path(),
                Parts {
                    bans: Default::default(),
                    orders: crate::agent::orders::Orders::nowhere(),
                    overview: None,
                },
                Access::default(),
                Arc::default(),
                Arc::clone(&stop),
            )
            .unwrap();
            Self { dir, stop, thread: Some(thread) }
        }

        fn connect(&self) -> BufReader<UnixStream> {
            BufReader::new(UnixStream::connect(self.dir.path().join(SOCKET)).unwrap())
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            self.stop.store(true, Relaxed);
            self.thread.take().unwrap().join().unwrap();
        }
    }

    fn ask(stream: &mut BufReader<UnixStream>, line: &str) -> String {
        stream.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_line(&mut answer).unwrap();
        answer
    }

    /// Only root may ask, in tests as well.
    fn is_root() -> bool {
        rustix::process::geteuid().is_root()
    }

    #[test]
    fn what_is_not_known_is_answered_with_an_error() {
        let server = Running::start();
        let mut stream = server.connect();
        if !is_root() {
            assert!(ask(&mut stream, "{}").contains("is not root"));
            return;
        }
        for line in [
            "",
            "{}",
            "no json",
            r#"{"version":1}"#,
            r#"{"version":1,"request":{"make_coffee":{}}}"#,
            r#"{"version":-1,"request":{"ban_list":{}}}"#,
            "[[[[",
            r#"{"version":1,"request":{"ban_list":{"x":1}}}"#,
            r#"{"version":1,"request":{"ban_list":{}},"x":1}"#,
        ] {
            let answer = ask(&mut stream, line);
            assert!(answer.starts_with("{\"error\":\"the request can't be read"), "{line}: {answer}");
        }
        let answer = ask(&mut stream, r#"{"version":2,"request":["what is this?"]}"#);
        assert!(answer.contains("of version 2, the agent speaks version 1"), "{answer}");
        let answer = ask(&mut stream, r#"{"version":1,"request":{"ban_list":{}}}"#);
        assert!(answer.contains("no [[rate_limit]]"), "{answer}");
    }

    #[test]
    fn lines_and_connections_are_bounded() {
        if !is_root() {
            return;
        }
        let server = Running::start();
        let mut stream = server.connect();
        stream.get_mut().write_all(&vec![b'x'; LINE]).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("longer than"), "{answer}");
        let mut held: Vec<_> = (0..CONNECTIONS).map(|_| server.connect()).collect();
        held.iter_mut().for_each(|stream| assert!(ask(stream, "{}").contains("can't be read")));
        let mut refused = String::new();
        server.connect().read_line(&mut refused).unwrap();
        assert!(refused.contains("too many connections already"), "{refused}");
    }
}
