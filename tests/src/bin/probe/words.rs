//! The command line: `COMMAND [key=value]... [-- argument...]`.

use std::{
    ffi::{OsStr, OsString},
    net::SocketAddr,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use anyhow::{Context, Result, anyhow};

/// The words of the command line. Arguments without `=` before `--` are ignored, so that a test can give a
/// process any argument it likes.
pub struct Words {
    command: String,
    options: Vec<(Vec<u8>, OsString)>,
    rest: Vec<OsString>,
}

impl Words {
    pub fn from_process() -> Result<Self> {
        Self::new(std::env::args_os().skip(1))
    }

    /// The words of a line, with spaces between them.
    pub fn from_line(line: &str) -> Result<Self> {
        Self::new(line.split_whitespace().map(OsString::from))
    }

    fn new(mut words: impl Iterator<Item = OsString>) -> Result<Self> {
        let command = words.next().context("no command given")?;
        let command = command.into_string().map_err(|command| anyhow!("no command {command:?}"))?;
        let mut options = Vec::new();
        for word in words.by_ref().take_while(|word| word != "--") {
            let bytes = word.as_bytes();
            if let Some(at) = bytes.iter().position(|&byte| byte == b'=') {
                let value = OsString::from_vec(bytes[at + 1..].to_vec());
                options.push((bytes[..at].to_vec(), value));
            }
        }
        Ok(Self { command, options, rest: words.collect() })
    }

    pub fn command(&self) -> &str {
        &self.command
    }

    /// The arguments behind `--`.
    pub fn rest(&self) -> &[OsString] {
        &self.rest
    }

    pub fn get(&self, key: &str) -> Option<&OsStr> {
        let option = self.options.iter().find(|(name, _)| name == key.as_bytes());
        option.map(|(_, value)| value.as_os_str())
    }

    /// The value of a key, if it is there and is text.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(OsStr::to_str)
    }

    pub fn path(&self, key: &str) -> Result<PathBuf> {
        self.get(key).map(PathBuf::from).with_context(|| format!("{key}=PATH is missing"))
    }

    pub fn number<T: FromStr>(&self, key: &str) -> Result<Option<T>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let text = value.to_str().with_context(|| format!("{key}={value:?} is no number"))?;
        text.parse().map(Some).map_err(|_| anyhow!("{key}={text} is no number"))
    }

    pub fn seconds(&self, key: &str) -> Result<Option<Duration>> {
        Ok(self.number::<f64>(key)?.map(Duration::from_secs_f64))
    }

    pub fn address(&self, key: &str) -> Result<SocketAddr> {
        let addresses = self.addresses(key)?;
        addresses.first().copied().with_context(|| format!("{key}=ADDRESS:PORT is missing"))
    }

    /// A list of socket addresses with commas between them; empty when the key is absent.
    pub fn addresses(&self, key: &str) -> Result<Vec<SocketAddr>> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let text = value.to_str().with_context(|| format!("{key}={value:?} is no address"))?;
        text.split(',').map(|part| part.parse().with_context(|| format!("{key}={part}"))).collect()
    }
}
