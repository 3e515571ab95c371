//! Syslog messages (RFC 5424): over a unix socket, UDP, TCP (RFC 6587, octet counting) and TLS (RFC 5425).
//!
//! None of these answers: what a stream was given when the other end went away may be lost without anybody knowing. Before each
//! batch is looked whether the other end has closed, which catches a restart between two batches.

use std::{
    io::{self, Read as _, Write},
    net::{TcpStream, ToSocketAddrs as _, UdpSocket},
    os::unix::net::UnixDatagram,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use rustix::io::Errno;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::{
    level,
    remote::{Failure, Remote},
    tls,
};
use crate::{
    config::{self, Endpoint},
    event::Event,
    metrics::Loss,
    render::{self, Style},
};

/// Facility 10, `authpriv`: security messages that not everybody may read.
const FACILITY: u8 = 10;
/// How long the other end may take to be reached, and to take a message.
const PATIENCE: Duration = Duration::from_secs(5);

/// A syslog server.
pub(super) struct Syslog {
    target: config::Syslog,
    style: Style,
    tls: Option<Arc<ClientConfig>>,
    link: Option<Link>,
}

enum Link {
    Unix(UnixDatagram),
    Udp(UdpSocket),
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Syslog {
    /// # Errors
    /// If the certificates to trust can't be read.
    pub fn new(target: config::Syslog, style: Style) -> Result<Self> {
        let tls = match &target {
            config::Syslog::Tls(_, ca) => Some(tls::client(ca.as_deref())?),
            _ => None,
        };
        Ok(Self { target, style, tls, link: None })
    }

    fn connect(&self) -> Result<Link> {
        Ok(match &self.target {
            config::Syslog::Unix(path) => {
                let socket = UnixDatagram::unbound().context("can't make a socket")?;
                socket.connect(path).with_context(|| format!("can't reach syslog at {}", path.display()))?;
                socket.set_write_timeout(Some(PATIENCE)).context("can't set a time limit")?;
                Link::Unix(socket)
            }
            config::Syslog::Udp(end) => {
                let address =
                    (&*end.host, end.port).to_socket_addrs().with_context(|| unreached(end))?.next();
                let address = address.with_context(|| unreached(end))?;
                let local = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(local).context("can't make a socket")?;
                socket.connect(address).with_context(|| unreached(end))?;
                Link::Udp(socket)
            }
            config::Syslog::Tcp(end) => Link::Tcp(stream(end)?),
            config::Syslog::Tls(end, _) => {
                let config = self.tls.clone().context("TLS is not set up")?;
                let mut connection = ClientConnection::new(config, tls::name(&end.host)?)?;
                let mut stream = stream(end)?;
                connection
                    .complete_io(&mut stream)
                    .with_context(|| format!("no TLS with {} port {}", end.host, end.port))?;
                Link::Tls(Box::new(StreamOwned::new(connection, stream)))
            }
        })
    }

    fn send_all(&mut self, events: &[Arc<Event>]) -> (usize, Result<(), Failure>) {
        if self.link.as_mut().is_some_and(Link::is_closed) {
            self.link = None;
        }
        if self.link.is_none() {
            match self.connect() {
                Ok(link) => self.link = Some(link),
                Err(error) => return (0, Err(Failure::Away(error))),
            }
        }
        let Some(link) = &mut self.link else { return (0, Ok(())) };
        let mut line = Vec::new();
        for (index, event) in events.iter().enumerate() {
            line.clear();
            message(event, self.style, &mut line);
            if let Err(error) = link.send(&line) {
                if error.raw_os_error() == Some(Errno::MSGSIZE.raw_os_error()) {
                    let error =
                        anyhow::Error::new(error).context(format!("a message of {} bytes", line.len()));
                    return (index, Err(Failure::Never(1, Loss::TooLarge, error)));
                }
                self.link = None;
                return (
                    index,
                    Err(Failure::Away(anyhow::Error::new(error).context("can't send to syslog"))),
                );
            }
        }
        (events.len(), Ok(()))
    }
}

impl Remote for Syslog {
    fn batch(&self) -> usize {
        256
    }

    fn send(&mut self, events: &[Arc<Event>]) -> (usize, Result<(), Failure>) {
        let (taken, result) = self.send_all(events);
        if result.is_ok()
            && let Some(link) = &mut self.link
            && let Err(error) = link.flush()
        {
            self.link = None;
            // Nobody knows how many of them arrived: better twice than never.
            return (0, Err(Failure::Away(anyhow::Error::new(error).context("can't send to syslog"))));
        }
        (taken, result)
    }

    fn reopen(&mut self) {
        self.link = None;
    }
}

fn unreached(end: &Endpoint) -> String {
    format!("can't reach syslog at {} port {}", end.host, end.port)
}

/// A connection.
pub(super) fn stream(end: &Endpoint) -> Result<TcpStream> {
    let addresses = (&*end.host, end.port).to_socket_addrs();
    let addresses = addresses.with_context(|| format!("can't find the address of {}", end.host))?;
    let mut last = None;
    for address in addresses {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                stream.set_write_timeout(Some(PATIENCE)).context("can't set a time limit")?;
                stream.set_read_timeout(Some(PATIENCE)).context("can't set a time limit")?;
                return Ok(stream);
            }
            Err(error) => last = Some(error),
        }
    }
    let error = last.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into());
    Err(anyhow::Error::new(error).context(format!("can't reach {} port {}", end.host, end.port)))
}

