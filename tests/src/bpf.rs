//! The kernel's interface to BPF (`bpf(2)`), for programs of a few instructions that tests and benchmarks have beside the
//! agent's: such need no compiler.

use std::{
    ffi::{c_char, c_long},
    io,
    os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd},
};

pub use aya_obj::generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_prog_type};

/// An instruction of the kernel's machine (`struct bpf_insn`).
pub type Instruction = u64;

/// An instruction by its parts.
pub const fn instruction(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Instruction {
    (code as u64)
        | ((to | from << 4) as u64) << 8
        | (offset as u16 as u64) << 16
        | (immediate as u32 as u64) << 32
}

/// Sets a register.
pub const fn set(to: u8, value: i32) -> Instruction {
    instruction(0xb7, to, 0, 0, value)
}

/// Ends the program with what is in register 0.
pub const EXIT: Instruction = instruction(0x95, 0, 0, 0, 0);

/// Attributes of a command, all zero.
pub fn attributes() -> bpf_attr {
    // SAFETY: a union of integers and arrays of them, of which zero is one.
    unsafe { std::mem::zeroed() }
}

/// Carries out a command.
///
/// # Errors
/// As the kernel says.
///
/// # Safety
/// The attributes must be those of the command; what they point to must live during the call.
pub unsafe fn command(command: bpf_cmd, attributes: &mut bpf_attr) -> io::Result<i32> {
    let (number, at) = (command as c_long, std::ptr::from_mut(attributes));
    // SAFETY: as the caller promises.
    let code = unsafe { libc::syscall(libc::SYS_bpf, number, at, size_of::<bpf_attr>()) };
    if code < 0 { Err(io::Error::last_os_error()) } else { Ok(code as i32) }
}

/// Carries out a command that gives a descriptor.
///
/// # Errors
/// As the kernel says.
///
/// # Safety
/// As [`command`]; the command must be one that gives a descriptor.
pub unsafe fn make(what: bpf_cmd, attributes: &mut bpf_attr) -> io::Result<OwnedFd> {
    // SAFETY: as the caller promises; the descriptor is new.
    unsafe { command(what, attributes).map(|fd| OwnedFd::from_raw_fd(fd)) }
}

/// The attach type, which is 0, of programs that don't say where they are to be attached.
pub const ANYWHERE: bpf_attach_type = bpf_attach_type::BPF_CGROUP_INET_INGRESS;

/// A program to load.
#[derive(Debug)]
pub struct Program<'a> {
    /// Its type.
    pub kind: bpf_prog_type,
    /// Where it is to be attached; [`ANYWHERE`] for types that don't want to know.
    pub attach: bpf_attach_type,
    /// The id of the type of what it is attached to; 0 for none.
    pub attach_to: u32,
    /// Its name, of which the kernel keeps 15 bytes.
    pub name: &'a str,
    /// What it does.
    pub instructions: &'a [Instruction],
}

impl Program<'_> {
    /// Loads it.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn load(&self) -> io::Result<OwnedFd> {
        const NAME: usize = 15;
        let mut all = attributes();
        // SAFETY: plain fields of the member that this command reads.
        let attr = unsafe { &mut all.__bindgen_anon_3 };
        attr.prog_type = self.kind as u32;
        attr.expected_attach_type = self.attach as u32;
        attr.attach_btf_id = self.attach_to;
        attr.insns = self.instructions.as_ptr() as u64;
        attr.insn_cnt = self.instructions.len() as u32;
        attr.license = c"GPL".as_ptr() as u64;
        for (to, from) in attr.prog_name.iter_mut().zip(self.name.bytes().take(NAME)) {
            *to = from as c_char;
        }
        // SAFETY: the instructions and the licence live during the call.
        unsafe { make(bpf_cmd::BPF_PROG_LOAD, &mut all) }
    }
}

/// Attaches a program to a target, which is an interface's number or a cgroup's descriptor, for as long as the link lives.
///
/// # Errors
/// When the kernel refuses.
pub fn link(program: &impl AsFd, target: u32, attach: bpf_attach_type) -> io::Result<OwnedFd> {
    let mut attr = attributes();
    attr.link_create.__bindgen_anon_1.prog_fd = program.as_fd().as_raw_fd() as u32;
    attr.link_create.__bindgen_anon_2.target_fd = target;
    attr.link_create.attach_type = attach as u32;
    // SAFETY: there are no pointers in these attributes.
    unsafe { make(bpf_cmd::BPF_LINK_CREATE, &mut attr) }
}
