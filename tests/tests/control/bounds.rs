//! How much one may ask: lines, connections and time are bounded, and root gets through beside others.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::{
    agent::{Agent, Mode, Setup},
    cgroup::Cgroup,
};

const LIST: &str = r#"{"version":1,"request":{"ban_list":{}}}"#;

fn connect(agent: &Agent<'_>) -> Result<BufReader<UnixStream>> {
    let stream = UnixStream::connect(agent.run_directory().join("control.sock"))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    Ok(BufReader::new(stream))
}

fn ask(stream: &mut BufReader<UnixStream>, line: &str) -> Result<Value> {
    stream.get_mut().write_all(format!("{line}\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_line(&mut answer)?;
    serde_json::from_str(&answer).with_context(|| format!("the answer {answer:?}"))
}

fn is_error(answer: &Value, words: &str) -> Result<()> {
    ensure!(answer["error"].as_str().is_some_and(|error| error.contains(words)), "no {words:?} in {answer}");
    Ok(())
}

#[test]
fn requests_are_bounded_and_bad_ones_answered() -> Result<()> {
    let scope = Cgroup::new()?;
    let agent = Setup::new(Mode::Observe, &scope).start()?;
    let mut stream = connect(&agent)?;
    is_error(&ask(&mut stream, "nonsense")?, "can't be read")?;
    is_error(&ask(&mut stream, r#"{"version":7,"request":{}}"#)?, "of version 7")?;
    // The same connection goes on.
    is_error(&ask(&mut stream, LIST)?, "no [[rate_limit]]")?;
    // A line that never ends.
    let mut endless = connect(&agent)?;
    let _ = endless.get_mut().write_all(&vec![b'['; 1 << 20]);
    let mut answer = Vec::new();
    let _ = endless.read_to_end(&mut answer);
    // The kernel may throw the answer away with what was left unread.
    ensure!(answer.is_empty() || String::from_utf8_lossy(&answer).contains("longer than"));
    // A line that doesn't come in time: a byte now and then keeps nobody's place.
    let mut slow = connect(&agent)?;
    let stuck = std::time::Instant::now();
    while slow.get_mut().write_all(b" ").is_ok() {
        ensure!(stuck.elapsed() < Duration::from_secs(60), "a slow request is waited for");
        slow.get_ref().set_read_timeout(Some(Duration::from_millis(200)))?;
        if matches!(slow.fill_buf(), Ok(some) if !some.is_empty()) {
            break;
        }
    }
    // More connections than there are places: told so, and it goes on when one leaves.
    let mut held = Vec::new();
    let refused = loop {
        let mut next = connect(&agent)?;
        ensure!(held.len() < 100, "connections are not bounded");
        let answer = ask(&mut next, LIST).ok();
        match answer {
            Some(answer) if is_error(&answer, "no [[rate_limit]]").is_ok() => held.push(next),
            // The request may have met a closed door before the answer was read.
            other => break other,
        }
    };
    if let Some(answer) = refused {
        is_error(&answer, "too many connections")?;
    }
    ensure!(held.len() >= 8, "{} connections", held.len());
    held.clear();
    let again = tests::wait::eventually("a place", tests::wait::deadline(20.0), || {
        Ok(ask(&mut connect(&agent)?, LIST)
            .ok()
            .filter(|answer| is_error(answer, "no [[rate_limit]]").is_ok()))
    })?;
    ensure!(again.is_object());
    agent.stop().map(drop)
}