impl Link {
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            Self::Unix(socket) => socket.send(message).map(drop),
            Self::Udp(socket) => socket.send(message).map(drop),
            Self::Tcp(stream) => counted(stream, message),
            Self::Tls(stream) => counted(&mut **stream, message),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tls(stream) => stream.flush(),
            _ => Ok(()),
        }
    }

    /// Whether the other end has closed the connection. Syslog servers say nothing else.
    fn is_closed(&mut self) -> bool {
        let stream = match self {
            Self::Unix(_) | Self::Udp(_) => return false,
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => &mut stream.sock,
        };
        let mut bytes = [0; 1024];
        if stream.set_nonblocking(true).is_err() {
            return true;
        }
        // Of TLS, session tickets may come: only the end is of interest, so they are looked at and left.
        let end = match self {
            Self::Tls(stream) => match stream.conn.read_tls(&mut stream.sock) {
                Ok(0) => true,
                Ok(_) => stream.conn.process_new_packets().map_or(true, |state| state.peer_has_closed()),
                Err(error) => error.kind() != io::ErrorKind::WouldBlock,
            },
            Self::Tcp(stream) => match stream.read(&mut bytes) {
                Ok(count) => count == 0,
                Err(error) => error.kind() != io::ErrorKind::WouldBlock,
            },
            Self::Unix(_) | Self::Udp(_) => false,
        };
        let stream = match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => &mut stream.sock,
            Self::Unix(_) | Self::Udp(_) => return false,
        };
        end || stream.set_nonblocking(false).is_err()
    }
}

/// A message behind its length.
fn counted(stream: &mut impl Write, message: &[u8]) -> io::Result<()> {
    let mut frame = format!("{} ", message.len()).into_bytes();
    frame.extend_from_slice(message);
    stream.write_all(&frame)
}

/// One message: what it says is the line that a file would get.
fn message(event: &Event, style: Style, out: &mut Vec<u8>) {
    let priority = FACILITY * 8 + level::syslog(event);
    // RFC 5424 has six digits of a second at most, and 255 characters of a host's name without blanks.
    let host: String = render::host().chars().filter(char::is_ascii_graphic).take(255).collect();
    let host = if host.is_empty() { "-" } else { &host };
    let (pid, kind) = (std::process::id(), event.kind.name());
    let _ = write!(out, "<{priority}>1 {:.6} {host} monitor {pid} {kind} - ", event.time);
    style.line(event, out);
    out.pop();
}

#[cfg(test)]
mod tests {
    use std::{io::BufRead as _, net::TcpListener};

    use super::*;
    use crate::render::samples;

    #[test]
    fn a_message_has_its_head_and_its_line() {
        let mut out = Vec::new();
        message(&samples::denied_connect(), Style::Json, &mut out);
        let text = String::from_utf8(out).unwrap();
        let words: Vec<_> = text.splitn(8, ' ').collect();
        assert_eq!((words[0], words[1], words[3]), ("<84>1", "2026-11-23T17:40:32.000000Z", "monitor"));
        assert_eq!((words[5], words[6]), ("connect", "-"));
        let line: serde_json::Value = serde_json::from_str(words[7]).unwrap();
        assert_eq!(line["rule"], "orders");
    }

    fn tcp(port: u16) -> Syslog {
        let target = config::Syslog::Tcp(Endpoint { host: "127.0.0.1".into(), port });
        Syslog::new(target, Style::Json).unwrap()
    }

    /// Reads frames as RFC 6587 counts them.
    fn frame(stream: &mut io::BufReader<TcpStream>) -> String {
        let mut length = Vec::new();
        stream.read_until(b' ', &mut length).unwrap();
        let length: usize = std::str::from_utf8(&length).unwrap().trim_end().parse().unwrap();
        let mut message = vec![0; length];
        stream.read_exact(&mut message).unwrap();
        String::from_utf8(message).unwrap()
    }

    #[test]
    fn a_server_that_was_restarted_is_reached_again() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut syslog = tcp(server.local_addr().unwrap().port());
        let event = Arc::new(samples::denied_connect());
        for _ in 0..2 {
            assert!(matches!(syslog.send(&[Arc::clone(&event), Arc::clone(&event)]), (2, Ok(()))));
            let mut stream = io::BufReader::new(server.accept().unwrap().0);
            for _ in 0..2 {
                assert!(frame(&mut stream).contains("\"rule\":\"orders\""));
            }
            stream.get_ref().shutdown(std::net::Shutdown::Both).unwrap();
            drop(stream);
            // The end has to arrive before anybody can notice it.
            while !syslog.link.as_mut().unwrap().is_closed() {}
        }
    }

    #[test]
    fn who_is_not_there_is_away() {
        let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let event = Arc::new(samples::denied_connect());
        assert!(matches!(tcp(gone.port()).send(&[event]), (0, Err(Failure::Away(_)))));
    }
}
