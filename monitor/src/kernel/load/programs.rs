//! Loads the programs, several at a time: the verifier takes its time, and works for each on its own.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use aya::{
    Btf as KernelTypes,
    programs::{Program, ProgramError},
};

use super::{Kernel, program};
use crate::kernel::{
    probes::{Attach, Probe},
    support,
};

/// Programs that are loaded at one time, at most.
const AT_ONCE: usize = 4;

/// What the verifier said of a program.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Loaded {
    /// Its name.
    pub program: &'static str,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// `loaded` or `refused`.
    pub state: &'static str,
    /// Why it was refused.
    pub reason: Option<String>,
    /// Instructions as translated by the kernel.
    pub instructions: Option<u32>,
    /// Instructions the verifier walked through; from 5.16 on.
    pub verified_instructions: Option<u32>,
    /// Bytes of machine code.
    pub jited_bytes: Option<u32>,
    /// How long it took, milliseconds.
    pub load_ms: f64,
}

impl Kernel {
    /// Loads one program.
    ///
    /// # Errors
    /// When the kernel refuses it; the error bears the end of what the verifier said.
    pub fn load(&mut self, probe: &Probe) -> Result<Loaded> {
        load(program(&mut self.ebpf, probe)?, probe, self.types.as_deref())
    }

    /// Loads some programs, as many at a time as there are CPUs; what came of each, in the order given.
    ///
    /// # Errors
    /// When the object lacks one.
    pub fn load_all(&mut self, probes: &[&'static Probe]) -> Result<Vec<(&'static Probe, Result<Loaded>)>> {
        let types = self.types.as_deref();
        let mut programs: HashMap<String, &mut Program> =
            self.ebpf.programs_mut().map(|(name, program)| (name.to_owned(), program)).collect();
        let take = |probe: &&'static Probe| {
            let program = programs.remove(probe.program);
            let program =
                program.with_context(|| format!("the kernel object has no program {}", probe.program))?;
            Ok((*probe, program))
        };
        let waiting = probes.iter().map(take).collect::<Result<Vec<_>>>()?;
        let waiting = Mutex::new(waiting.into_iter().enumerate());
        let done = Mutex::new(Vec::new());
        let work = || {
            while let Some((number, (probe, program))) = { guard(&waiting).next() } {
                let outcome = load(program, probe, types);
                guard(&done).push((number, probe, outcome));
            }
        };
        let threads = thread::available_parallelism().map_or(1, usize::from).min(AT_ONCE);
        thread::scope(|scope| {
            (1..threads).for_each(|_| drop(scope.spawn(work)));
            work();
        });
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by_key(|(number, ..)| *number);
        Ok(done.into_iter().map(|(_, probe, outcome)| (probe, outcome)).collect())
    }

    /// Forgets the kernel's types: after that only programs are loaded that don't need them, those for packets.
    pub fn forget_types(&mut self) {
        self.types = None;
    }
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn load(program: &mut Program, probe: &Probe, types: Option<&KernelTypes>) -> Result<Loaded> {
    let begun = Instant::now();
    let types = || types.context("the kernel's types are forgotten");
    let outcome = match (&mut *program, probe.attach) {
        (Program::BtfTracePoint(program), Attach::Tracepoint(hook)) => program.load(hook, types()?),
        (Program::Lsm(program), Attach::Lsm(hook)) => program.load(hook, types()?),
        (Program::FEntry(program), Attach::Function(function)) => program.load(function, types()?),
        (Program::CgroupSockAddr(program), _) => program.load(),
        (Program::CgroupSock(program), _) => program.load(),
        (Program::CgroupSkb(program), _) => program.load(),
        (Program::Xdp(program), _) => program.load(),
        (Program::SchedClassifier(program), _) => program.load(),
        _ => bail!("program {} is not of the type that the table of programs says", probe.program),
    };
    let took = begun.elapsed();
    outcome.map_err(|error| refusal(probe, error))?;
    describe(program, probe, took)
}

fn describe(program: &Program, probe: &Probe, took: Duration) -> Result<Loaded> {
    let info = program.info().context("can't ask the kernel about a program")?;
    Ok(Loaded {
        program: probe.program,
        kind: probe.attach.name(),
        state: "loaded",
        reason: None,
        instructions: info.size_translated().map(|bytes| bytes / 8),
        verified_instructions: info.verified_instruction_count(),
        jited_bytes: Some(info.size_jitted()),
        load_ms: took.as_secs_f64() * 1000.0,
    })
}

/// The error of a refused program: the kernel's code, and the end of what the verifier said.
fn refusal(probe: &Probe, error: ProgramError) -> anyhow::Error {
    const LINES: usize = 8;
    if let ProgramError::LoadError { io_error, verifier_log } = &error {
        let log = verifier_log.to_string();
        let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
        // No log at all: it was refused before the verifier looked at it.
        let end: String =
            lines[lines.len().saturating_sub(LINES)..].iter().map(|line| format!("\n  {line}")).collect();
        tracing::debug!("verifier log of {}:\n{log}", probe.program);
        let remedy = support::remedy();
        return anyhow!("the kernel refuses program {}: {io_error}{end}{remedy}", probe.program);
    }
    anyhow!(error).context(format!("can't load program {}", probe.program))
}
