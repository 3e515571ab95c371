//! Somebody who doesn't give up.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    Outcomes,
    launch::{MADE, ended},
    say, until_stdin_closes,
    ways::{self, Talk},
    words::Words,
};

/// The least time from one attempt to the next: 1,000 a second.
const PACE: Duration = Duration::from_millis(1);
/// `persist program=PATH to=ADDRESS [tag=TEXT]`: until standard input closes, executes a program and connects, each up to
/// 1,000 times a second in a thread of its own; tells the outcomes of both, and how many of the programs left a file `made` in
/// the working directory.
pub fn persist(words: &Words) -> Result<()> {
    let (program, to) = (words.path("program")?, words.address("to")?);
    let tag = words.text("tag").unwrap_or("-").to_owned();
    let end = AtomicBool::new(false);
    say(&json!({ "pid": std::process::id() }));
    let (execs, connects) = thread::scope(|scope| {
        let execs = scope.spawn(|| execs(&program, &end));
        let connects = scope.spawn(|| connects(words, to, &tag, &end));
        let closed = until_stdin_closes();
        end.store(true, Relaxed);
        closed.map(|()| (execs.join().unwrap_or_default(), connects.join().unwrap_or_default()))
    })?;
    say(&json!({ "execs": execs, "connects": connects }));
    Ok(())
}

fn execs(program: &Path, end: &AtomicBool) -> Value {
    let mut outcomes = Outcomes::default();
    let mut made = 0_u64;
    at_a_pace(end, || {
        outcomes.count(&ended(Command::new(program).status()));
        made += u64::from(fs::remove_file(MADE).is_ok());
    });
    json!({ "outcomes": outcomes.json(), "made": made })
}

fn connects(words: &Words, to: SocketAddr, tag: &str, end: &AtomicBool) -> Value {
    let mut outcomes = Outcomes::default();
    let Ok(once) = ways::find("tcp") else { return Value::Null };
    at_a_pace(end, || outcomes.add(&once(&Talk { to, tag, words })));
    outcomes.json()
}

fn at_a_pace(end: &AtomicBool, mut once: impl FnMut()) {
    // Once in any case.
    loop {
        let begun = Instant::now();
        once();
        if end.load(Relaxed) {
            return;
        }
        thread::sleep(PACE.saturating_sub(begun.elapsed()));
    }
}
