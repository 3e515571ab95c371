//! BPF programs that are not the agent's: they let every packet pass, and the kernel counts their runs.

use std::{
    ffi::c_long,
    io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};
use aya::{
    programs::loaded_programs,
    sys::{Stats, enable_stats},
};

const PROG_LOAD: c_long = 5;
const LINK_CREATE: c_long = 28;
const SCHED_CLS: u32 = 3;
const XDP: u32 = 6;
/// `BPF_XDP` of `enum bpf_attach_type`.
const ATTACH_XDP: u32 = 37;
const XDP_PASS: u32 = 2;
/// `TC_ACT_UNSPEC`: the next one decides.
const NEXT: u32 = u32::MAX;

/// A loaded program.
#[derive(Debug)]
pub struct Foreign {
    program: OwnedFd,
    id: u32,
    _statistics: OwnedFd,
}

impl Foreign {
    /// An XDP program.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn xdp(name: &str) -> Result<Self> {
        Self::load(name, XDP, XDP_PASS)
    }

    /// A program of traffic control.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn traffic(name: &str) -> Result<Self> {
        Self::load(name, SCHED_CLS, NEXT)
    }

    fn load(name: &str, kind: u32, verdict: u32) -> Result<Self> {
        // r0 = verdict; exit
        let instructions: [u64; 2] = [0xb7 | u64::from(verdict) << 32, 0x95];
        let license = c"GPL";
        let mut attributes = [0u8; 128];
        put(&mut attributes, 0, &kind.to_ne_bytes());
        put(&mut attributes, 4, &2u32.to_ne_bytes());
        put(&mut attributes, 8, &(instructions.as_ptr() as u64).to_ne_bytes());
        put(&mut attributes, 16, &(license.as_ptr() as u64).to_ne_bytes());
        put(&mut attributes, 48, name.as_bytes());
        let program = bpf(PROG_LOAD, &attributes, 72).context("loading a program of somebody else")?;
        let fdinfo = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", program.as_raw_fd()))?;
        let id = fdinfo.lines().find_map(|line| line.strip_prefix("prog_id:")).context("no prog_id")?;
        let statistics = enable_stats(Stats::RunTime).context("counting runs")?;
        Ok(Self { program, id: id.trim().parse()?, _statistics: statistics })
    }

    /// What the kernel calls it.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// How often it ran.
    ///
    /// # Errors
    /// When the kernel doesn't list it.
    pub fn runs(&self) -> Result<u64> {
        let found = loaded_programs().flatten().find(|program| program.id() == self.id);
        Ok(found.context("the program is gone")?.run_count())
    }

    /// Attaches it as XDP to an interface of the calling thread's namespace, for as long as the link lives.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn attach_xdp(&self, index: u32) -> Result<OwnedFd> {
        let mut attributes = [0u8; 128];
        put(&mut attributes, 0, &self.program.as_raw_fd().to_ne_bytes());
        put(&mut attributes, 4, &index.to_ne_bytes());
        put(&mut attributes, 8, &ATTACH_XDP.to_ne_bytes());
        bpf(LINK_CREATE, &attributes, 16).context("attaching a program of somebody else")
    }
}

impl AsFd for Foreign {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.program.as_fd()
    }
}

fn put(attributes: &mut [u8], at: usize, value: &[u8]) {
    attributes[at..at + value.len()].copy_from_slice(value);
}

fn bpf(command: c_long, attributes: &[u8], length: usize) -> io::Result<OwnedFd> {
    // SAFETY: the attributes and what they point to live during the call; the kernel reads no more than their length.
    let code = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), length) };
    if code < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that the kernel has just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(code as i32) })
}
