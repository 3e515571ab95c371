//! `cargo xtask vm`: boots other kernels in an emulator and finds out what the agent is worth on them.
//!
//! A guest has no disk and no network but its own: everything is in an archive that the kernel unpacks into memory,
//! and its first process (`tests/src/bin/guest-init.rs`) runs the test binaries unchanged. Kernels are Debian's, from
//! the mirror that this machine uses, kept below `target/vm`. Neither root nor `/dev/kvm` is needed.

mod book;
mod boot;
mod fetch;
mod guest;
mod guests;
mod initramfs;
mod kernels;
mod markdown;
mod mirror;
mod modules;
mod report;

use std::{ffi::OsString, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail};
use clap::{ValueEnum, builder::PossibleValuesParser};

use self::{
    book::Book,
    guests::{Guest, WorkPlan},
    kernels::{Kernel, Variant},
    report::Report,
};
use crate::{
    context::Context,
    setup::{self, Purpose},
};

pub use self::{
    initramfs::Archive,
    markdown::{PATH as KERNELS, kernels as markdown},
};

/// How long one test binary may run when nothing else is asked for, in seconds.
const TIMEOUT: u64 = 1800;

/// What `vm` takes.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Which kernels: names separated by commas, or `all` [default: 6.1]
    #[arg(long = "kernel", value_name = "KERNEL", value_delimiter = ',', value_parser = names())]
    kernels: Vec<String>,
    /// What they are booted with, separated by commas, or `all` that the ladder has of a kernel [default: plain]
    #[arg(long = "variant", value_name = "VARIANT", value_delimiter = ',', value_parser = variants())]
    variants: Vec<String>,
    /// Run no tests: try every way of enforcing once, and compare with docs/kernels.json
    #[arg(long, conflicts_with = "arguments")]
    sheet: bool,
    /// The same, but write what was found out to docs/kernels.json and docs/kernels.md
    #[arg(long, conflicts_with = "arguments")]
    record: bool,
    /// How long the tests of one guest may take, in seconds [default: 1800]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: Option<u64>,
    /// Look for newer releases of the kernels first
    #[arg(long)]
    update: bool,
    /// For the test programs: a part of the names of the tests to run, or options of theirs
    #[arg(last = true, value_name = "FILTER")]
    arguments: Vec<OsString>,
}

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(kernels::LADDER.iter().map(|kernel| kernel.name).chain(["all"]))
}

fn variants() -> PossibleValuesParser {
    let values = Variant::value_variants().iter().filter_map(ValueEnum::to_possible_value);
    PossibleValuesParser::new(values.chain(["all".into()]))
}

/// Runs the subcommand.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    let chosen: Vec<&'static Kernel> = if args.kernels.is_empty() {
        Kernel::by_name(kernels::DEFAULT).into_iter().collect()
    } else {
        let wanted = |name: &str| args.kernels.iter().any(|asked| asked == name || asked == "all");
        kernels::LADDER.iter().filter(|kernel| wanted(kernel.name)).collect()
    };
    let sheet = args.sheet || args.record;
    let work = WorkPlan {
        sheet,
        tests: (!sheet).then(|| args.arguments.clone()),
        timeout: args.timeout.unwrap_or(TIMEOUT),
    };
    let guest = |(kernel, variant)| Guest { kernel, variant, work: work.clone() };
    let of_kernel = |kernel: &'static Kernel| -> Vec<Guest> {
        if args.variants.iter().any(|variant| variant == "all") {
            return guests::ladder().into_iter().filter(|(other, _)| *other == kernel).map(guest).collect();
        }
        if args.variants.is_empty() {
            return vec![guest((kernel, Variant::Plain))];
        }
        let asked = args.variants.iter().filter_map(|name| Variant::from_str(name, true).ok());
        asked.map(|variant| guest((kernel, variant))).collect()
    };
    let guests = chosen.into_iter().flat_map(of_kernel).collect();
    boot(context, guests, args.update, args.record)
}

/// The whole ladder as `cargo xtask test` runs it: every way of enforcing on each kernel, and some tests on the default one.
pub fn ladder(context: &Context, tests: &[&str]) -> Result<()> {
    let guest = |(kernel, variant): (&'static Kernel, Variant)| {
        let with_tests = kernel.name == kernels::DEFAULT && variant == Variant::Plain;
        let tests = with_tests.then(|| tests.iter().map(OsString::from).collect());
        Guest { kernel, variant, work: WorkPlan { sheet: true, tests, timeout: TIMEOUT } }
    };
    let mut guests: Vec<Guest> = guests::ladder().into_iter().map(guest).collect();
    // The longest first, so that the other processor has enough to do beside it.
    guests.sort_by_key(|guest| guest.work.tests.is_none());
    boot(context, guests, false, false)
}

/// Boots a kernel of the ladder with a file system of another's making; whether all went well that it says, as a guest of
/// [`run`] does.
pub fn boot_other(
    context: &Context,
    kernel: &str,
    initramfs: PathBuf,
    size: usize,
    words: &str,
    timeout: Duration,
) -> Result<()> {
    setup::ensure(context, Purpose::Vm)?;
    let kernel = Kernel::by_name(kernel).with_context(|| format!("the ladder has no kernel {kernel}"))?;
    guests::run_other(context, kernel, initramfs, size, words, timeout)
}

fn boot(context: &Context, guests: Vec<Guest>, update: bool, record: bool) -> Result<()> {
    setup::ensure(context, Purpose::Vm)?;
    let programs = guest::build(context, guests.iter().any(|guest| guest.work.tests.is_some()))?;
    let mut book = Book::read(context)?;
    let mut failed = Vec::new();
    for (guest, outcome) in guests::run_all(context, guests, &programs, update)? {
        let name = guest.name();
        let good = match outcome {
            Ok(report) => judge(&name, report, &mut book, record),
            Err(error) => {
                anstream::eprintln!("\x1b[1;31merror:\x1b[0m kernel {name}: {error:#}");
                false
            }
        };
        if !good {
            failed.push(name);
        }
    }
    if record {
        book.write(context)?;
        markdown::write(context)?;
    }
    if !failed.is_empty() {
        bail!("failed on {}", failed.join(", "));
    }
    Ok(())
}

/// Whether a guest did well, and is as docs/kernels.json has it.
fn judge(name: &str, report: Report, book: &mut Book, record: bool) -> bool {
    let good = report.is_good();
    if report.rows.is_empty() {
        return good;
    }
    if record {
        if good {
            book.0.insert(name.to_owned(), report.rows);
        }
        return good;
    }
    let differences = book.differences(name, &report.rows);
    for difference in &differences {
        anstream::eprintln!("\x1b[1;31mkernel {name}:\x1b[0m {difference}");
    }
    good && differences.is_empty()
}
