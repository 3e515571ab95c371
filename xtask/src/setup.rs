//! `cargo xtask setup`: makes present what the other commands need, and nothing else.

mod steps;

use std::{
    fs::{self, File, TryLockError},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use steps::STEPS;
pub use steps::Step;

use crate::{
    context::Context,
    shell::{note, step},
    table::{Align, Table},
};

/// What `setup` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only what this command needs; may be given several times
    #[arg(long = "for", value_name = "COMMAND")]
    purposes: Vec<Purpose>,
    /// Say what is there and what is missing; install nothing
    #[arg(long)]
    check: bool,
}

/// A command that has needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Purpose {
    /// `build`, `run`: the two sides of the agent
    Build,
    /// `test`, `demo`: also static helper programs
    Test,
    /// `vm`: also the emulator
    Vm,
    /// `lint`: also the dependency checker
    Lint,
    /// `package`: also what packs
    Package,
    /// `bench`: also what the agent is compared with
    Bench,
    /// The scenarios of `test`, as root: also receivers of findings, and readers of metrics
    Scenarios,
    /// The stage `alerts` of `test`: what checks alert rules
    Alerts,
}

impl Purpose {
    fn steps(self) -> &'static [Step] {
        use Step::{
            BpfLinker, CargoDeb, CargoDeny, Clippy, ExecTracer, Musl, PacketFilters, Prometheus, Qemu,
            Receivers, RustSrc, Rustfmt, Terminal, Toolchain,
        };
        match self {
            Self::Build => &[Toolchain, RustSrc, BpfLinker],
            Self::Test => &[Toolchain, RustSrc, BpfLinker, Musl],
            Self::Vm => &[Toolchain, RustSrc, BpfLinker, Musl, Qemu],
            Self::Lint => &[Toolchain, RustSrc, BpfLinker, Clippy, Rustfmt, CargoDeny],
            Self::Package => &[Toolchain, RustSrc, BpfLinker, Musl, CargoDeb],
            Self::Bench => &[Toolchain, RustSrc, BpfLinker, Musl, ExecTracer, PacketFilters],
            Self::Scenarios => &[Receivers, Prometheus, Terminal],
            Self::Alerts => &[Prometheus],
        }
    }
}

/// Runs the subcommand.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    let purposes = if args.purposes.is_empty() { Purpose::value_variants() } else { &args.purposes };
    let wanted: Vec<Step> = purposes.iter().flat_map(|purpose| purpose.steps()).copied().collect();
    if !args.check {
        ensure_steps(context, &wanted)?;
    }
    let mut table = Table::new(&[("present", Align::Left), ("what", Align::Left), ("why", Align::Left)]);
    let mut missing = false;
    for row in STEPS.iter().filter(|row| wanted.contains(&row.step)) {
        let present = (row.present)(context)?;
        missing |= !present;
        table.row([if present { "yes" } else { "no" }, row.name, row.why]);
    }
    anstream::print!("{table}");
    if missing && args.check {
        bail!("something is missing: `cargo xtask setup` installs it");
    }
    Ok(())
}

/// Makes present what a command needs. Says nothing and takes milliseconds when all is there.
pub fn ensure(context: &Context, purpose: Purpose) -> Result<()> {
    ensure_steps(context, purpose.steps())
}

/// What a command needs that isn't there and that this user can't install; `None` when it can run.
pub fn out_of_reach(context: &Context, purpose: Purpose) -> Result<Option<&'static str>> {
    let steps = purpose.steps();
    for row in STEPS.iter().filter(|row| row.root && !context.is_root() && steps.contains(&row.step)) {
        if !(row.present)(context)? {
            return Ok(Some(row.name));
        }
    }
    Ok(None)
}

/// Makes single steps present, in the order of the table.
pub fn ensure_steps(context: &Context, wanted: &[Step]) -> Result<()> {
    let mut missing = Vec::new();
    for row in STEPS.iter().filter(|row| wanted.contains(&row.step)) {
        if !(row.present)(context)? {
            missing.push(row);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let _lock = lock(context)?;
    let count = missing.len();
    for (index, row) in missing.into_iter().enumerate() {
        // Another setup may have done it while this one waited.
        if (row.present)(context)? {
            continue;
        }
        step(&format!("setup {}/{count}: {} ({}): {}", index + 1, row.name, row.cost, row.why));
        let begun = Instant::now();
        (row.install)(context).with_context(|| format!("setting up {}", row.name))?;
        if !(row.present)(context)? {
            bail!("{} was installed without an error but still isn't there; {}", row.name, row.remedy);
        }
        step(&format!(
            "setup {}/{count}: {} is ready after {:.1} s",
            index + 1,
            row.name,
            begun.elapsed().as_secs_f32()
        ));
    }
    Ok(())
}

/// One setup at a time: cargo, rustup and apt each have a lock, but none over all of them.
fn lock(context: &Context) -> Result<File> {
    let directory = context.tools();
    fs::create_dir_all(&directory).with_context(|| format!("making {}", directory.display()))?;
    let path = directory.join("setup.lock");
    let file = File::create(&path).with_context(|| format!("opening {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            note("another setup is running in this clone; waiting for it");
            file.lock().with_context(|| format!("locking {}", path.display()))?;
        }
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("locking {}", path.display()));
        }
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_need_is_one_row_of_the_table() {
        for purpose in Purpose::value_variants() {
            for step in purpose.steps() {
                assert_eq!(STEPS.iter().filter(|row| row.step == *step).count(), 1, "{step:?}");
            }
        }
    }

    #[test]
    fn every_row_is_needed_by_a_command() {
        for row in STEPS {
            let needed = Purpose::value_variants().iter().any(|purpose| purpose.steps().contains(&row.step));
            assert!(needed, "{}", row.name);
        }
    }
}
