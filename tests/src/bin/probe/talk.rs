//! Conversations over one connection: questions and answers at a pace, and bulk.

use std::{
    ffi::c_int,
    io::{self, ErrorKind, Read, Write},
    mem,
    net::{TcpListener, TcpStream},
    os::fd::AsRawFd,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde_json::json;

use crate::{say, until_stdin_closes, words::Words};

/// `echo listen=ADDRESSES`: sends back what it gets, until standard input closes.
pub fn echo(words: &Words) -> Result<()> {
    for address in words.addresses("listen")? {
        let listener = TcpListener::bind(address).with_context(|| format!("listening on {address}"))?;
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                thread::spawn(move || -> io::Result<()> {
                    stream.set_nodelay(true)?;
                    let mut buffer = vec![0; 1 << 16];
                    loop {
                        match stream.read(&mut buffer)? {
                            0 => return Ok(()),
                            length => stream.write_all(&buffer[..length])?,
                        }
                    }
                });
            }
        });
    }
    say(&json!({ "listening": true }));
    until_stdin_closes()
}

/// `sink listen=ADDRESSES`: takes what it gets and closes when there is no more, until standard input closes.
pub fn sink(words: &Words) -> Result<()> {
    for address in words.addresses("listen")? {
        let listener = TcpListener::bind(address).with_context(|| format!("listening on {address}"))?;
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                thread::spawn(move || io::copy(&mut stream, &mut io::sink()));
            }
        });
    }
    say(&json!({ "listening": true }));
    until_stdin_closes()
}

/// `talk to=ADDRESS rate=R seconds=S [size=BYTES]`: connects, says so, and asks R times a second, waiting for each
/// answer. Tells how many questions were due and answered.
pub fn talk(words: &Words) -> Result<()> {
    let to = words.address("to")?;
    let rate: f64 = words.number("rate")?.context("rate=R is missing")?;
    let seconds = words.seconds("seconds")?.context("seconds=S is missing")?;
    let mut buffer = vec![b'q'; words.number("size")?.unwrap_or(100)];
    let mut stream = TcpStream::connect(to).with_context(|| format!("connecting to {to}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    say(&json!({ "connected": true }));
    let (begin, mut answered) = (Instant::now(), 0u64);
    while begin.elapsed() < seconds {
        let due = Duration::from_secs_f64(answered as f64 / rate);
        thread::sleep(due.saturating_sub(begin.elapsed()));
        match stream.write_all(&buffer).and_then(|()| stream.read_exact(&mut buffer)) {
            Ok(()) => answered += 1,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => {
                say(
                    &json!({ "due": (rate * seconds.as_secs_f64()) as u64, "answered": answered, "broken": error.to_string() }),
                );
                return Ok(());
            }
        }
    }
    say(&json!({ "due": (rate * seconds.as_secs_f64()) as u64, "answered": answered }));
    Ok(())
}

/// `bulk to=ADDRESS bytes=N`: sends that much over a connection, and tells how many segments the kernel says it took, those
/// without data included.
pub fn bulk(words: &Words) -> Result<()> {
    let to = words.address("to")?;
    let mut left: usize = words.number("bytes")?.context("bytes=N is missing")?;
    let mut stream = TcpStream::connect(to).with_context(|| format!("connecting to {to}"))?;
    let block = vec![b'b'; 1 << 18];
    while left > 0 {
        let now = left.min(block.len());
        stream.write_all(&block[..now])?;
        left -= now;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    // Until the other end has had it all, and says so by closing.
    io::copy(&mut stream, &mut io::sink())?;
    let info = info(&stream)?;
    say(&json!({
        "segments": info.tcpi_segs_out,
        "data_segments": info.tcpi_data_segs_out,
        "retransmitted": info.tcpi_total_retrans,
        "mss": info.tcpi_snd_mss,
    }));
    Ok(())
}

/// What the kernel knows of a connection.
fn info(stream: &TcpStream) -> Result<libc::tcp_info> {
    // SAFETY: all zeroes is a valid value of this struct of integers.
    let mut info: libc::tcp_info = unsafe { mem::zeroed() };
    let mut length = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the value lives during the call and is as long as it says.
    let code: c_int = unsafe {
        let to = (&raw mut info).cast();
        libc::getsockopt(stream.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, to, &raw mut length)
    };
    if code == -1 {
        return Err(io::Error::last_os_error()).context("asking about the connection");
    }
    Ok(info)
}
