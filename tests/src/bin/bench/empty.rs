//! Programs that return at once, on the hooks that the agent has for what is timed: what no agent can be cheaper than.

use std::{
    fs::File,
    os::fd::{AsRawFd, OwnedFd},
};

use anyhow::{Context, Result};
use aya::Btf;
use aya_obj::btf::BtfKind;
use tests::{
    bpf::{self, EXIT, bpf_attach_type, bpf_cmd, bpf_prog_type, set},
    cgroup,
};

/// Tracepoints of processes and of TCP's states.
const TRACEPOINTS: [&str; 4] =
    ["sched_process_fork", "sched_process_exec", "sched_process_exit", "inet_sock_set_state"];

/// The programs, attached; dropping them takes them out.
#[derive(Debug)]
pub struct Empty {
    // Programs beside their links: the kernel's clocks are read from descriptors of programs.
    _held: Vec<OwnedFd>,
}

impl Empty {
    /// Attaches them where the agent attaches: at the tracepoints, and at the root of the cgroup tree.
    pub fn attach() -> Result<Self> {
        let types = Btf::from_sys_fs().context("reading the kernel's types")?;
        let mut held = Vec::new();
        for name in TRACEPOINTS {
            let id = types
                .id_by_type_name_kind(&format!("btf_trace_{name}"), BtfKind::Typedef)
                .with_context(|| format!("finding the tracepoint {name}"))?;
            let program =
                load(bpf_prog_type::BPF_PROG_TYPE_TRACING, bpf_attach_type::BPF_TRACE_RAW_TP, id, 0)
                    .with_context(|| format!("loading an empty program for {name}"))?;
            let mut attr = bpf::attributes();
            attr.raw_tracepoint.prog_fd = program.as_raw_fd() as u32;
            // SAFETY: there is no name in these attributes: the program knows where it belongs.
            let link = unsafe { bpf::make(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &mut attr) }
                .with_context(|| format!("attaching an empty program to {name}"))?;
            held.extend([link, program]);
        }
        let root = File::open(cgroup::mount()?).context("opening the root of the cgroup tree")?;
        let connect = bpf_attach_type::BPF_CGROUP_INET4_CONNECT;
        // It lets everything pass.
        let program = load(bpf_prog_type::BPF_PROG_TYPE_CGROUP_SOCK_ADDR, connect, 0, 1)
            .context("loading an empty program for connect")?;
        let link = bpf::link(&program, root.as_raw_fd() as u32, connect)
            .context("attaching an empty program to connect")?;
        held.extend([link, program]);
        Ok(Self { _held: held })
    }
}

/// A program of two instructions that returns `answer`.
fn load(
    kind: bpf_prog_type,
    attach: bpf_attach_type,
    attach_to: u32,
    answer: i32,
) -> std::io::Result<OwnedFd> {
    let instructions = &[set(0, answer), EXIT];
    bpf::Program { kind, attach, attach_to, name: "empty", instructions }.load()
}
