//! What is kept of the bans while no agent runs.
//!
//! One file of lines, written anew as a whole. Texts come before the first line that refers to them, and are referred to by
//! their place among the texts of their kind.
//!
//! ```text
//! monitor-bans 1
//! r "reason"                                  a reason
//! b 203.0.113.7 1732380000 1732383600 0       a ban by hand: address or network, since, until (`-` for good), reason
//! n "name of a rule"                          a rule
//! p 203.0.113.9 2 0 1732383600 0              a penalty: masked address, strikes, flags, until, rule
//! end 2                                       how many bans and penalties there were
//! ```

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read as _, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    str::{FromStr, SplitAsciiWhitespace},
    sync::Arc,
};

use anyhow::{Context as _, Result, anyhow, bail};
use monitor_common::addr::Addr;

use super::prefix::Prefix;
use crate::host::whole;

const HEADER: &str = "monitor-bans 1";
const NAME: &str = "bans";
/// No file of ours is larger: two million lines, each with a text of its own.
const MOST_BYTES: u64 = 2 << 30;

/// A ban as it is kept. Times are seconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saved {
    /// By hand.
    Hand {
        /// Who.
        prefix: Prefix,
        /// Since when.
        since: i64,
        /// Until when; `None` for good.
        until: Option<i64>,
        /// Why.
        reason: Arc<str>,
    },
    /// By a rule.
    Penalty {
        /// Who, masked.
        addr: Addr,
        /// How many penalties there were.
        strikes: u32,
        /// Flags of [`monitor_common::limit::Ban`].
        flags: u32,
        /// Until when.
        until: Option<i64>,
        /// Name of the rule.
        rule: Arc<str>,
    },
}

/// The file.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// In a directory, which need not exist.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.dir.join(NAME)
    }

    /// Reads everything; nothing if there is no file.
    ///
    /// # Errors
    /// When it can't be read or isn't as it should be.
    pub fn read(&self) -> Result<Vec<Saved>> {
        let path = self.path();
        match File::open(&path) {
            Ok(file) => read(BufReader::with_capacity(1 << 20, file.take(MOST_BYTES)))
                .with_context(|| format!("can't read the bans of earlier runs from {}", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error).with_context(|| format!("can't open {}", path.display())),
        }
    }

    /// Puts a file that can't be read out of the way, for somebody to look at; where it is then.
    ///
    /// # Errors
    /// When it can't be renamed.
    pub fn set_aside(&self) -> Result<PathBuf> {
        let aside = self.dir.join("bans.broken");
        fs::rename(self.path(), &aside)
            .with_context(|| format!("can't rename {} to {}", self.path().display(), aside.display()))?;
        Ok(aside)
    }

    /// Writes everything that `each` gives it; the old file stays until the new one is on the disk.
    ///
    /// # Errors
    /// When it can't be written; then the old one is still there.
    pub fn write(&self, each: impl FnOnce(&mut Writer) -> Result<()>) -> Result<()> {
        let mut dir = fs::DirBuilder::new();
        dir.recursive(true).mode(0o700).create(&self.dir).context("can't make the directory for the bans")?;
        whole::write(&self.path(), |file| {
            let mut writer = Writer {
                out: BufWriter::with_capacity(1 << 20, file),
                reasons: HashMap::new(),
                names: HashMap::new(),
                written: 0,
            };
            writeln!(writer.out, "{HEADER}")?;
            each(&mut writer)?;
            writeln!(writer.out, "end {}", writer.written)?;
            Ok(writer.out.into_inner().map_err(io::IntoInnerError::into_error)?)
        })
    }
}

/// Writes one ban after the other.
#[derive(Debug)]
pub struct Writer {
    out: BufWriter<File>,
    reasons: HashMap<Arc<str>, usize>,
    names: HashMap<Arc<str>, usize>,
    written: u64,
}

impl Writer {
    /// Writes one.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn add(&mut self, ban: &Saved) -> Result<()> {
        let end = |until: &Option<i64>| until.map_or_else(|| "-".to_owned(), |until| until.to_string());
        match ban {
            Saved::Hand { prefix, since, until, reason } => {
                let reason = text(&mut self.out, 'r', &mut self.reasons, reason)?;
                writeln!(self.out, "b {prefix} {since} {} {reason}", end(until))?;
            }
            Saved::Penalty { addr, strikes, flags, until, rule } => {
                let rule = text(&mut self.out, 'n', &mut self.names, rule)?;
                writeln!(self.out, "p {addr} {strikes} {flags} {} {rule}", end(until))?;
            }
        }
        self.written += 1;
        Ok(())
    }
}

/// The place of a text, which is written before its first use.
fn text(
    out: &mut impl io::Write,
    kind: char,
    known: &mut HashMap<Arc<str>, usize>,
    text: &Arc<str>,
) -> Result<usize> {
    if let Some(place) = known.get(text) {
        return Ok(*place);
    }
    writeln!(out, "{kind} {}", serde_json::to_string(&**text)?)?;
    known.insert(Arc::clone(text), known.len());
    Ok(known.len() - 1)
}

