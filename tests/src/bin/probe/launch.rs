//! Launchers: every way a program gets to run.

pub mod overfull;
pub mod turn;

use std::{
    ffi::OsString,
    fs, io,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, ExitStatus},
    ptr, thread,
};

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::{Outcomes, error_name, say, wait_for_line, words::Words};

/// The file that the program `first` leaves behind when it got to run.
pub const MADE: &str = "made";

/// What became of a number of runs.
#[derive(Default)]
struct Runs {
    started: Outcomes,
    ended: Outcomes,
    pids: Vec<u32>,
    made: u64,
}

/// `spawn program=PATH [count=N] [threads=T] [pids=FILE] [wait=1] [-- argument...]`: runs a program N times, as
/// fast as T threads can, and tells how many started, how they ended and, with one thread, how many left a
/// file `made` in the working directory. With `wait` it says `ready` and begins at a line on standard input.
pub fn spawn(words: &Words) -> Result<()> {
    let program = words.path("program")?;
    let count: usize = words.number("count")?.unwrap_or(1);
    let threads: usize = words.number("threads")?.unwrap_or(1);
    let arguments = words.rest();
    if words.get("wait").is_some() {
        say(&json!({ "ready": std::process::id() }));
        wait_for_line()?;
    }
    let mut all = Runs::default();
    thread::scope(|scope| {
        let shares = (0..threads).map(|number| (count + number) / threads);
        let program = &program;
        let workers: Vec<_> = shares
            .map(|share| scope.spawn(move || run_many(program, arguments, share, threads == 1)))
            .collect();
        for worker in workers {
            let runs = worker.join().unwrap_or_default();
            all.started.merge(runs.started);
            all.ended.merge(runs.ended);
            all.pids.extend(runs.pids);
            all.made += runs.made;
        }
    });
    if let Some(path) = words.get("pids") {
        let lines: String = all.pids.iter().map(|pid| format!("{pid}\n")).collect();
        fs::write(path, lines).with_context(|| format!("writing {}", path.display()))?;
    }
    say(&json!({ "started": all.started.json(), "ended": all.ended.json(), "made": all.made }));
    Ok(())
}

fn run_many(program: &Path, arguments: &[OsString], count: usize, look: bool) -> Runs {
    let mut runs = Runs::default();
    for _ in 0..count {
        let child = Command::new(program).args(arguments).spawn();
        runs.started.add(&child);
        let Ok(mut child) = child else { continue };
        runs.pids.push(child.id());
        runs.ended.count(&ended(child.wait()));
        runs.made += u64::from(look && fs::remove_file(MADE).is_ok());
    }
    runs
}

/// How a program ended, or why it never began.
pub fn ended(status: io::Result<ExitStatus>) -> String {
    match status.map(|status| (status.code(), status.signal())) {
        Ok((Some(code), _)) => format!("code {code}"),
        Ok((None, Some(signal))) => format!("signal {signal}"),
        Ok((None, None)) => "neither".to_owned(),
        Err(error) => error_name(&error),
    }
}

/// `fork [count=N] [code=C]`: children that exit at once with a code; tells their pids.
pub fn fork(words: &Words) -> Result<()> {
    let count: usize = words.number("count")?.unwrap_or(1);
    let code: i32 = words.number("code")?.unwrap_or(0);
    let mut pids = Vec::new();
    for _ in 0..count {
        // SAFETY: this process has one thread; the child only exits.
        match unsafe { libc::fork() } {
            -1 => bail!("fork: {}", io::Error::last_os_error()),
            // SAFETY: ends the child without running anything of the parent's.
            0 => unsafe { libc::_exit(code) },
            pid => pids.push(pid),
        }
        // SAFETY: no status is asked for.
        unsafe { libc::wait(ptr::null_mut()) };
    }
    say(&json!({ "pids": pids }));
    Ok(())
}
