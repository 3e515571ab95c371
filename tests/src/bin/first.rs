//! Creates the file `made` in its working directory with its first system call, and exits.
//!
//! Whatever stops this program after its exec and before its first instruction leaves no file; whatever is
//! later than that does.
#![no_main]

core::arch::global_asm!(
    ".pushsection .text.first_start, \"ax\"",
    ".globl first_start",
    "first_start:",
    "lea rdi, [rip + 2f]",
    "mov esi, 0x41",  // O_CREAT | O_WRONLY
    "mov edx, 0x1a4", // 0644
    "mov eax, 2",     // open
    "syscall",
    "xor edi, edi",
    "mov eax, 60", // exit
    "syscall",
    "2: .asciz \"made\"",
    ".popsection",
);

/// Never runs: satisfies the C library's start-up code, which the linker keeps.
#[unsafe(no_mangle)]
extern "C" fn main() -> i32 {
    1
}
