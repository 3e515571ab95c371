//! BPF programs that are not the agent's: they let every packet pass, and the kernel counts their runs.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
};

use anyhow::{Context as _, Result};
use aya::{
    programs::loaded_programs,
    sys::{Stats, enable_stats},
};

use crate::bpf::{self, EXIT, bpf_attach_type, bpf_prog_type, set};

const XDP_PASS: i32 = 2;
/// `TC_ACT_UNSPEC`: the next one decides.
const NEXT: i32 = -1;

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
        Self::load(name, bpf_prog_type::BPF_PROG_TYPE_XDP, XDP_PASS)
    }

    /// A program of traffic control.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn traffic(name: &str) -> Result<Self> {
        Self::load(name, bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS, NEXT)
    }

    fn load(name: &str, kind: bpf_prog_type, verdict: i32) -> Result<Self> {
        let instructions = &[set(0, verdict), EXIT];
        let program = bpf::Program { kind, attach: bpf::ANYWHERE, attach_to: 0, name, instructions }.load();
        let program = program.context("loading a program of somebody else")?;
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
        let linked: io::Result<OwnedFd> = bpf::link(&self.program, index, bpf_attach_type::BPF_XDP);
        linked.context("attaching a program of somebody else")
    }
}

impl AsFd for Foreign {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.program.as_fd()
    }
}
