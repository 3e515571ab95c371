//! Times what the benchmarks compare: starting a program, and opening a connection.
//!
//! It says where its server listens, then reads commands from standard input, one a line, and answers each with one line of
//! JSON: the nanoseconds that each batch of operations took.
//!
//! - `exec BATCHES SIZE PROGRAM [ARGUMENT...]`: starts the program with `posix_spawn` and waits for its end, SIZE times a batch.
//! - `connect BATCHES SIZE`: connects to a server on the loopback address and closes, SIZE times a batch. The server, a
//!   process of its own, accepts and closes after the time is taken.
//! - `connection BATCHES SIZE`: the same with the server's work in the time. It is woken once a batch: how quickly a sleeping
//!   process is woken changes from minute to minute and isn't what is compared.
//!
//! One process for all rounds of a benchmark: what differs between two rounds is not the program that measures.

use std::{
    ffi::CString,
    io::{self, BufRead, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd,
    process::ExitCode,
    ptr,
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

/// Connections that may wait for the server, and so the largest batch: the kernel would let one more wait for a second.
const BACKLOG: u32 = 4096;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pace: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<()> {
    let mut server = Server::start()?;
    println!("{}", json!({ "server": server.address.to_string() }));
    for line in io::stdin().lock().lines() {
        let line = line.context("reading standard input")?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let [command, batches, size, ref rest @ ..] = words[..] else { bail!("no command: {line:?}") };
        let (batches, size): (u32, u32) = (batches.parse()?, size.parse()?);
        let mut ns = Vec::with_capacity(batches as usize);
        match command {
            "exec" => {
                let launch = Launch::new(rest)?;
                for _ in 0..batches {
                    ns.push(batch(size, || launch.run())?);
                }
            }
            "connect" | "connection" => {
                ensure!(size <= BACKLOG, "at most {BACKLOG} connections a batch");
                for _ in 0..batches {
                    let begun = Instant::now();
                    let client = batch(size, || server.connect())?;
                    server.clear(size)?;
                    let both = begun.elapsed().as_nanos() as u64;
                    ns.push(if command == "connect" { client } else { both });
                }
            }
            other => bail!("no command {other:?}"),
        }
        println!("{}", json!({ "ns": ns }));
    }
    Ok(())
}

/// How long a number of runs took, in nanoseconds.
fn batch(size: u32, mut operation: impl FnMut() -> Result<()>) -> Result<u64> {
    let begun = Instant::now();
    for _ in 0..size {
        operation()?;
    }
    Ok(begun.elapsed().as_nanos() as u64)
}

/// A command line, ready to be run many times.
struct Launch(Vec<CString>);

impl Launch {
    fn new(words: &[&str]) -> Result<Self> {
        ensure!(!words.is_empty(), "no program was named");
        let words: Result<_, _> = words.iter().map(|word| CString::new(*word)).collect();
        Ok(Self(words.context("a word with a zero byte")?))
    }

    fn run(&self) -> Result<()> {
        let mut arguments: Vec<_> = self.0.iter().map(|word| word.as_ptr().cast_mut()).collect();
        arguments.push(ptr::null_mut());
        let (environment, mut pid, mut status) = ([ptr::null_mut()], 0, 0);
        // SAFETY: both lists end with a null pointer and hold C strings; no attributes and no actions are given.
        let code = unsafe {
            let (actions, attributes) = (ptr::null(), ptr::null());
            let (arguments, environment) = (arguments.as_ptr(), environment.as_ptr());
            libc::posix_spawn(&raw mut pid, self.0[0].as_ptr(), actions, attributes, arguments, environment)
        };
        ensure!(code == 0, "starting {:?}: {}", self.0[0], io::Error::from_raw_os_error(code));
        // SAFETY: writes one integer.
        let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
        ensure!(waited == pid && status == 0, "{:?} ended with wait status {status}", self.0[0]);
        Ok(())
    }
}

/// A process that accepts and closes when it is told to.
struct Server {
    address: SocketAddr,
    orders: io::PipeWriter,
    done: io::PipeReader,
}

impl Server {
    fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("binding the loopback address")?;
        // SAFETY: takes no pointers; a second call sets how many may wait.
        let code = unsafe { libc::listen(listener.as_raw_fd(), BACKLOG as i32) };
        ensure!(code == 0, "listen: {}", io::Error::last_os_error());
        let address = listener.local_addr()?;
        let ((taken, orders), (done, tell)) = (io::pipe()?, io::pipe()?);
        // SAFETY: this process has one thread.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()).context("fork"),
            0 => {
                // With our ends closed, the server sees the end of the orders when its parent has gone.
                drop((orders, done));
                let ended = serve(&listener, taken, tell);
                std::process::exit(i32::from(ended.is_err()));
            }
            _ => Ok(Self { address, orders, done }),
        }
    }

    fn connect(&self) -> Result<()> {
        let stream = TcpStream::connect(self.address);
        stream.with_context(|| format!("connecting to {}", self.address)).map(drop)
    }

    /// Lets the server accept and close that many connections, and waits until it has.
    fn clear(&mut self, count: u32) -> Result<()> {
        self.orders.write_all(&count.to_ne_bytes())?;
        self.done.read_exact(&mut [0]).context("waiting for the server")
    }
}

fn serve(listener: &TcpListener, mut orders: io::PipeReader, mut tell: io::PipeWriter) -> Result<()> {
    let mut count = [0; 4];
    loop {
        orders.read_exact(&mut count)?;
        for _ in 0..u32::from_ne_bytes(count) {
            let (mut stream, _) = listener.accept()?;
            stream.read_to_end(&mut Vec::new())?;
            reset_on_close(&stream)?;
        }
        tell.write_all(&[0])?;
    }
}

/// The client has closed before. Reset, no connection lingers for a minute (TIME_WAIT): thousands of them would make
/// each later one slower.
fn reset_on_close(stream: &TcpStream) -> Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let (value, size) = ((&raw const linger).cast(), size_of_val(&linger) as u32);
    // SAFETY: passes one `linger` and its size.
    let code =
        unsafe { libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, value, size) };
    ensure!(code == 0, "setting SO_LINGER: {}", io::Error::last_os_error());
    Ok(())
}
