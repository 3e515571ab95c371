//! Embeds the kernel object that `cargo xtask build` made.
//!
//! Without it (`MONITOR_EBPF_OBJECT` unset: a plain `cargo check`, lint or unit test) an empty object is
//! embedded, so that a fresh clone compiles with no BPF tools; commands that need it then say how to build it.

use std::{env, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-env-changed=MONITOR_EBPF_OBJECT");
    let embedded = PathBuf::from(env::var("OUT_DIR")?).join("monitor.bpf.o");
    match env::var_os("MONITOR_EBPF_OBJECT") {
        Some(object) => {
            println!("cargo:rerun-if-changed={}", PathBuf::from(&object).display());
            fs::copy(object, embedded)?;
        }
        None => fs::write(embedded, [])?,
    }
    Ok(())
}
