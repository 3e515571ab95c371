//! `cargo xtask lint`: what can be said about the tree without running it.

use anyhow::Result;

use crate::{
    build,
    context::Context,
    setup::{self, Purpose},
    shell::Cmd,
    stage::Stages,
};

/// What `lint` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Mend what can be mended (formatting) instead of only reporting it
    #[arg(long)]
    fix: bool,
}

/// Runs the subcommand.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    setup::ensure(context, Purpose::Lint)?;
    let mut stages = Stages::new();
    let cargo = || Cmd::cargo(context);
    let fmt: &[&str] = if args.fix { &["fmt", "--all"] } else { &["fmt", "--all", "--check"] };
    stages.run("format: agent", || cargo()?.args(fmt).run());
    stages.run("format: kernel programs", || cargo()?.args(fmt).dir(context.path("monitor-ebpf")).run());
    stages.run("clippy: agent", || {
        let clippy = cargo()?.args([
            "clippy",
            "--keep-going",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--locked",
        ]);
        clippy.args(["--", "-D", "warnings"]).run()
    });
    stages.run("clippy: kernel programs", || {
        build::kernel_cargo(context, "clippy")?.args(["--locked", "--", "-D", "warnings"]).run()
    });
    stages.run("docs: agent", || {
        let doc = cargo()?.args([
            "doc",
            "--workspace",
            "--all-features",
            "--no-deps",
            "--locked",
            "--document-private-items",
        ]);
        // These docs are for people who work on the code: private items are there to be linked to.
        doc.env("RUSTDOCFLAGS", "-Dwarnings -Arustdoc::private-intra-doc-links").run()
    });
    stages.run("dependencies: agent", || deny(context, "Cargo.toml"));
    stages.run("dependencies: kernel programs", || deny(context, "monitor-ebpf/Cargo.toml"));
    stages.leave_out(
        "dependencies: known vulnerabilities",
        "they need a database from the network; `target/tools/bin/cargo-deny check advisories` asks it",
    );
    stages.finish()
}

/// Checks the dependencies of one workspace: licences, sources, pinned versions, banned crates.
fn deny(context: &Context, manifest: &str) -> Result<()> {
    // A build fetches only what this platform needs; the checks read everything.
    Cmd::cargo(context)?.args(["fetch", "--quiet", "--locked", "--manifest-path", manifest]).run()?;
    let deny = Cmd::cargo(context)?.hidden_env("PATH", build::path_with_tools(context)?).arg("deny");
    let deny = deny.args(["--offline", "--locked", "--config"]).arg(context.path("deny.toml"));
    deny.args(["--manifest-path", manifest, "check", "bans", "licenses", "sources"]).run()
}