fn read(mut lines: impl io::BufRead) -> Result<Vec<Saved>> {
    let mut found = Vec::new();
    let (mut reasons, mut names) = (Vec::new(), Vec::new());
    let (mut line, mut number) = (String::new(), 0_u64);
    loop {
        line.clear();
        number += 1;
        if lines.read_line(&mut line).with_context(|| format!("line {number}"))? == 0 {
            bail!("the end is missing: it was not written to its end");
        }
        let Some(whole) = line.strip_suffix('\n') else { bail!("line {number} is not whole") };
        if number == 1 {
            if whole != HEADER {
                bail!(
                    "it doesn't begin with {HEADER:?}: another version of monitor wrote it, or something else"
                );
            }
            continue;
        }
        match whole.split_once(' ') {
            Some(("r", json)) => reasons.push(Arc::from(quoted(json, number)?)),
            Some(("n", json)) => names.push(Arc::from(quoted(json, number)?)),
            Some(("b", rest)) => {
                found.push(hand(rest, &reasons).with_context(|| format!("line {number} is no ban"))?);
            }
            Some(("p", rest)) => {
                found.push(penalty(rest, &names).with_context(|| format!("line {number} is no penalty"))?);
            }
            Some(("end", count)) if count.parse() == Ok(found.len()) => return Ok(found),
            Some(("end", _)) => bail!("it has another number of bans than it says"),
            _ => bail!("line {number} is of no known kind"),
        }
    }
}

fn quoted(json: &str, number: u64) -> Result<String> {
    serde_json::from_str(json).with_context(|| format!("line {number} is no text"))
}

fn hand(rest: &str, reasons: &[Arc<str>]) -> Result<Saved> {
    let mut words = rest.split_ascii_whitespace();
    let prefix = words.next().context("no address")?.parse().map_err(|error: String| anyhow!(error))?;
    let since = word(&mut words)?;
    let until = end(&mut words)?;
    Ok(Saved::Hand { prefix, since, until, reason: referred(&mut words, reasons)? })
}

fn penalty(rest: &str, names: &[Arc<str>]) -> Result<Saved> {
    let mut words = rest.split_ascii_whitespace();
    let addr = Addr::from(word::<std::net::IpAddr>(&mut words)?);
    let (strikes, flags) = (word(&mut words)?, word(&mut words)?);
    let until = end(&mut words)?;
    Ok(Saved::Penalty { addr, strikes, flags, until, rule: referred(&mut words, names)? })
}

fn word<T: FromStr>(words: &mut SplitAsciiWhitespace) -> Result<T> {
    words.next().and_then(|word| word.parse().ok()).context("a word is missing or wrong")
}

fn end(words: &mut SplitAsciiWhitespace) -> Result<Option<i64>> {
    match words.next() {
        Some("-") => Ok(None),
        Some(word) => word.parse().map(Some).context("no time"),
        None => bail!("no end"),
    }
}

fn referred(words: &mut SplitAsciiWhitespace, texts: &[Arc<str>]) -> Result<Arc<str>> {
    let place: usize = word(words)?;
    texts.get(place).cloned().context("a text that wasn't there before")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn some() -> Vec<Saved> {
        let hand = |prefix: &str, until, reason: &str| Saved::Hand {
            prefix: prefix.parse().unwrap(),
            since: 1_732_380_000,
            until,
            reason: reason.into(),
        };
        let penalty = |addr: &str, rule: &str| Saved::Penalty {
            addr: addr.parse::<std::net::IpAddr>().unwrap().into(),
            strikes: 3,
            flags: 1,
            until: Some(1_732_383_600),
            rule: rule.into(),
        };
        vec![
            hand("203.0.113.7", Some(1_732_383_600), "line\nbreak \"and\" \u{1b}[2J"),
            hand("10.0.0.0/8", None, ""),
            hand("2001:db8::/64", None, "line\nbreak \"and\" \u{1b}[2J"),
            penalty("198.51.100.0", "https per client"),
            penalty("2001:db8::", "end 4"),
        ]
    }

    fn written(bans: &[Saved]) -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(&dir.path().join("deep/state"));
        store.write(|writer| bans.iter().try_for_each(|ban| writer.add(ban))).unwrap();
        (dir, store)
    }

    #[test]
    fn everything_comes_back() {
        let (_dir, store) = written(&some());
        assert_eq!(store.read().unwrap(), some());
        assert_eq!(fs::metadata(store.path()).unwrap().permissions().mode() & 0o777, 0o600);
        store.write(|_| Ok(())).unwrap();
        assert!(store.read().unwrap().is_empty());
    }

    #[test]
    fn no_file_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Store::new(dir.path()).read().unwrap().is_empty());
    }

    #[test]
    fn a_broken_file_is_never_read_in_part() {
        let (_dir, store) = written(&some());
        let good = fs::read(store.path()).unwrap();
        for cut in 0..good.len() {
            fs::write(store.path(), &good[..cut]).unwrap();
            assert!(store.read().is_err(), "cut after {cut} bytes");
        }
        let text = String::from_utf8(good).unwrap();
        for (from, to) in [
            ("bans 1", "bans 2"),
            ("b 203", "x 203"),
            ("113.7", "113.777"),
            ("end 5", "end 4"),
            ("- 1", "- 9"),
            ("r \"", "r "),
            ("b 10.0.0.0/8", "b \u{ff}"),
        ] {
            assert!(text.contains(from), "{from}");
            fs::write(store.path(), text.replacen(from, to, 1)).unwrap();
            let error = format!("{:#}", store.read().unwrap_err());
            assert!(error.contains("can't read the bans"), "{error}");
        }
        fs::write(store.path(), b"monitor-bans 1\nb \xff\n").unwrap();
        assert!(store.read().is_err());
        let aside = store.set_aside().unwrap();
        assert!(aside.exists() && store.read().unwrap().is_empty());
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let (_dir, store) = written(&some());
        assert!(store.write(|_| bail!("no")).is_err());
        assert_eq!(store.read().unwrap(), some());
    }
}
