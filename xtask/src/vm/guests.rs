//! Which guests there are, and running some of them side by side.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    boot::Machine,
    fetch::{self, Unpacked},
    guest::{Programs, Work},
    kernels::{Kernel, LADDER, MODULES, Variant},
    modules::{self, Module},
    report::Report,
};
use crate::{context::Context, shell::step};

/// A kernel, and what it is booted with.
#[derive(Debug, Clone)]
pub struct Guest {
    pub kernel: &'static Kernel,
    pub variant: Variant,
    pub work: WorkPlan,
}

/// What a guest is to do: [`Work`], owned.
#[derive(Debug, Clone, Default)]
pub struct WorkPlan {
    pub sheet: bool,
    pub tests: Option<Vec<std::ffi::OsString>>,
    pub timeout: u64,
}

/// A guest with all it needs.
struct Ready {
    guest: Guest,
    unpacked: Arc<Unpacked>,
    modules: Arc<Vec<Module>>,
}

impl Guest {
    /// What messages and docs/kernels.json call it.
    pub fn name(&self) -> String {
        format!("{}{}", self.kernel.name, self.variant.suffix())
    }

    fn file(&self, context: &Context, name: &str) -> PathBuf {
        let suffix = self.variant.suffix().trim();
        let dash = if suffix.is_empty() { "" } else { "-" };
        let (stem, end) = name.split_once('.').unwrap_or((name, ""));
        fetch::directory(context, self.kernel).join(format!("{stem}{dash}{suffix}.{end}"))
    }
}

/// The variants of kernels that the ladder has: all of the default kernel, and the plain one of the others.
pub fn ladder() -> Vec<(&'static Kernel, Variant)> {
    let variants = |kernel: &'static Kernel| {
        let all = [Variant::Plain, Variant::NoLsm, Variant::Lockdown, Variant::NoCgroup2];
        let count = if kernel.name == super::kernels::DEFAULT { all.len() } else { 1 };
        all.into_iter().take(count).map(move |variant| (kernel, variant))
    };
    LADDER.iter().flat_map(variants).collect()
}

/// Runs guests side by side, one a processor, as each of them has one; what became of each, in the order they were given.
pub fn run_all(
    context: &Context,
    guests: Vec<Guest>,
    programs: &Programs,
    update: bool,
) -> Result<Vec<(Guest, Result<Report>)>> {
    let mut ready: VecDeque<(usize, Ready)> = VecDeque::new();
    for (number, guest) in guests.into_iter().enumerate() {
        ready.push_back((number, prepare(context, guest, update, &ready)?));
    }
    let processors = thread::available_parallelism().map_or(1, usize::from).min(ready.len());
    let waiting = Mutex::new(ready);
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let work = || {
        let mut done = Vec::new();
        while let Some((number, ready)) = next() {
            let report = run_one(context, &ready, programs);
            done.push((number, ready.guest, report));
        }
        done
    };
    let mut done: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..processors).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    });
    done.sort_by_key(|(number, ..)| *number);
    Ok(done.into_iter().map(|(_, guest, report)| (guest, report)).collect())
}

/// Fetches a kernel, unless a guest before has it.
fn prepare(
    context: &Context,
    guest: Guest,
    update: bool,
    before: &VecDeque<(usize, Ready)>,
) -> Result<Ready> {
    let kernel = guest.kernel;
    if let Some((_, same)) = before.iter().find(|(_, ready)| ready.guest.kernel == kernel) {
        return Ok(Ready { guest, unpacked: Arc::clone(&same.unpacked), modules: Arc::clone(&same.modules) });
    }
    let unpacked = fetch::ensure(context, kernel, update)
        .with_context(|| format!("getting the kernel {}", kernel.name))?;
    let wanted: Vec<&str> = MODULES.iter().chain(kernel.modules).copied().collect();
    let directory = fetch::directory(context, kernel).join("modules");
    let modules = modules::collect(context, &unpacked.root, &wanted, &directory)?;
    Ok(Ready { guest, unpacked: Arc::new(unpacked), modules: Arc::new(modules) })
}

fn run_one(context: &Context, ready: &Ready, programs: &Programs) -> Result<Report> {
    let (begun, guest, name) = (Instant::now(), &ready.guest, ready.guest.name());
    let plan = &guest.work;
    let work = Work {
        sheet: plan.sheet,
        programs: guest.variant.concerns_programs(),
        tests: plan.tests.as_deref(),
        timeout: plan.timeout,
        skip: guest.variant.skipped(),
    };
    let initramfs = guest.file(context, "initramfs.cpio");
    let initramfs_size = programs.pack(&ready.modules, &work, &initramfs)?;
    let machine = Machine {
        name: name.clone(),
        kernel: fetch::image(&ready.unpacked.root)?,
        initramfs,
        initramfs_size,
        console: guest.file(context, "console.log"),
        command_line: guest.variant.command_line().to_owned(),
        timeout: Duration::from_secs(plan.timeout),
    };
    step(&format!("kernel {name}: booting {}", machine.kernel.display()));
    let report = machine.run(context, |line| anstream::println!("{name}: {line}"))?;
    conclude(&name, &machine, &report, begun.elapsed());
    Ok(report)
}

/// Boots a kernel with a file system that somebody else has made.
pub fn run_other(
    context: &Context,
    kernel: &'static Kernel,
    initramfs: PathBuf,
    initramfs_size: usize,
    words: &str,
    timeout: Duration,
) -> Result<()> {
    let begun = Instant::now();
    let unpacked = fetch::ensure(context, kernel, false)
        .with_context(|| format!("getting the kernel {}", kernel.name))?;
    let console = initramfs.with_extension("console.log");
    let machine = Machine {
        name: kernel.name.to_owned(),
        kernel: fetch::image(&unpacked.root)?,
        initramfs,
        initramfs_size,
        console,
        command_line: format!("{} {words}", Variant::Plain.command_line()),
        timeout,
    };
    step(&format!("kernel {}: booting {}", machine.name, machine.kernel.display()));
    let report = machine.run(context, |line| anstream::println!("{}: {line}", machine.name))?;
    conclude(&machine.name, &machine, &report, begun.elapsed());
    ensure!(report.is_good(), "failed on {}", machine.name);
    Ok(())
}

fn conclude(name: &str, machine: &Machine, report: &Report, took: Duration) {
    if report.see_console {
        anstream::eprintln!(
            "kernel {name}: from {}:\n{}",
            machine.console.display(),
            machine.console_excerpt()
        );
    }
    for problem in &report.problems {
        anstream::eprintln!("\x1b[1;31mkernel {name}:\x1b[0m {problem}");
    }
    if report.problems.is_empty() && report.is_empty() {
        anstream::eprintln!("\x1b[1;31mkernel {name}:\x1b[0m no test has this name");
    }
    anstream::println!(
        "kernel {name}: {} passed, {} failed, {} ignored, {} rows found out in {:.1} s",
        report.passed,
        report.failed,
        report.ignored,
        report.rows.len(),
        took.as_secs_f32()
    );
}
