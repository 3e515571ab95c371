//! Lines of JSON, in both directions.

use std::{
    io::{self, BufRead, BufWriter, Read as _, Write},
    os::unix::net::UnixStream,
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::LINE;

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

    fn line(&mut self, line: &impl Serialize) -> Result<()> {
        serde_json::to_writer(&mut self.stream, line).context(GONE)?;
        self.stream.write_all(b"\n").context(GONE)
    }
}

/// What an error is called at which there is nobody left to tell it.
const GONE: &str = "the other end of the control socket doesn't read";

/// Reads a line; none at the end.
pub(super) fn read<'a>(stream: &mut impl BufRead, line: &'a mut Vec<u8>) -> Result<Option<&'a [u8]>> {
    line.clear();
    let most = LINE as u64;
    match stream.take(most).read_until(b'\n', line) {
        Ok(0) => return Ok(None),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => bail!("nothing came for too long"),
        Err(error) => return Err(error).context("can't read from the control socket"),
    }
    match line.strip_suffix(b"\n") {
        Some(whole) => Ok(Some(whole)),
        None if line.len() >= LINE => bail!("a line is longer than {LINE} bytes"),
        None => bail!("the connection ended inside of a line"),
    }
}

/// Reads a line of an answer.
pub(super) fn reply<I: DeserializeOwned, D: DeserializeOwned>(line: &[u8]) -> Result<Reply<I, D>> {
    serde_json::from_slice(line).context("the agent's answer can't be read; is it of another version?")
}
