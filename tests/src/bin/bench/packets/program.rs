//! Small XDP programs, written as instructions: those that send frames, and those that do nothing.
//!
//! A few instructions need no compiler, and what is measured is then what is written here.

use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use tests::bpf::{self, EXIT, Instruction, bpf_attach_type, bpf_cmd, bpf_prog_type, instruction, set};

const fn copy(to: u8, from: u8) -> Instruction {
    instruction(0xbf, to, from, 0, 0)
}
const fn add(to: u8, value: i32) -> Instruction {
    instruction(0x07, to, 0, 0, value)
}
const fn and(to: u8, value: i32) -> Instruction {
    instruction(0x57, to, 0, 0, value)
}
const fn xor(to: u8, value: i32) -> Instruction {
    instruction(0xa7, to, 0, 0, value)
}
const fn shift_right(to: u8, by: i32) -> Instruction {
    instruction(0x77, to, 0, 0, by)
}
/// Loads 32 bits.
const fn load(to: u8, from: u8, at: i16) -> Instruction {
    instruction(0x61, to, from, at, 0)
}
const fn store_16(to: u8, at: i16, from: u8) -> Instruction {
    instruction(0x6b, to, from, at, 0)
}
const fn store_8(to: u8, at: i16, from: u8) -> Instruction {
    instruction(0x73, to, from, at, 0)
}
const fn skip_if_greater(one: u8, other: u8, by: i16) -> Instruction {
    instruction(0x2d, one, other, by, 0)
}
const fn call(helper: i32) -> Instruction {
    instruction(0x85, 0, 0, 0, helper)
}

const PRANDOM: i32 = 7;
const REDIRECT: i32 = 23;

/// What `XDP_DROP` is for the kernel.
pub const DROP: i32 = 1;
/// And `XDP_PASS`.
pub const PASS: i32 = 2;

/// Bits of the number that tells sources apart.
pub const MOST_SOURCE_BITS: u32 = 20;

/// An XDP program in the kernel.
#[derive(Debug)]
pub struct Program(OwnedFd);

/// An attached program; dropping it takes it off.
#[derive(Debug)]
pub struct Link(#[expect(dead_code, reason = "held for its end")] OwnedFd);

impl Program {
    /// Does with every frame the same, without looking at it.
    pub fn always(verdict: i32) -> Result<Self> {
        Self::load(&[set(0, verdict), EXIT])
    }

    /// Sends every frame out of an interface. Above 0 bits it puts another source into each first, one of so many bits, drawn
    /// at random. The IPv4 header's checksum stays right: its other fields take what the source adds.
    pub fn sender(interface: u32, bits: u32) -> Result<Self> {
        /// Where fields of an IPv4 header are, behind an Ethernet header.
        const TOS: i16 = 15;
        const ID: i16 = 18;
        const SOURCE: i16 = 26;
        let out = [set(1, interface as i32), set(2, 0), call(REDIRECT), EXIT];
        if bits == 0 {
            return Self::load(&out);
        }
        let mask = (1 << bits.min(MOST_SOURCE_BITS)) - 1;
        let draw = [
            load(7, 1, 0),
            load(3, 1, 4),
            copy(2, 7),
            add(2, 42),
            skip_if_greater(2, 3, 13),
            call(PRANDOM),
            and(0, mask),
            store_16(7, SOURCE + 2, 0),
            copy(1, 0),
            xor(1, 0xffff),
            store_16(7, ID, 1),
            shift_right(0, 16),
            // 10.16.0.0/12.
            add(0, 16),
            store_8(7, SOURCE + 1, 0),
            set(1, 31),
            instruction(0x1f, 1, 0, 0, 0),
            store_8(7, TOS, 1),
        ];
        // The jump lands on the first instruction behind: it is 12 further than the one after it.
        let mut all = draw.to_vec();
        all[4] = skip_if_greater(2, 3, (draw.len() - 5) as i16);
        all.extend(out);
        Self::load(&all)
    }

    fn load(instructions: &[Instruction]) -> Result<Self> {
        let program = bpf::Program {
            kind: bpf_prog_type::BPF_PROG_TYPE_XDP,
            attach: bpf::ANYWHERE,
            attach_to: 0,
            name: "bench",
            instructions,
        };
        program.load().context("loading a program of the benchmark").map(Self)
    }

    /// Attaches it to an interface of this thread's namespace.
    pub fn attach(&self, interface: u32) -> Result<Link> {
        let link = bpf::link(&self.0, interface, bpf_attach_type::BPF_XDP);
        link.context("attaching a program of the benchmark").map(Link)
    }

    /// Runs it over a frame that the kernel makes `count` times, each as if it had come from a driver and with what the
    /// program says carried out; how long each took, nanoseconds.
    pub fn run(&self, frame: &[u8], count: u32) -> Result<u32> {
        const LIVE_FRAMES: u32 = 1 << 1;
        /// As many as a driver takes at once (`NAPI_POLL_WEIGHT`).
        const BATCH: u32 = 64;
        let mut attr = bpf::attributes();
        attr.test.prog_fd = self.0.as_raw_fd() as u32;
        attr.test.data_size_in = frame.len() as u32;
        attr.test.data_in = frame.as_ptr() as u64;
        attr.test.repeat = count;
        attr.test.flags = LIVE_FRAMES;
        attr.test.batch_size = BATCH;
        // SAFETY: the frame lives during the call, and is as long as is said; the kernel has written the duration.
        unsafe {
            bpf::command(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr).context("sending frames")?;
            Ok(attr.test.duration)
        }
    }
}
