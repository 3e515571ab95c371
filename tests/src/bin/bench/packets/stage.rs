//! Two network namespaces and a link: frames go in at one end, and what is measured works at the other.

use std::{
    ffi::CString,
    fs, io, mem,
    net::{IpAddr, Ipv4Addr},
};

use anyhow::{Context, Result, bail, ensure};
use tests::{
    frames::{Ends, UDP, wire},
    netns::Netns,
};

use super::program::{Link, MOST_SOURCE_BITS, Program};

/// The ends that send.
const NEAR: [&str; 2] = ["near0", "near1"];
/// The ends that receive.
pub const FAR: [&str; 2] = ["far0", "far1"];
/// Where what is measured lives.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// Where frames come from. Drawn sources are in 10.16.0.0/12.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 16, 0, 7);
/// Where they go to.
pub const PORT: u16 = 7000;

/// From whom frames come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// One source.
    One,
    /// Each frame from one of 2^20, at random.
    Million,
    /// From one of 64.
    Some,
}

impl From {
    /// Its name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::One => "one source",
            Self::Million => "2^20 sources at random",
            Self::Some => "64 sources at random",
        }
    }

    fn bits(self) -> u32 {
        match self {
            Self::One => 0,
            Self::Some => 6,
            Self::Million => MOST_SOURCE_BITS,
        }
    }
}

/// The stage.
#[derive(Debug)]
pub struct Stage {
    /// The namespace that frames come from.
    pub client: Netns,
    /// The one they go to.
    pub server: Netns,
}

impl Stage {
    /// Makes the namespaces and two links.
    pub fn new() -> Result<Self> {
        let stage = Self { client: Netns::new()?, server: Netns::new()? };
        for (near, far) in NEAR.into_iter().zip(FAR) {
            stage.client.link(near, &stage.server, far)?;
            stage.server.run(|| as_a_card(far))?;
            stage.client.run(|| as_a_card(near))?;
        }
        stage.server.address(FAR[0], SERVER.into(), 8)?;
        stage.client.address(NEAR[0], Ipv4Addr::new(10, 0, 0, 2).into(), 8)?;
        Ok(stage)
    }

    /// Attaches a program to the first end that receives.
    pub fn attach(&self, program: &Program) -> Result<Link> {
        self.server.run(|| program.attach(index(FAR[0])?))
    }

    /// What sends frames of this kind over one of the links.
    pub fn source(&self, link: usize, from: From, to: To) -> Result<Source<'_>> {
        let (near, far) = (NEAR[link], FAR[link]);
        let interface = self.client.run(|| index(near))?;
        let mut to_mac = wire::mac(&self.server, far)?;
        if to == To::AnotherHost {
            to_mac[5] ^= 1;
        }
        let from_mac = wire::mac(&self.client, near)?;
        let ends = Ends { from_mac, to_mac, from: IpAddr::from(CLIENT), to: SERVER.into(), port: PORT };
        let mut frame = ends.plain(&ends.ip(UDP, &ends.udp(&[0; 18])?)?);
        // A datagram without a checksum: its source will be another one.
        const CHECKSUM: usize = 14 + 20 + 6;
        frame[CHECKSUM..CHECKSUM + 2].fill(0);
        if from != From::One {
            // What the sender makes of the fields that it writes, for a source of zeros: the checksum is that of all others.
            let mut header = etherparse::Ipv4Header::from_slice(&frame[14..])?.0;
            header.source = [10, 16, 0, 0];
            header.identification = 0xffff;
            frame[14..34].copy_from_slice(&header.to_bytes());
            frame[15] = 15;
            let sum = checksum(&frame[14..34]);
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        let program = Program::sender(interface, from.bits())?;
        Ok(Source { stage: self, near, program, frame })
    }

    /// Datagrams that reached UDP in the server's namespace and found no socket.
    pub fn arrived(&self) -> Result<u64> {
        self.server.run(|| {
            let text = fs::read_to_string("/proc/thread-self/net/snmp")?;
            let mut rows = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
            let (names, values) = (rows.next().unwrap_or_default(), rows.next().unwrap_or_default());
            let mut both = names.split(' ').zip(values.split(' '));
            let found = both.find(|(name, _)| *name == "NoPorts").context("no NoPorts in net/snmp")?;
            Ok(found.1.parse()?)
        })
    }
}

/// Whose hardware address frames bear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// The receiving end's.
    Server,
    /// Another one, so that the stack throws them away as soon as it gets them.
    AnotherHost,
}

