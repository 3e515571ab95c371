//! `monitor top`: the running agent on a full screen.

mod app;
mod draw;
mod keys;
mod poll;
mod table;
#[cfg(test)]
mod tests;
mod views;

use std::{
    io::{self, IsTerminal as _},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyEventKind},
};

use self::{app::App, poll::Poll};

/// How long to wait for a key before looking whether there is news.
const LOOK: Duration = Duration::from_millis(100);

/// Arguments of `monitor top`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Seconds between two looks.
    #[arg(long, short, value_name = "SECONDS", default_value_t = 2.0, value_parser = interval)]
    pub interval: f64,
    /// Print one picture with its rates as JSON, and end.
    #[arg(long)]
    pub json: bool,
    /// Run directory of the agent that is asked.
    #[arg(long, value_name = "DIR", default_value = "/run/monitor")]
    pub run_dir: PathBuf,
}

fn interval(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.2..=3600.0).contains(&seconds) { Ok(seconds) } else { Err("not from 0.2 to 3600".to_owned()) }
}

/// Shows it until the user has seen enough.
///
/// # Errors
/// When the agent doesn't run, or there is no terminal.
pub fn run(args: &Args) -> Result<ExitCode> {
    let interval = Duration::from_secs_f64(args.interval);
    if args.json {
        return poll::once(&args.run_dir, interval);
    }
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        bail!("`monitor top` needs a terminal; `monitor status` and `monitor top --json` don't");
    }
    let mut poll = Poll::start(&args.run_dir, interval)?;
    // It restores the terminal also when something panics.
    let mut terminal = ratatui::try_init().context("can't use the terminal")?;
    let outcome = follow(&mut terminal, &mut poll);
    ratatui::restore();
    outcome.map(|()| ExitCode::SUCCESS)
}

fn follow(terminal: &mut DefaultTerminal, poll: &mut Poll) -> Result<()> {
    let mut app = App::default();
    loop {
        while let Some(news) = poll.news() {
            app.take(news);
        }
        terminal.draw(|frame| draw::draw(frame, &mut app)).context("can't draw")?;
        if !event::poll(LOOK).context("can't read the keyboard")? {
            continue;
        }
        if let Event::Key(key) = event::read().context("can't read the keyboard")?
            && key.kind != KeyEventKind::Release
            && keys::press(&mut app, key).is_break()
        {
            return Ok(());
        }
    }
}
