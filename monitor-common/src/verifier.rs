//! What the kernel's verifier needs and the host doesn't.

/// The same number, of which the compiler knows nothing.
///
/// VERIFIER: a bound that is put on the result right behind it stays where it is put. Without this the compiler may move or
/// drop the bound, because it knows something that the verifier can't see.
#[inline(always)]
#[must_use]
pub fn opaque(value: usize) -> usize {
    #[cfg(target_arch = "bpf")]
    {
        let mut value = value;
        // SAFETY: a register is copied to itself. An empty text would leave a line without an instruction in the line
        // table, which the kernel refuses.
        unsafe {
            core::arch::asm!("{0} = {0}", inout(reg) value, options(pure, nomem, nostack, preserves_flags));
        }
        value
    }
    #[cfg(not(target_arch = "bpf"))]
    value
}
