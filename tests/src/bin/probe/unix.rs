//! Unix sockets: servers, and every way to name one.

use std::{
    ffi::c_int,
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::{UnixDatagram, UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::{
    Outcomes, mount,
    net::{self, Address},
    say, until_stdin_closes,
    words::Words,
};

/// `unix-serve [stream=PATH] [datagram=PATH] log=FILE`: writes what clients say, a line each, to a file; until standard
/// input closes. A path that begins with `@` is a name in the abstract namespace.
pub fn serve(words: &Words) -> Result<()> {
    let path = words.path("log")?;
    let log = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
    let bound = |kind: c_int, at: &str| -> Result<_> {
        let socket = net::socket(libc::AF_UNIX, kind, 0)?;
        net::bind(&socket, &Address::unix(Path::new(at))?).with_context(|| format!("binding {at}"))?;
        Ok(socket)
    };
    if let Some(at) = words.text("stream") {
        let socket = bound(libc::SOCK_STREAM, at)?;
        net::listen(&socket)?;
        let (listener, log) = (UnixListener::from(socket), log.try_clone()?);
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut said = Vec::new();
                let _ = stream.read_to_end(&mut said);
                note(&log, "stream", &said);
            }
        });
    }
    if let Some(at) = words.text("datagram") {
        let socket = UnixDatagram::from(bound(libc::SOCK_DGRAM, at)?);
        thread::spawn(move || {
            let mut buffer = [0; 256];
            while let Ok(length) = socket.recv(&mut buffer) {
                note(&log, "datagram", &buffer[..length]);
            }
        });
    }
    say(&json!({ "pid": std::process::id() }));
    until_stdin_closes()
}

/// A line as servers for other sockets write it.
fn note(mut log: &File, protocol: &str, said: &[u8]) {
    let line = format!("{}\n", json!({ "protocol": protocol, "said": String::from_utf8_lossy(said).trim() }));
    let _ = log.write_all(line.as_bytes());
}

/// `unix to=PATH [kind=stream|datagram|sendto] [spelling=NAME] [mount=DIRECTORY] [tag=TEXT]`: says its tag at a unix socket,
/// whose path is spelled `plain`, `relative`, by a `descriptor` of its directory, or in a directory that is `mounted`
/// at another one, for this process alone.
pub fn unix(words: &Words) -> Result<()> {
    let to = spelled(words)?;
    let tag = words.text("tag").unwrap_or("-").as_bytes();
    let outcome = match words.text("kind").unwrap_or("stream") {
        "stream" => {
            connect(libc::SOCK_STREAM, &to).and_then(|socket| UnixStream::from(socket).write_all(tag))
        }
        "datagram" => {
            connect(libc::SOCK_DGRAM, &to).and_then(|socket| UnixDatagram::from(socket).send(tag).map(drop))
        }
        "sendto" => Address::unix(&to)
            .and_then(|to| net::send_to(net::socket(libc::AF_UNIX, libc::SOCK_DGRAM, 0)?, tag, 0, &to)),
        other => bail!("no kind {other:?}"),
    };
    let mut outcomes = Outcomes::default();
    outcomes.add(&outcome);
    say(&outcomes.json());
    Ok(())
}

fn connect(kind: c_int, to: &Path) -> io::Result<OwnedFd> {
    let socket = net::socket(libc::AF_UNIX, kind, 0)?;
    net::connect(&socket, &Address::unix(to)?)?;
    Ok(socket)
}

/// The path as a client shall spell it.
fn spelled(words: &Words) -> Result<PathBuf> {
    let path = words.path("to")?;
    let directory = path.parent().context("a path in a directory")?;
    let name = path.file_name().context("a path with a name")?;
    Ok(match words.text("spelling").unwrap_or("plain") {
        "plain" => path,
        "relative" => {
            std::env::set_current_dir(directory)?;
            Path::new(".").join(name)
        }
        "descriptor" => {
            let directory = File::open(directory)?;
            let path = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name);
            // Open until the process ends.
            std::mem::forget(directory);
            path
        }
        "mounted" => {
            let point = words.path("mount")?;
            mount::own_namespace()?;
            mount::bind(directory, &point)?;
            point.join(name)
        }
        other => bail!("no spelling {other:?}"),
    })
}
