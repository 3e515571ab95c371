//! The commands' end.

use std::{
    fmt,
    io::{self, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    ANSWER, LINE, Request, SOCKET,
    line::{self, Reply},
};

/// How long the agent may take for a line.
const PATIENCE: Duration = Duration::from_secs(60);

/// No agent runs with this socket.
#[derive(Debug)]
pub struct NotRunning(String);

impl fmt::Display for NotRunning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(path) = self;
        write!(
            f,
            "no agent runs here: nobody listens at {path}; start `monitor run`, or name its directory with --run-dir"
        )
    }
}

impl std::error::Error for NotRunning {}

/// A connection to the running agent.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    line: Vec<u8>,
}

impl Client {
    /// Connects to the agent with this run directory.
    ///
    /// # Errors
    /// Says what to do about it.
    pub fn connect(run_dir: &Path) -> Result<Self> {
        let path = run_dir.join(SOCKET);
        let stream = UnixStream::connect(&path).map_err(|error| explain(&path, &error))?;
        for outcome in [stream.set_read_timeout(Some(PATIENCE)), stream.set_write_timeout(Some(PATIENCE))] {
            outcome.context("can't use the control socket")?;
        }
        Ok(Self { stream: BufReader::with_capacity(LINE, stream), line: Vec::new() })
    }

    /// Waits for answers however long they take.
    ///
    /// # Errors
    /// When the socket can't be used.
    pub fn wait_for_ever(&mut self) -> Result<()> {
        self.stream.get_ref().set_read_timeout(None).context("can't use the control socket")
    }

    /// Asks, and gives each item of the answer to `each`.
    ///
    /// # Errors
    /// What the agent says, that it isn't there any more, or what `each` says.
    pub fn ask<I: DeserializeOwned, D: DeserializeOwned>(
        &mut self,
        request: &Request,
        mut each: impl FnMut(I) -> Result<()>,
    ) -> Result<D> {
        let mut text = line::write(request)?;
        text.push(b'\n');
        // If it was refused already, the reason can still be read.
        let sent = self.stream.get_mut().write_all(&text);
        loop {
            let Some(line) = line::read(&mut self.stream, &mut self.line, ANSWER, PATIENCE)? else {
                sent.context("the agent went away")?;
                bail!("the agent went away without an answer");
            };
            match line::reply::<I, D>(line)? {
                Reply::Item(item) => each(item)?,
                Reply::Done(done) => return Ok(done),
                Reply::Error(error) => return Err(anyhow!("the agent says: {error}")),
            }
        }
    }
}

/// How many bytes a request takes on its line, with all that is around it.
pub(crate) fn request_size(request: &Request) -> usize {
    line::write(request).map_or(LINE, |text| text.len() + 1)
}

/// How many bytes a value takes inside of a request.
pub(crate) fn size(value: &impl Serialize) -> usize {
    serde_json::to_string(value).map_or(LINE, |text| text.len() + 1)
}

fn explain(path: &Path, error: &io::Error) -> anyhow::Error {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => NotRunning(path.to_string()).into(),
        io::ErrorKind::PermissionDenied => anyhow!(
            "only root, and the group that `[control] group` names, may ask the agent; use sudo ({path}: {error})"
        ),
        _ => anyhow!("can't reach the agent at {path}: {error}"),
    }
}
