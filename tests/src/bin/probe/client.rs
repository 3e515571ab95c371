//! Clients: connections one after the other, connection attempts at a rate, floods.

use std::{
    collections::VecDeque,
    io,
    net::{SocketAddr, UdpSocket},
    os::fd::OwnedFd,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::{
    Outcomes, error_name,
    net::{self, Address},
    say, wait_for_line,
    ways::{self, Talk, any},
    words::Words,
};

/// `connect to=ADDRESS [count=N] [tag=TEXT] [way=NAME] [wait=1]`: connects N times, says its tag each time, and tells the
/// outcomes. The ways are those of [`ways`]. With `wait` it says `ready` and begins at a line on standard input.
pub fn connect(words: &Words) -> Result<()> {
    let talk = Talk { to: words.address("to")?, tag: words.text("tag").unwrap_or("-"), words };
    let count: u64 = words.number("count")?.unwrap_or(1);
    let once = ways::find(words.text("way").unwrap_or("tcp"))?;
    if words.get("wait").is_some() {
        say(&json!({ "ready": std::process::id() }));
        wait_for_line()?;
    }
    let mut outcomes = Outcomes::default();
    for _ in 0..count {
        outcomes.add(&once(&talk));
    }
    say(&outcomes.json());
    Ok(())
}

/// `reach to=ADDRESS[,ADDRESS]... [tag=TEXT]`: one connection over TCP to each address; tells the outcomes in order.
pub fn reach(words: &Words) -> Result<()> {
    let once = ways::find("tcp")?;
    let tag = words.text("tag").unwrap_or("-");
    let mut outcomes = Vec::new();
    for to in words.addresses("to")? {
        let outcome = once(&Talk { to, tag, words });
        outcomes.push(outcome.map_or_else(|error| error_name(&error), |()| "ok".to_owned()));
    }
    say(&json!(outcomes));
    Ok(())
}

/// `attempt to=ADDRESS [from=ADDRESS] count=N rate=R [patience=SECONDS]`: N connection attempts, R a second, each with one
/// SYN: given up (`timeout`) before the kernel would send a second one.
pub fn attempt(words: &Words) -> Result<()> {
    let to = words.address("to")?;
    let count: u64 = words.number("count")?.context("count=N is missing")?;
    let rate: f64 = words.number("rate")?.context("rate=R is missing")?;
    let from = words.addresses("from")?.first().copied();
    let patience = words.seconds("patience")?.unwrap_or(Duration::from_millis(300));
    let mut outcomes = Outcomes::default();
    let mut waiting: VecDeque<(Instant, OwnedFd)> = VecDeque::new();
    let begin = Instant::now();
    for number in 0..count {
        pace(begin, number, rate);
        settle(&mut waiting, patience, &mut outcomes);
        match begin_connect(from, to) {
            Ok(socket) => waiting.push_back((Instant::now(), socket)),
            Err(error) => outcomes.add::<()>(&Err(error)),
        }
    }
    while let Some((since, _)) = waiting.front() {
        thread::sleep(patience.saturating_sub(since.elapsed()));
        settle(&mut waiting, patience, &mut outcomes);
    }
    say(&outcomes.json());
    Ok(())
}

/// Closes the attempts older than `patience` and notes what became of them.
fn settle(waiting: &mut VecDeque<(Instant, OwnedFd)>, patience: Duration, outcomes: &mut Outcomes) {
    while let Some((_, socket)) = waiting.pop_front_if(|(since, _)| since.elapsed() >= patience) {
        match net::poll(&socket, libc::POLLOUT, 0) {
            Ok(false) => outcomes.count("timeout"),
            _ => outcomes.add(&net::pending_error(&socket)),
        }
    }
}

/// Sends the first packet of a connection and doesn't wait for the answer.
fn begin_connect(from: Option<SocketAddr>, to: SocketAddr) -> io::Result<OwnedFd> {
    let to = Address::ip(to);
    let socket = net::socket(to.family(), libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0)?;
    if let Some(from) = from {
        net::bind(&socket, &Address::ip(from))?;
    }
    match net::connect(&socket, &to) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket),
    }
}

/// `flood to=ADDRESS [from=ADDRESS] [count=N] [seconds=S] [rate=R] [size=BYTES] [merged=N]`: datagrams as fast as possible, or R a
/// second, until either bound is reached, or as many of them at once in one packet that a card would cut; tells how many sends the
/// kernel took.
pub fn flood(words: &Words) -> Result<()> {
    let to = words.address("to")?;
    let count: u64 = words.number("count")?.unwrap_or(u64::MAX);
    let seconds = words.seconds("seconds")?.unwrap_or(Duration::MAX);
    let rate: Option<f64> = words.number("rate")?;
    let size: usize = words.number("size")?.unwrap_or(32);
    let merged: Option<usize> = words.number("merged")?;
    let payload = vec![b'x'; size * merged.unwrap_or(1)];
    if count == u64::MAX && seconds == Duration::MAX {
        bail!("count=N or seconds=S is missing");
    }
    let from = words.addresses("from")?.first().copied().unwrap_or(any(to));
    let socket = UdpSocket::bind(from).with_context(|| format!("binding to {from}"))?;
    socket.connect(to).with_context(|| format!("connecting to {to}"))?;
    if merged.is_some() {
        net::set(&socket, libc::SOL_UDP, libc::UDP_SEGMENT, size as i32).context("asking for UDP_SEGMENT")?;
    }
    let mut outcomes = Outcomes::default();
    let begin = Instant::now();
    for number in 0..count {
        if begin.elapsed() >= seconds {
            break;
        }
        if let Some(rate) = rate {
            pace(begin, number, rate);
        }
        outcomes.add(&socket.send(&payload));
    }
    say(&outcomes.json());
    Ok(())
}

/// Holds back the send number `number` until it is due at `rate` a second.
fn pace(begin: Instant, number: u64, rate: f64) {
    let due = Duration::from_secs_f64(number as f64 / rate);
    let early = due.saturating_sub(begin.elapsed());
    // A finer step than a sleep can keep only makes small bursts.
    if early > Duration::from_millis(1) {
        thread::sleep(early);
    }
}
