//! Asks the kernel programs that answer questions.

use anyhow::{Context as _, Result, bail};
use aya::programs::{Program, TestRun as _, TestRunOptions};
use monitor_common::question::{Answer, Question, kind};
use zerocopy::{FromBytes as _, IntoBytes as _};

use super::{
    load::Kernel,
    probes::{Needed, PROBES, Probe},
};

impl Kernel {
    /// The programs that answer questions.
    pub fn evaluators() -> impl Iterator<Item = &'static Probe> {
        PROBES.iter().filter(|probe| probe.needed == Needed::Asked)
    }

    /// Asks a question; the programs must be loaded.
    ///
    /// # Errors
    /// If the kernel doesn't run it, or it gave up.
    pub fn evaluate(&self, question: &Question) -> Result<Answer> {
        let name = match question.kind {
            kind::CGROUP_MADE | kind::EXEC | kind::FILE | kind::RAW => "ask",
            _ => "ask_database",
        };
        let Some((probe, Program::Xdp(program))) = self.programs().find(|(probe, _)| probe.program == name)
        else {
            bail!("program {name}, which answers questions, is not loaded")
        };
        // The kernel refuses to write less than the whole packet.
        let mut out = [0; size_of::<Question>()];
        let options = TestRunOptions {
            data_in: Some(question.as_bytes()),
            data_out: Some(&mut out),
            ..TestRunOptions::new()
        };
        program.test_run(options).with_context(|| {
            format!("the kernel doesn't run program {} with BPF_PROG_TEST_RUN", probe.program)
        })?;
        match Answer::read_from_prefix(&out) {
            Ok((answer, _)) if answer.done == 1 => Ok(answer),
            _ => bail!("program {} gave no answer", probe.program),
        }
    }

    /// Whether the packet program drops a frame, as if it had just arrived. The program must be loaded, and the frame not
    /// shorter than an Ethernet header.
    ///
    /// # Errors
    /// If the kernel doesn't run it.
    pub fn drops(&self, frame: &[u8]) -> Result<bool> {
        // `XDP_DROP` and `XDP_PASS` (`include/uapi/linux/bpf.h`).
        const DROP: u32 = 1;
        const PASS: u32 = 2;
        let found = self.programs().find(|(probe, _)| probe.needed == Needed::RateLimit);
        let Some((probe, Program::Xdp(program))) = found else { bail!("the packet program is not loaded") };
        let options = TestRunOptions { data_in: Some(frame), ..TestRunOptions::new() };
        let result = program.test_run(options).with_context(|| {
            format!(
                "the kernel doesn't run program {} on {} bytes with BPF_PROG_TEST_RUN",
                probe.program,
                frame.len()
            )
        })?;
        match result.return_value {
            DROP => Ok(true),
            PASS => Ok(false),
            other => bail!("program {} says {other}, which is neither to drop nor to pass", probe.program),
        }
    }
}

// What is larger than a page doesn't fit into one packet: the kernel keeps 256 bytes in front of it, and up to 384 behind.
const _: () = assert!(size_of::<Question>() <= 4096 - 256 - 384);
