//! Gives the programs written in assembly their own entry point.
//!
//! With it the kernel jumps to their first instruction: no start-up code of a C library runs before it.

fn main() {
    for name in ["first", "exit0"] {
        println!("cargo::rustc-link-arg-bin={name}=-Wl,--entry={name}_start");
    }
    println!("cargo::rerun-if-changed=build.rs");
}
