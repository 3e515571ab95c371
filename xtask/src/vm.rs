//! `cargo xtask vm`: boots other kernels in an emulator and runs the scenarios in them.
//!
//! A guest has no disk and no network but its own: everything is in an archive that the kernel unpacks into memory,
//! and its first process (`tests/src/bin/guest-init.rs`) runs the test binaries unchanged. Kernels are Debian's, from
//! the mirror that this machine uses, kept below `target/vm`. Neither root nor `/dev/kvm` is needed.

mod boot;
mod fetch;
mod guest;
mod initramfs;
mod kernels;
mod mirror;
mod modules;
mod report;

use std::{
    collections::VecDeque,
    ffi::OsString,
    path::Path,
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use clap::{ValueEnum, builder::PossibleValuesParser};

use self::{boot::Machine, fetch::Unpacked, guest::Programs, kernels::Kernel, report::Report};
use crate::{
    context::Context,
    setup::{self, Purpose},
    shell::step,
};

/// How long one test binary may run when nothing else is asked for, in seconds.
const TIMEOUT: u64 = 1800;

/// What `vm` takes.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Which kernels: names separated by commas, or `all` [default: 6.1]
    #[arg(long = "kernel", value_name = "KERNEL", value_delimiter = ',', value_parser = names())]
    kernels: Vec<String>,
    /// Whether programs may attach to security hooks in the guest
    #[arg(long, value_enum, default_value_t)]
    lsm: Lsm,
    /// How long the tests of one guest may take, in seconds [default: 900]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: Option<u64>,
    /// Look for newer releases of the kernels first
    #[arg(long)]
    update: bool,
    /// For the test programs: a part of the names of the tests to run, or options of theirs
    #[arg(last = true, value_name = "FILTER")]
    arguments: Vec<OsString>,
}

impl Args {
    /// The default kernel, and of the tests only those whose names contain one of these.
    pub fn only(tests: &[&str]) -> Self {
        Self { arguments: tests.iter().map(OsString::from).collect(), ..Self::default() }
    }

    /// With a kernel on which programs attach to security hooks and never run.
    pub fn without_lsm(self) -> Self {
        Self { lsm: Lsm::None, ..self }
    }
}

/// The security modules of a guest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Lsm {
    /// With `bpf`: security hooks work
    #[default]
    Bpf,
    /// Without it: programs attach and never run
    None,
}

impl Lsm {
    fn list(self) -> &'static str {
        match self {
            Self::Bpf => "landlock,lockdown,yama,integrity,apparmor,bpf",
            Self::None => "landlock,lockdown,yama,integrity,apparmor",
        }
    }
}

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(kernels::LADDER.iter().map(|kernel| kernel.name).chain(["all"]))
}

/// Runs the subcommand.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    setup::ensure(context, Purpose::Vm)?;
    let chosen: Vec<&Kernel> = if args.kernels.is_empty() {
        Kernel::by_name(kernels::DEFAULT).into_iter().collect()
    } else {
        let wanted = |name: &str| args.kernels.iter().any(|asked| asked == name || asked == "all");
        kernels::LADDER.iter().filter(|kernel| wanted(kernel.name)).collect()
    };
    let mut guests = VecDeque::new();
    for kernel in chosen {
        let unpacked = fetch::ensure(context, kernel, args.update)
            .with_context(|| format!("getting the kernel {}", kernel.name))?;
        guests.push_back((kernel, unpacked));
    }
    let programs = guest::build(context)?;
    let failed = run_all(args, context, guests, &programs);
    if failed.is_empty() {
        return Ok(());
    }
    bail!("failed on {}", failed.join(", "))
}

/// Runs guests side by side, one a processor, as each of them has one; the names of those that failed.
fn run_all(
    args: &Args,
    context: &Context,
    guests: VecDeque<(&'static Kernel, Unpacked)>,
    programs: &Programs,
) -> Vec<&'static str> {
    let processors = thread::available_parallelism().map_or(1, usize::from).min(guests.len());
    let waiting = Mutex::new(guests);
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let work = || {
        let mut failed = Vec::new();
        while let Some((kernel, unpacked)) = next() {
            match run_one(args, context, kernel, &unpacked.root, programs) {
                Ok(true) => {}
                Ok(false) => failed.push(kernel.name),
                Err(error) => {
                    anstream::eprintln!("\x1b[1;31merror:\x1b[0m kernel {}: {error:#}", kernel.name);
                    failed.push(kernel.name);
                }
            }
        }
        failed
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..processors).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_else(|_| vec!["a guest"])).collect()
    })
}

/// Runs one guest; whether all went well.
fn run_one(
    args: &Args,
    context: &Context,
    kernel: &Kernel,
    root: &Path,
    programs: &Programs,
) -> Result<bool> {
    let begun = Instant::now();
    let directory = fetch::directory(context, kernel);
    let wanted: Vec<&str> = kernels::MODULES.iter().chain(kernel.modules).copied().collect();
    let modules = modules::collect(context, root, &wanted, &directory.join("modules"))?;
    let timeout = args.timeout.unwrap_or(TIMEOUT);
    let initramfs = directory.join("initramfs.cpio");
    let initramfs_size = programs.pack(&modules, timeout, &args.arguments, &initramfs)?;
    let machine = Machine {
        name: kernel.name,
        kernel: fetch::image(root)?,
        initramfs,
        initramfs_size,
        console: directory.join("console.log"),
        security_modules: args.lsm.list(),
        timeout: Duration::from_secs(timeout),
    };
    step(&format!("kernel {}: booting {}", kernel.name, machine.kernel.display()));
    let report = machine.run(context, |line| anstream::println!("{}: {line}", kernel.name))?;
    conclude(kernel, &machine, &report, begun.elapsed());
    Ok(report.is_good())
}

fn conclude(kernel: &Kernel, machine: &Machine, report: &Report, took: Duration) {
    let name = kernel.name;
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
        "kernel {name}: {} passed, {} failed, {} ignored in {:.1} s",
        report.passed,
        report.failed,
        report.ignored,
        took.as_secs_f32()
    );
}
