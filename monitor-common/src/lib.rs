//! What the kernel programs and the agent of `monitor` must agree on.
//!
//! Principles of this crate:
//! - Everything here is compiled twice: for the BPF target and for the host. What is decided, is decided by a pure
//!   function in this crate, so the same code can be property-tested on the host and asked by commands of the agent.
//! - No allocation, no I/O, no panics on any path the kernel programs use: a reachable panic makes the object
//!   unloadable.
//! - What crosses the border is integers and byte arrays in `repr(C)` without padding (`wire!`). A number that one
//!   side doesn't know is a value, never undefined behaviour.
//! - There is one table of events ([`event::Kind`]), one of kernel fields ([`layout`]), one of counters ([`count`]).

#![no_std]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

/// Declares structs that cross between the kernel programs and the agent.
///
/// Fields must be integers, byte arrays or other `wire!` structs, laid out without padding: on the agent's side
/// (feature `user`) the derived zerocopy traits refuse anything else at compile time. They are also plain map values
/// for aya.
macro_rules! wire {
    ($($(#[$meta:meta])* pub struct $name:ident { $($(#[$fmeta:meta])* pub $field:ident: $type:ty,)* })*) => {$(
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[cfg_attr(feature = "user", derive(
            zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout,
        ))]
        pub struct $name { $($(#[$fmeta])* pub $field: $type,)* }

        // SAFETY: zerocopy's derives above prove that the type has no padding and that every bit pattern is valid.
        #[cfg(feature = "user")]
        unsafe impl aya::Pod for $name {}
    )*};
}

pub mod addr;
pub mod count;
pub mod event;
pub mod glob;
pub mod identity;
pub mod layout;
pub mod limit;
pub mod limits;
pub mod packet;
pub mod policy;
pub mod question;
pub mod settings;
pub mod sources;
pub mod verifier;
