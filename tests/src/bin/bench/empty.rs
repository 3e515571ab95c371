//! Programs that return at once, on the hooks that the agent has for what is timed: what no agent can be cheaper than.

use std::{
    ffi::CString,
    fs::File,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use anyhow::{Context, Result};
use aya::Btf;
use aya_obj::{
    btf::BtfKind,
    generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_prog_type},
};
use tests::cgroup;

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
            let mut attr = blank();
            attr.raw_tracepoint.prog_fd = program.as_raw_fd() as u32;
            let link = bpf(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &mut attr)
                .with_context(|| format!("attaching an empty program to {name}"))?;
            held.extend([link, program]);
        }
        let root = File::open(cgroup::mount()?).context("opening the root of the cgroup tree")?;
        let connect = bpf_attach_type::BPF_CGROUP_INET4_CONNECT;
        // It lets everything pass.
        let program = load(bpf_prog_type::BPF_PROG_TYPE_CGROUP_SOCK_ADDR, connect, 0, 1)
            .context("loading an empty program for connect")?;
        let mut attr = blank();
        attr.link_create.__bindgen_anon_1.prog_fd = program.as_raw_fd() as u32;
        attr.link_create.__bindgen_anon_2.target_fd = root.as_raw_fd() as u32;
        attr.link_create.attach_type = connect as u32;
        let link =
            bpf(bpf_cmd::BPF_LINK_CREATE, &mut attr).context("attaching an empty program to connect")?;
        held.extend([link, program]);
        Ok(Self { _held: held })
    }
}

fn blank() -> bpf_attr {
    // SAFETY: a union of integers and arrays of them, of which zero is one.
    unsafe { std::mem::zeroed() }
}

/// A program of two instructions that returns `answer`.
fn load(kind: bpf_prog_type, attach: bpf_attach_type, attach_to: u32, answer: u8) -> io::Result<OwnedFd> {
    /// `r0 = answer; exit`, as `struct bpf_insn` has it.
    const MOVE: u8 = 0xb7;
    const EXIT: u8 = 0x95;
    let code: [[u8; 8]; 2] = [[MOVE, 0, 0, 0, answer, 0, 0, 0], [EXIT, 0, 0, 0, 0, 0, 0, 0]];
    let licence = CString::from(c"GPL");
    let mut attr = blank();
    // SAFETY: plain fields of the member that this command reads.
    let program = unsafe { &mut attr.__bindgen_anon_3 };
    program.prog_type = kind as u32;
    program.expected_attach_type = attach as u32;
    program.attach_btf_id = attach_to;
    program.insns = code.as_ptr() as u64;
    program.insn_cnt = code.len() as u32;
    program.license = licence.as_ptr() as u64;
    for (to, from) in program.prog_name.iter_mut().zip(b"empty") {
        *to = *from as std::ffi::c_char;
    }
    bpf(bpf_cmd::BPF_PROG_LOAD, &mut attr)
}

/// The system call; a descriptor comes back.
fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads and writes the attributes, and reads what they point to, during the call.
    let fd = unsafe {
        libc::syscall(libc::SYS_bpf, command as libc::c_long, std::ptr::from_mut(attr), size_of::<bpf_attr>())
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
