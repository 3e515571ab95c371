//! `monitor ban add`.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::{counted, print};
use crate::{
    agent::bans::{REASON_BYTES, prefix::Prefix},
    control::{
        LINE, Request,
        bans::{Add, Added, Refused},
        client::{Client, request_size, size},
    },
    event::Text,
};

/// Refused or unreadable entries of a file that are shown one by one.
const SHOWN: usize = 20;
/// The most bytes of a line of a file that may be an address.
const WORD: usize = 64;

/// Arguments of `monitor ban add`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address (203.0.113.7, 2001:db8::7) or network (198.51.100.0/24, 2001:db8::/48).
    #[arg(value_name = "ADDRESS", required_unless_present = "file", conflicts_with = "file")]
    pub addresses: Vec<String>,
    /// File with one address or network a line; `#` begins a comment, `-` is standard input.
    #[arg(long, value_name = "LIST")]
    pub file: Option<PathBuf>,
    /// For how long: 90s, 30m, 12h, 7d or 2w. Without it for good.
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub seconds: Option<u64>,
    /// Why, for whoever lists the bans; at most 256 bytes.
    #[arg(long, value_name = "TEXT", default_value = "", value_parser = reason)]
    pub reason: String,
    /// Also networks shorter than /8 (IPv6: /16). Whoever is protected is never dropped.
    #[arg(long)]
    pub force: bool,
}

/// Reads a time.
pub(crate) fn duration(text: &str) -> Result<u64, String> {
    const UNITS: [(char, u64); 5] = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400), ('w', 604_800)];
    const MOST: u64 = 100 * 365 * 86_400;
    let seconds = UNITS.iter().find_map(|(unit, seconds)| {
        let count: u64 = text.strip_suffix(*unit)?.parse().ok()?;
        count.checked_mul(*seconds)
    });
    match seconds {
        Some(seconds) if (1..=MOST).contains(&seconds) => Ok(seconds),
        Some(_) => Err("a time is from 1s to 100 years".to_owned()),
        None => Err("write a number and a unit: 90s, 30m, 12h, 7d or 2w".to_owned()),
    }
}

fn reason(text: &str) -> Result<String, String> {
    if text.len() <= REASON_BYTES {
        return Ok(text.to_owned());
    }
    Err(format!("it has {} bytes, at most {REASON_BYTES} are kept", text.len()))
}

pub(super) fn run(client: &mut Client, args: &Args) -> Result<ExitCode> {
    let mut sender = Sender::new(client, args);
    match &args.file {
        Some(path) => sender.file(path)?,
        None => args.addresses.iter().try_for_each(|address| sender.push(address))?,
    }
    sender.flush()?;
    sender.tell()
}

/// Sends bans in batches that fit into a line, and gathers what becomes of them.
struct Sender<'a> {
    client: &'a mut Client,
    batch: Add,
    /// Bytes of the batch as it is sent, at most.
    bytes: usize,
    empty: usize,
    done: Added,
    /// What is wrong with entries of the file.
    wrong: usize,
    progress: Option<Instant>,
    begun: Instant,
}

impl<'a> Sender<'a> {
    fn new(client: &'a mut Client, args: &Args) -> Self {
        let batch =
            Add { bans: Vec::new(), seconds: args.seconds, reason: args.reason.clone(), force: args.force };
        let empty = request_size(&Request::BanAdd(batch.clone()));
        let shown = args.file.is_some() && io::stderr().is_terminal();
        let begun = Instant::now();
        let progress = shown.then_some(begun);
        let done = Added::default();
        Self { client, batch, bytes: empty, empty, done, wrong: 0, progress, begun }
    }

    fn file(&mut self, path: &Path) -> Result<()> {
        let named = path.display();
        let mut lines: Box<dyn BufRead> = match path.to_str() {
            Some("-") => Box::new(io::stdin().lock()),
            _ => Box::new(BufReader::new(File::open(path).with_context(|| format!("can't open {named}"))?)),
        };
        let (mut line, mut number) = (Vec::new(), 0_u64);
        loop {
            line.clear();
            number += 1;
            if lines.read_until(b'\n', &mut line).with_context(|| format!("can't read {named}"))? == 0 {
                return Ok(());
            }
            let word = line.split(|byte| *byte == b'#').next().unwrap_or_default().trim_ascii();
            if word.is_empty() {
                continue;
            }
            match str::from_utf8(word).ok().filter(|word| word.len() <= WORD) {
                Some(word) if word.parse::<Prefix>().is_ok() => self.push(word)?,
                _ => {
                    let word = Text::new(&word[..word.len().min(WORD)]);
                    self.complain(&format!("line {number}: {} is no address or network", word.quoted()));
                }
            }
        }
    }

    fn push(&mut self, address: &str) -> Result<()> {
        let bytes = size(&address);
        if bytes > LINE - self.empty {
            bail!("an address is longer than a line may be");
        }
        if self.bytes + bytes > LINE {
            self.flush()?;
        }
        self.bytes += bytes;
        self.batch.bans.push(address.to_owned());
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if self.batch.bans.is_empty() {
            return Ok(());
        }
        let request = Request::BanAdd(self.batch.clone());
        let mut refused: Vec<Refused> = Vec::new();
        let done: Result<Added> = self.client.ask(&request, |one| {
            refused.push(one);
            Ok(())
        });
        for Refused { address, why } in refused {
            self.complain(&format!("{} is not banned: {why}", Text::from(&*address)));
        }
        let done = done.with_context(|| format!("after {}", counted(self.so_far(), "ban")))?;
        self.done.added += done.added;
        self.done.renewed += done.renewed;
        self.batch.bans.clear();
        self.bytes = self.empty;
        self.show_progress();
        Ok(())
    }

    fn so_far(&self) -> usize {
        self.done.added + self.done.renewed
    }

    fn complain(&mut self, what: &str) {
        self.wrong += 1;
        if self.wrong <= SHOWN {
            let clear = if self.progress.is_some() { "\r\x1b[K" } else { "" };
            eprintln!("{clear}monitor: {what}");
        } else if self.wrong == SHOWN + 1 {
            eprintln!("monitor: further ones are only counted");
        }
    }

    fn show_progress(&mut self) {
        const EVERY: Duration = Duration::from_millis(100);
        if self.progress.is_some_and(|last| last.elapsed() >= EVERY) {
            self.progress = Some(Instant::now());
            eprint!("\r{}\x1b[K", counted(self.so_far(), "ban"));
            let _ = io::stderr().flush();
        }
    }

    fn tell(self) -> Result<ExitCode> {
        if self.progress.is_some() {
            eprint!("\r\x1b[K");
        }
        let took = self.begun.elapsed();
        let mut text = format!("{} added", counted(self.done.added, "ban"));
        if self.done.renewed > 0 {
            text.push_str(&format!(", {} renewed", self.done.renewed));
        }
        if self.wrong > 0 {
            text.push_str(&format!(", {} not taken", self.wrong));
        }
        if took >= Duration::from_secs(1) {
            text.push_str(&format!(", in {:.1} s", took.as_secs_f64()));
        }
        print(&(text + "\n"))?;
        Ok(if self.wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_a_number_and_a_unit() {
        assert_eq!(duration("90s"), Ok(90));
        assert_eq!(duration("2w"), Ok(1_209_600));
        for text in ["", "1", "h", "-1h", "1.5h", "1y", "0s", "99999999999w", "101000d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
