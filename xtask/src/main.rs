//! Builds, runs, tests and documents `monitor`, and installs what that needs.

mod bench;
mod build;
mod context;
mod demo;
mod docs;
mod fuzz;
mod lint;
mod package;
mod run;
mod setup;
mod shell;
mod soak;
mod stage;
mod table;
mod test;
mod toolchain;
mod vm;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::context::Context;

/// Builds, runs, tests and documents monitor.
///
/// Every command first installs what it needs and lacks, and says what and why; tools go into target/tools of this
/// clone. Nothing but rustup and a C linker (Debian: gcc) has to be there. The kernel side needs root to load.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Sub,
}

#[derive(Debug, Subcommand)]
enum Sub {
    /// Install what is missing, or say what is (`--check`)
    ///
    /// Every other command does this by itself for what it needs; `setup` does all of it at once, for a machine that
    /// will be offline. Done twice, it does nothing. Tools are compiled into target/tools of this clone; outside of it
    /// go only rustup components and, as root, Debian's packages for `vm` and `bench`.
    Setup(setup::Args),
    /// Build the kernel programs and the agent; report sizes and what the verifier says
    ///
    /// Fails when a panic can be reached in a kernel program, and names the way to it: the verifier would refuse the
    /// program without saying where. Then prints a row for each program: its section, its size in bytes and
    /// instructions, alone and linked with the functions it calls. As root the agent loads each program once and adds
    /// how many instructions the verifier walked, the size of the machine code, and how long loading took.
    ///
    /// The agent is target/release/monitor and carries the programs.
    Build(build::Args),
    /// Build, then run the agent on this host in the foreground
    ///
    /// Without arguments the agent uses /etc/monitor/monitor.toml if there is one, else built-in
    /// defaults in observe mode: it prints what it sees and refuses nothing. Ctrl-C ends it and
    /// leaves nothing behind.
    ///
    /// Examples:
    ///   cargo xtask run
    ///   cargo xtask run -- --config policy.toml
    #[command(verbatim_doc_comment)]
    Run(run::Args),
    /// Run every test: units, docs, scenarios on this kernel, a guest with another kernel
    ///
    /// Without root it runs what needs none, and says at the end what it left out. All stages
    /// run, also when an earlier one failed; a table at the end says how each ended.
    ///
    /// Examples:
    ///   cargo xtask test
    ///   cargo xtask test --skip vm
    ///   cargo xtask test -- rate_limit          only tests with this in their name
    ///   cargo xtask test --only unit
    #[command(verbatim_doc_comment)]
    Test(test::Args),
    /// Show what the agent does, in namespaces and a cgroup of its own
    ///
    /// Starts the agent in enforce mode with a short policy, drives real clients against it, prints what each tried,
    /// what happened and what the agent said, and cleans up. Touches no interface and no process of the host.
    Demo(demo::Args),
    /// Measure what the agent costs others, paired with and without it
    ///
    /// Everything runs in a cgroup of its own, and no interface is touched. Numbers of a busy machine are noisy; how noisy is
    /// part of the report.
    ///
    /// Examples:
    ///   cargo xtask bench verdicts
    ///   cargo xtask bench verdicts --quick --json verdicts.json
    #[command(verbatim_doc_comment)]
    Bench(bench::Args),
    /// Work for minutes, and see that the agent doesn't grow
    ///
    /// Programs, connections and packets over a limit, new policies, agents that are killed, in namespaces and a cgroup of its own. Prints
    /// what the agent holds after each round; fails if memory, descriptors, or programs, maps and links in the kernel grow, or
    /// if an event is not accounted for. `cargo xtask test` does it for two minutes.
    ///
    /// Examples:
    ///   cargo xtask soak --minutes 10
    #[command(verbatim_doc_comment)]
    Soak(soak::Args),
    /// Boot other kernels in an emulator and run tests in them
    ///
    /// Without options all scenarios run on the default kernel. `--sheet` runs no tests: it tries every way of enforcing once and
    /// compares with docs/kernels.json what came of it; `--record` writes that down, and docs/kernels.md.
    ///
    /// Examples:
    ///   cargo xtask vm --kernel 6.12 -- exec_rule
    ///   cargo xtask vm --kernel all --variant all --sheet
    #[command(verbatim_doc_comment)]
    Vm(vm::Args),
    /// Feed what reads bytes from others with mutations of a kept corpus, for longer than the tests do
    ///
    /// The corpus is in monitor/corpus and monitor-common/corpus; an input that breaks something is kept there as crash-*.
    ///
    /// Examples:
    ///   cargo xtask fuzz --seconds 600
    ///   cargo xtask fuzz --seconds 60 policy
    #[command(verbatim_doc_comment)]
    Fuzz(fuzz::Args),
    /// Build what is installed on hosts: a static binary and a Debian package of it
    ///
    /// target/package has both, and what deploy/container/Containerfile takes.
    Package(package::Args),
    /// Write the generated docs anew, or check that they are current (`--check`)
    ///
    /// docs/monitor.schema.json (for editors), docs/metrics.md and docs/cli.md are what the agent prints about itself;
    /// docs/kernels.md is made of docs/kernels.json.
    Docs(docs::Args),
    /// Check formatting, lints, docs, lock files and dependencies
    ///
    /// For both workspaces: rustfmt, clippy and rustdoc with warnings as errors, current lock files, and for every
    /// dependency its licence, its source and that its version is pinned.
    Lint(lint::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match dispatch(&cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("\x1b[1;31merror:\x1b[0m {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: &Sub) -> Result<()> {
    let context = Context::new()?;
    match command {
        Sub::Setup(args) => setup::run(args, &context),
        Sub::Build(args) => build::run(args, &context),
        Sub::Run(args) => run::run(args, &context),
        Sub::Test(args) => test::run(args, &context),
        Sub::Demo(args) => demo::run(args, &context),
        Sub::Bench(args) => bench::run(args, &context),
        Sub::Soak(args) => soak::run(args, &context),
        Sub::Vm(args) => vm::run(args, &context),
        Sub::Fuzz(args) => fuzz::run(args, &context),
        Sub::Package(args) => package::run(args, &context),
        Sub::Docs(args) => docs::run(args, &context),
        Sub::Lint(args) => lint::run(args, &context),
    }
}
