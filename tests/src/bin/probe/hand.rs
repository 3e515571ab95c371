//! Sockets that go from one program to another.

use std::{
    ffi::c_int,
    fs::File,
    io::{self, IoSlice, Read, Write},
    mem,
    net::{SocketAddr, TcpListener, TcpStream},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::{
            net::{UnixListener, UnixStream},
            process::CommandExt,
        },
    },
    process::Command,
    thread,
};

use anyhow::{Context, Result};
use serde_json::json;

use crate::{
    Outcomes, error_name,
    net::{self, Address},
    say, until_stdin_closes,
    words::Words,
};

/// `give listen=PATH to=ADDRESS [connected=1|listening=1]`: hands a TCP socket of the address's family to each program that asks at
/// PATH, connected to the address first, or listening there, if so told; until standard input closes.
pub fn give(words: &Words) -> Result<()> {
    let to = words.address("to")?;
    let (connected, listening) = (words.get("connected").is_some(), words.get("listening").is_some());
    let listener = UnixListener::bind(words.path("listen")?).context("listening")?;
    thread::spawn(move || {
        for caller in listener.incoming().flatten() {
            if let Err(error) = give_one(&caller, to, connected, listening) {
                eprintln!("probe: handing over a socket: {error}");
            }
        }
    });
    say(&json!({ "pid": std::process::id() }));
    until_stdin_closes()
}

fn give_one(caller: &UnixStream, to: SocketAddr, connected: bool, listening: bool) -> io::Result<()> {
    let to = Address::ip(to);
    let socket = net::socket(to.family(), libc::SOCK_STREAM, 0)?;
    if connected {
        net::connect(&socket, &to)?;
    }
    if listening {
        net::bind(&socket, &to)?;
        net::listen(&socket)?;
    }
    send(caller, socket.as_fd())
}

/// Room for one descriptor, aligned as the kernel's headers are.
type Control = [u64; 4];

fn message(part: &mut libc::iovec, control: &mut Control) -> libc::msghdr {
    // SAFETY: all zeroes is a valid value: no name, no parts, no control data.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    // SAFETY: only computes.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(size_of::<i32>() as u32) } as _;
    message
}

fn send(to: &UnixStream, descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let mut control = Control::default();
    let bytes = IoSlice::new(b"x");
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: 1 };
    let message = message(&mut part, &mut control);
    // SAFETY: the control buffer has room for one header and one descriptor.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(size_of::<i32>() as u32) as _;
        libc::CMSG_DATA(header).cast::<i32>().write_unaligned(descriptor.as_raw_fd());
        if libc::sendmsg(to.as_raw_fd(), &raw const message, 0) == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Takes the socket that a `give` at `from=PATH` hands out.
pub fn take(words: &Words) -> io::Result<OwnedFd> {
    let giver = words.path("from").map_err(io::Error::other)?;
    let giver = UnixStream::connect(giver)?;
    let mut control = Control::default();
    let mut byte = [0_u8];
    let mut part = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    let mut message = message(&mut part, &mut control);
    // SAFETY: both buffers are as long as the message says; what the kernel wrote is read only if it is there.
    unsafe {
        if libc::recvmsg(giver.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) == -1 {
            return Err(io::Error::last_os_error());
        }
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        if header.is_null() || (*header).cmsg_type != libc::SCM_RIGHTS {
            return Err(io::Error::other("no socket was handed over"));
        }
        Ok(OwnedFd::from_raw_fd(libc::CMSG_DATA(header).cast::<i32>().read_unaligned()))
    }
}

/// What an heir has its connection as.
const HEIRLOOM: c_int = 9;

/// `inherit to=ADDRESS program=PATH [tag=TEXT]`: connects, and becomes a program that is told to `speak` over the
/// connection.
pub fn inherit(words: &Words) -> Result<()> {
    let stream = TcpStream::connect(words.address("to")?).context("connecting")?;
    // SAFETY: takes no pointers; nobody else has that descriptor. The new one outlives an exec.
    net::check(unsafe { libc::dup2(stream.as_raw_fd(), HEIRLOOM) })?;
    let mut command = Command::new(words.path("program")?);
    command.arg("speak").arg(format!("tag={}", words.text("tag").unwrap_or("-")));
    Err(command.exec().into())
}

/// `speak [from=PATH] [tag=TEXT]`: says its tag over the socket that it inherited, or that a `give` at PATH hands it, tells the
/// outcome, and has the socket until standard input closes.
pub fn speak(words: &Words) -> Result<()> {
    let socket = match words.get("from") {
        Some(_) => take(words).context("taking a socket")?,
        // SAFETY: checked to be a descriptor by the first write; nobody else owns it.
        None => unsafe { OwnedFd::from_raw_fd(HEIRLOOM) },
    };
    let mut socket = File::from(socket);
    let mut outcomes = Outcomes::default();
    outcomes.add(&socket.write_all(words.text("tag").unwrap_or("-").as_bytes()));
    say(&outcomes.json());
    until_stdin_closes()
}

/// `accept from=PATH`: takes the listening socket that a `give` at PATH hands out, says so, and tells what the first client says.
pub fn accept(words: &Words) -> Result<()> {
    let listener = TcpListener::from(take(words).context("taking a socket")?);
    say(&json!({ "pid": std::process::id() }));
    let (mut stream, _) = listener.accept().context("accepting")?;
    let mut said = String::new();
    stream.read_to_string(&mut said).context("reading")?;
    say(&json!({ "said": said }));
    Ok(())
}

/// `stay to=ADDRESS[,ADDRESS]... [tag=TEXT]`: connects and stays; tells when the other side ended a connection, and how
/// (`eof` or an error). Until standard input closes: then it says its tag over those that are left and tells the
/// outcomes.
pub fn stay(words: &Words) -> Result<()> {
    let mut streams = Vec::new();
    for to in words.addresses("to")? {
        let stream = TcpStream::connect(to).with_context(|| format!("connecting to {to}"))?;
        let mut reader = stream.try_clone()?;
        streams.push(stream);
        thread::spawn(move || {
            let how = match reader.read(&mut [0]) {
                Ok(_) => "eof".to_owned(),
                Err(error) => error_name(&error),
            };
            say(&json!({ "to": to.to_string(), "ended": how }));
        });
    }
    say(&json!({ "pid": std::process::id() }));
    until_stdin_closes()?;
    let mut outcomes = Outcomes::default();
    for stream in &mut streams {
        outcomes.add(&stream.write_all(words.text("tag").unwrap_or("-").as_bytes()));
    }
    say(&outcomes.json());
    Ok(())
}
