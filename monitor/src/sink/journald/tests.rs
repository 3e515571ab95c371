//! Against a socket that reads the protocol as its document describes it.

use std::{collections::BTreeMap, io::Read as _, os::fd::AsRawFd as _};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::*;
use crate::render::samples;

/// Reads fields as the journal does: by line, or by length.
fn parse(mut bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut fields = BTreeMap::new();
    while !bytes.is_empty() {
        let end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
        let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
        bytes = match line.iter().position(|byte| *byte == b'=') {
            Some(at) => {
                fields.insert(String::from_utf8(line[..at].to_vec()).unwrap(), line[at + 1..].to_vec());
                rest
            }
            None => {
                let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
                fields.insert(String::from_utf8(line.to_vec()).unwrap(), rest[8..8 + length].to_vec());
                assert_eq!(rest[8 + length], b'\n');
                &rest[9 + length..]
            }
        };
    }
    fields
}

/// A datagram, or the file that came with it.
fn receive(socket: &UnixDatagram) -> BTreeMap<String, Vec<u8>> {
    let mut bytes = vec![0; 1 << 20];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = {
        let mut parts = [io::IoSliceMut::new(&mut bytes)];
        recvmsg(socket, &mut parts, &mut control, RecvFlags::empty()).unwrap()
    };
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(files) = message
            && let Some(file) = files.into_iter().next()
        {
            let seals = rustix::fs::fcntl_get_seals(&file).unwrap();
            assert!(seals.contains(SealFlags::WRITE | SealFlags::SHRINK | SealFlags::SEAL));
            // Opened anew: the offset of this one is the sender's, shared with it.
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            let mut text = Vec::new();
            std::fs::File::open(path).unwrap().read_to_end(&mut text).unwrap();
            return parse(&text);
        }
    }
    parse(&bytes[..got.bytes])
}

#[test]
fn a_finding_arrives_as_fields() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let mut journal = Journald::new(path.clone(), Style::Json);
    let event = Arc::new(samples::denied_connect());
    let (0, Err(Failure::Away(_))) = journal.send(&[Arc::clone(&event)]) else {
        panic!("nobody listens yet")
    };
    let socket = UnixDatagram::bind(&path).unwrap();
    assert!(matches!(journal.send(&[Arc::clone(&event)]), (1, Ok(()))));
    let fields = receive(&socket);
    let text = |name: &str| String::from_utf8(fields[name].clone()).unwrap();
    assert_eq!(text("MESSAGE"), "orders: only api may connect");
    assert_eq!((text("PRIORITY"), text("MONITOR_RULE")), ("4".into(), "orders".into()));
    assert_eq!((text("MONITOR_VERDICT"), text("MONITOR_OBJECT")), ("deny".into(), "10.0.0.1:5432".into()));
    assert_eq!((text("OBJECT_PID"), text("SYSLOG_IDENTIFIER")), ("4242".into(), "monitor".into()));
    let line: serde_json::Value = serde_json::from_slice(&fields["MONITOR_LINE"]).unwrap();
    assert_eq!(line["rule"], "orders");
    // The journal was started anew: its old socket is gone.
    drop(socket);
    std::fs::remove_file(&path).unwrap();
    let socket = UnixDatagram::bind(&path).unwrap();
    let sent = journal.send(&[Arc::clone(&event)]);
    assert!(matches!(sent, (0, Err(Failure::Away(_)))));
    assert!(matches!(journal.send(&[event]), (1, Ok(()))));
    assert_eq!(receive(&socket)["MONITOR_RULE"], b"orders");
}

#[test]
fn what_is_too_large_for_a_datagram_comes_in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let socket = UnixDatagram::bind(dir.path().join("socket")).unwrap();
    let mut journal = Journald::new(dir.path().join("socket"), Style::Json);
    let mut event = samples::denied_connect();
    event.finding.as_mut().unwrap().why = "long ".repeat(100_000);
    assert!(matches!(journal.send(&[Arc::new(event)]), (1, Ok(()))));
    assert!(receive(&socket)["MESSAGE"].len() > 400_000);
}

#[test]
fn what_has_several_lines_has_a_length() {
    let mut out = Vec::new();
    field("A", b"one\ntwo=2\n", &mut out);
    field("B", b"x=y", &mut out);
    let fields = parse(&out);
    assert_eq!((&*fields["A"], &*fields["B"]), (&b"one\ntwo=2\n"[..], &b"x=y"[..]));
}
