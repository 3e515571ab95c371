//! One request, one answer.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use anyhow::{Context, Result};

use crate::wait::deadline;

/// Seconds that an answer may take.
const PATIENCE: f64 = 10.0;

/// Asks for a page: the status and the body of the answer.
///
/// # Errors
/// When nobody answers in time, or not in HTTP.
pub fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let patience = deadline(PATIENCE).left();
    let mut stream =
        TcpStream::connect_timeout(&address, patience).with_context(|| format!("connecting to {address}"))?;
    stream.set_read_timeout(Some(patience))?;
    // Version 1.0: the answer comes in one piece and the connection ends with it.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).with_context(|| format!("reading {path} from {address}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("no answer: {answer:?}"))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.with_context(|| format!("no status: {head:?}"))?, body.to_owned()))
}
