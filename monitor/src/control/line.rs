//! Lines of JSON, in both directions.

use std::{
    io::{self, BufRead, BufWriter, Write},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{LINE, Request, VERSION};

/// A line of a request, as it is written.
#[derive(Serialize)]
struct Asked<'a> {
    version: u32,
    request: &'a Request,
}

/// The same, as it is read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Heard {
    #[serde(rename = "version")]
    _version: u32,
    request: Request,
}

/// What is read first: the rest of a line of another version may be anything.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// A request as a line, without its end.
pub(super) fn write(request: &Request) -> Result<Vec<u8>> {
    serde_json::to_vec(&Asked { version: VERSION, request }).context("can't write the request")
}

/// Reads a request.
pub(super) fn request(line: &[u8]) -> Result<Request> {
    let unreadable = |error| anyhow!("the request can't be read ({error}); is the agent of another version?");
    let Version { version } = serde_json::from_slice(line).map_err(unreadable)?;
    if version != VERSION {
        bail!(
            "the request is of version {version}, the agent speaks version {VERSION}: use the `monitor` that runs"
        );
    }
    Ok(serde_json::from_slice::<Heard>(line).map_err(unreadable)?.request)
}

/// A line of an answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply<I, D> {
    /// One of many.
    Item(I),
    /// The last line.
    Done(D),
    /// The last line, if it failed.
    Error(String),
}

/// Where an answer goes.
pub(super) struct Out {
    stream: BufWriter<UnixStream>,
}

impl Out {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream: BufWriter::with_capacity(LINE, stream) }
    }

    /// Writes one of many.
    pub(super) fn item(&mut self, item: impl Serialize) -> Result<()> {
        self.line(&Reply::<_, ()>::Item(item))
    }

    /// Writes the last line.
    pub(super) fn done(&mut self, done: impl Serialize) -> Result<()> {
        self.line(&Reply::<(), _>::Done(done))?;
        self.stream.flush().context(GONE)
    }

    /// Writes why it failed as the last line.
    pub(super) fn error(&mut self, error: &anyhow::Error) -> Result<()> {
        self.line(&Reply::<(), ()>::Error(format!("{error:#}")))?;
        self.stream.flush().context(GONE)
    }

    /// Sends what was written so far.
    pub(super) fn flush(&mut self) -> Result<()> {
        self.stream.flush().context(GONE)
    }

    /// Whether the other end has closed the connection.
    pub(super) fn is_gone(&self) -> bool {
        let mut fds = [PollFd::new(self.stream.get_ref(), PollFlags::RDHUP)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&now)).is_err() || !fds[0].revents().is_empty()
    }

    fn line(&mut self, line: &impl Serialize) -> Result<()> {
        serde_json::to_writer(&mut self.stream, line).context(GONE)?;
        self.stream.write_all(b"\n").context(GONE)
    }
}

/// What an error is called at which there is nobody left to tell it.
const GONE: &str = "the other end of the control socket doesn't read";

/// Reads a line; none at the end. From its first byte on, all of it must come within `limit`.
pub(super) fn read<'a>(
    stream: &mut impl BufRead,
    line: &'a mut Vec<u8>,
    most: usize,
    limit: Duration,
) -> Result<Option<&'a [u8]>> {
    line.clear();
    let mut begun = None;
    loop {
        let some = match stream.fill_buf() {
            Ok(some) => some,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => bail!("nothing came for too long"),
            Err(error) => return Err(error).context("can't read from the control socket"),
        };
        if some.is_empty() {
            if line.is_empty() {
                return Ok(None);
            }
            bail!("the connection ended inside of a line");
        }
        if begun.get_or_insert_with(Instant::now).elapsed() > limit {
            bail!("a line took longer than {limit:?}");
        }
        let end = some.iter().position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(some.len());
        if line.len() + taken >= most {
            bail!("a line is longer than {most} bytes");
        }
        line.extend_from_slice(&some[..taken]);
        stream.consume(end.map_or(taken, |end| end + 1));
        if end.is_some() {
            return Ok(Some(line));
        }
    }
}

/// Reads a line of an answer.
pub(super) fn reply<I: DeserializeOwned, D: DeserializeOwned>(line: &[u8]) -> Result<Reply<I, D>> {
    serde_json::from_slice(line).context("the agent's answer can't be read; is it of another version?")
}
