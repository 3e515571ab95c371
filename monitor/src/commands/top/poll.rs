//! Asks the agent again and again, on a thread of its own: the screen answers keys meanwhile.

use std::{
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::{app::Rates, views};
use crate::{
    control::{
        Request,
        client::Client,
        status::{FINDINGS, Finding, Status},
    },
    overview::Overview,
};

/// What the agent said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Picture {
    /// How it is.
    pub overview: Overview,
    /// Its last findings, the newest first.
    pub findings: Vec<Finding>,
}

/// A picture, or why there is none.
pub type News = Result<Picture, String>;

/// The thread's other end.
pub struct Poll(mpsc::Receiver<News>);

impl Poll {
    /// Asks for the first time, so that what can't work is told before the screen is taken.
    pub fn start(run_dir: &Path, interval: Duration) -> Result<Self> {
        let mut client = Client::connect(run_dir)?;
        let first = ask(&mut client)?;
        // When the screen is slow, there is at most one picture waiting.
        let (send, receive) = mpsc::sync_channel(1);
        let run_dir = run_dir.to_owned();
        send.send(Ok(first)).context("can't keep the first answer")?;
        let asking = move || follow(client, &run_dir, interval, &send);
        thread::Builder::new().name("poll".to_owned()).spawn(asking).context("can't start a thread")?;
        Ok(Self(receive))
    }

    /// What has come since.
    pub fn news(&mut self) -> Option<News> {
        self.0.try_recv().ok()
    }
}

fn follow(client: Client, run_dir: &Path, interval: Duration, send: &mpsc::SyncSender<News>) {
    let mut client = Some(client);
    loop {
        thread::sleep(interval);
        let news = match &mut client {
            Some(client) => ask(client),
            // An agent that was restarted is another one to connect to.
            None => Client::connect(run_dir).and_then(|mut new| {
                let news = ask(&mut new)?;
                client = Some(new);
                Ok(news)
            }),
        };
        if news.is_err() {
            client = None;
        }
        if send.send(news.map_err(|error| format!("{error:#}"))).is_err() {
            return;
        }
    }
}

fn ask(client: &mut Client) -> Result<Picture> {
    let mut findings = Vec::new();
    let request = Request::Status(Status { findings: FINDINGS });
    let overview = client.ask(&request, |finding| {
        findings.push(finding);
        Ok(())
    })?;
    Ok(Picture { overview, findings })
}

/// What `--json` prints.
#[derive(Serialize)]
struct Shown<'a> {
    overview: &'a Overview,
    /// By view, as the screen shows it.
    tables: Vec<Table>,
    findings: &'a [Finding],
}

#[derive(Serialize)]
struct Table {
    name: &'static str,
    rows: Vec<serde_json::Map<String, serde_json::Value>>,
}

/// Prints one picture, and the rates between it and one before.
pub fn once(run_dir: &Path, interval: Duration) -> Result<ExitCode> {
    let mut client = Client::connect(run_dir)?;
    let before = ask(&mut client)?;
    thread::sleep(interval);
    let after = ask(&mut client)?;
    let rates = Rates::between(Some(&before.overview), &after.overview);
    let tables = views::tables(&after, &rates).into_iter();
    let tables = tables.map(|(name, table)| Table { name, rows: table.json() }).collect();
    let shown = Shown { overview: &after.overview, tables, findings: &after.findings };
    let mut text = serde_json::to_vec_pretty(&shown).context("can't write the answer as JSON")?;
    text.push(b'\n');
    match io::stdout().lock().write_all(&text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("can't write to standard output")
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}
