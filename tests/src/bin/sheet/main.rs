//! `sheet`: what the agent is worth on the kernel that runs, found out by real programs that are kept from things.
//!
//! One agent is started with a rule for every way of enforcing, and each way is tried once. Where the kernel can't have all of
//! them, every way gets an agent of its own, so that the answer of one tells nothing of the others. Nothing is judged here: what
//! was seen is one line of JSON a row, and `cargo xtask vm` compares it with what docs/kernels.json promises of this kernel.
//!
//! ```text
//! @sheet {"kind":"kernel","name":"6.1.0-56-cloud-amd64",...}
//! @sheet {"kind":"capability","name":"exec_deny","result":"enforced","detail":""}
//! @sheet {"kind":"program","name":"exec","result":"loaded","detail":""}
//! @sheet {"kind":"way","name":"exec deny","result":"works","detail":"refused with EPERM"}
//! ```

mod doctor;
mod run;
mod stage;
mod ways;

use std::{process::ExitCode, time::Instant};

use anyhow::Result;
use serde_json::json;

fn main() -> ExitCode {
    match sheet() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sheet: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn sheet() -> Result<()> {
    let _turn = tests::agent::turn();
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    row("kernel", release.trim(), "", "");
    timed("doctor", doctor::capabilities)?;
    timed("ways", run::all)?;
    // Where only what is around the programs differs from another guest, the verifier has nothing new to say.
    if std::env::args().any(|argument| argument == "--no-programs") {
        return Ok(());
    }
    timed("programs", doctor::programs)
}

/// Says one thing that was found out.
fn row(kind: &str, name: &str, result: &str, detail: &str) {
    println!("@sheet {}", json!({ "kind": kind, "name": name, "result": result, "detail": detail }));
}

/// Says how long a part took: emulated kernels are slow, and where the time goes is worth knowing.
fn timed<T>(what: &str, part: impl FnOnce() -> Result<T>) -> Result<T> {
    let begun = Instant::now();
    let outcome = part();
    println!("{what}: {:.1} s", begun.elapsed().as_secs_f64());
    outcome
}
