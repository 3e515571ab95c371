//! The kernel programs of `monitor`.
//!
//! A hook is thin: it names the kernel prototype it relies on and hands over to a body. There is one way to decide
//! ([`policy`]) and one way to report ([`emit`]). Places where the code is shaped by the verifier rather than by the
//! task are tagged `VERIFIER:` with the cause.
//!
//! The programs never decide by what a system call was called with, only by the kernel's own copies.

#![no_std]
#![no_main]
#![allow(internal_features)]
// Of `context!`: what is passed into the unsafe block is a path of fields.
#![allow(clippy::macro_metavars_in_unsafe)]
#![feature(core_intrinsics)]

mod cgroup;
mod database;
mod emit;
mod evaluate;
mod executable;
mod flow;
mod ingress;
mod kernel;
mod lsm;
mod maps;
mod memory;
mod path;
mod policy;
mod process;
mod raw;
mod socket;
mod subject;
mod traffic;
mod unix;

/// Required by `no_std`. `cargo xtask build` fails when a panic is reachable, so nothing calls it.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Read by the kernel: helpers that are GPL-only want it.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
pub static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
