//! `cargo xtask package`: what is installed on hosts, and a test of it.

mod check;
mod guest;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    build,
    context::Context,
    setup::{self, Purpose},
    shell::{Cmd, step},
};

/// What `package` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also install, start, and remove the package, over a copy of this system that is thrown away; needs root
    #[arg(long)]
    check: bool,
    /// Also install, use, upgrade and remove it under systemd, in an emulated machine
    #[arg(long)]
    guest: bool,
    /// Build nothing, and look at this package
    #[arg(long, value_name = "FILE")]
    deb: Option<PathBuf>,
}

/// Runs the subcommand.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    let package = match &args.deb {
        Some(package) => package.clone(),
        None => {
            let package = build(context)?;
            step(&format!("built {}", package.display()));
            package
        }
    };
    if args.check {
        check::check(context, &package)?;
        step("installed, started, and removed it");
    }
    if args.guest {
        guest::check(context, &package)?;
    }
    Ok(())
}

/// Builds the static agent and the package around it, and tests that; under systemd, where this machine has it.
pub fn build_and_check(context: &Context) -> Result<()> {
    let package = build(context)?;
    check::check(context, &package)?;
    if !guest::is_possible(context) {
        step("not tried under systemd: dpkg says that it isn't installed here");
        return Ok(());
    }
    guest::check(context, &package)
}

/// Builds everything into `target/package` of the clone; the path of the Debian package.
fn build(context: &Context) -> Result<PathBuf> {
    setup::ensure(context, Purpose::Package)?;
    let agent = build::static_agent(context)?;
    // Where the manifest of the package says.
    let out = context.path("target/package");
    fs::create_dir_all(&out).with_context(|| format!("making {}", out.display()))?;
    let monitor = out.join("monitor");
    fs::copy(&agent, &monitor).with_context(|| format!("copying {}", agent.display()))?;
    for (shell, name) in [("bash", "monitor.bash"), ("zsh", "_monitor"), ("fish", "monitor.fish")] {
        let script = Cmd::new(context, &monitor).args(["completions", shell]).read()?;
        fs::write(out.join(name), script).with_context(|| format!("writing {name}"))?;
    }
    Cmd::new(context, &monitor).args(["man", "--out"]).arg(out.join("man")).run()?;
    let deb = out.join("monitor.deb");
    // The binary is there: cargo-deb only packs. It strips nothing, as the release profile has done that.
    let cargo = Cmd::cargo(context)?.hidden_env("PATH", build::path_with_tools(context)?);
    let cargo =
        cargo.args(["deb", "--package", "monitor", "--no-build", "--no-strip", "--quiet", "--output"]);
    cargo.arg(&deb).run()?;
    if size(&deb)? == 0 {
        bail!("{} is empty", deb.display());
    }
    Ok(deb)
}

fn size(path: &Path) -> Result<u64> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    Ok(file.metadata()?.len())
}