/// What sends frames.
#[derive(Debug)]
pub struct Source<'a> {
    stage: &'a Stage,
    near: &'static str,
    program: Program,
    frame: Vec<u8>,
}

impl Source<'_> {
    /// Sends frames; how long each took by the kernel's own clock, nanoseconds: to make it, to send it and all that the other
    /// end does with it, which does it on the same CPU before the next ones are made. While the CPU is somebody else's, this clock
    /// stands still. Blocks of which frames were lost on the way, because the other end was kept from working, don't count.
    pub fn send(&self, count: u32, cpu: usize) -> Result<f64> {
        const TRIES: u32 = 50;
        self.stage.client.run(|| {
            pin(cpu)?;
            for _ in 0..TRIES {
                let before = lost(self.near)?;
                let time = self.program.run(&self.frame, count)?;
                if (lost(self.near)? - before) * 1000 <= u64::from(count) {
                    return Ok(f64::from(time));
                }
            }
            bail!("{TRIES} times frames didn't get to the other end: this machine is too busy")
        })
    }

    /// Sends without a pause and without looking at the time.
    pub fn flood(&self, count: u32, cpu: usize) -> Result<()> {
        self.stage.client.run(|| {
            pin(cpu)?;
            self.program.run(&self.frame, count).map(drop)
        })
    }

    /// Nanoseconds of a frame while the CPU is ours.
    pub fn pace(&self, cpu: usize) -> Result<f64> {
        const FEW: u32 = 200_000;
        self.stage.client.run(|| {
            pin(cpu)?;
            // The first ones find full buckets, and what passes takes longer.
            self.program.run(&self.frame, FEW)?;
            Ok(f64::from(self.program.run(&self.frame, FEW)?))
        })
    }
}

/// Frames that the link refused.
fn lost(interface: &str) -> Result<u64> {
    let text = fs::read_to_string("/proc/thread-self/net/dev")?;
    let row = text.lines().find_map(|line| line.trim_start().strip_prefix(interface)?.strip_prefix(':'));
    let dropped = row.and_then(|row| row.split_whitespace().nth(11)?.parse().ok());
    dropped.with_context(|| format!("no {interface} in net/dev: {text}"))
}

fn checksum(header: &[u8]) -> u16 {
    let words = header.chunks(2).enumerate().filter(|(index, _)| *index != 5);
    let sum: u32 = words.map(|(_, word)| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    !(((sum & 0xffff) + (sum >> 16)) as u16)
}

fn index(name: &str) -> Result<u32> {
    let name = CString::new(name)?;
    // SAFETY: a string that ends with a zero byte.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    ensure!(index != 0, "no interface {name:?}");
    Ok(index)
}

/// Keeps this thread on one CPU, and most strangers off it.
pub fn pin(cpu: usize) -> Result<()> {
    const FIRST: libc::c_int = -20;
    // SAFETY: takes no pointers; 0 is this thread.
    let first = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, FIRST) };
    ensure!(first == 0, "going before others: {}", io::Error::last_os_error());
    // SAFETY: a set of bits, filled as its own macros do.
    let done = unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &raw const set)
    };
    ensure!(done == 0, "going to CPU {cpu}: {}", io::Error::last_os_error());
    Ok(())
}

/// Lets an interface of this thread's namespace work like a network card: it takes frames by polling (generic receive offload
/// turns that on for virtual links), and no frame is longer than the link allows.
fn as_a_card(interface: &str) -> Result<()> {
    /// `ETHTOOL_SGRO`, `ETHTOOL_STSO`, `ETHTOOL_SGSO`.
    const SETTINGS: [(u32, u32); 3] = [(0x2c, 1), (0x1f, 0), (0x24, 0)];
    SETTINGS.into_iter().try_for_each(|(command, value)| set(interface, command, value))
}

fn set(interface: &str, command: u32, value: u32) -> Result<()> {
    #[repr(C)]
    struct Value {
        command: u32,
        value: u32,
    }
    let mut value = Value { command, value };
    // SAFETY: all zeroes is a valid value of this struct of integers and unions of them.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(interface.as_bytes()) {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    const SIOCETHTOOL: libc::c_ulong = 0x8946;
    let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
    // SAFETY: the request and what it points to live during the call.
    let done =
        unsafe { libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(&socket), SIOCETHTOOL as _, &raw mut request) };
    ensure!(done == 0, "setting {command:#x} of {interface}: {}", io::Error::last_os_error());
    Ok(())
}
