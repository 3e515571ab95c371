//! Exits with 0 and does nothing else: the cheapest program there is, for counting execs.
#![no_main]

core::arch::global_asm!(
    ".pushsection .text.exit0_start, \"ax\"",
    ".globl exit0_start",
    "exit0_start:",
    "xor edi, edi",
    "mov eax, 60", // exit
    "syscall",
    ".popsection",
);

/// Never runs: satisfies the C library's start-up code, which the linker keeps.
#[unsafe(no_mangle)]
extern "C" fn main() -> i32 {
    1
}
