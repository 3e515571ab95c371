//! A program was started, or refused.

use super::{Actor, Header};
use crate::identity::ExeId;

wire! {
    /// Followed by `path_len` bytes of path, `script_len` bytes of script name, `args_len` bytes of arguments.
    pub struct Exec {
        /// When, and what was decided.
        pub header: Header,
        /// Who executed: `exe` and `workloads` are those from before.
        pub actor: Actor,
        /// The file that was executed; for a script, its interpreter.
        pub file: ExeId,
        /// Bytes of the file's path in the host's tree.
        pub path_len: u16,
        /// Bytes of the name a script was started by, 0 if it is none.
        pub script_len: u16,
        /// Bytes of arguments, each ended by a zero byte.
        pub args_len: u16,
        /// Zero.
        pub zero: u16,
        /// The script that the file interprets, where a security hook saw it.
        pub script: ExeId,
        /// Workloads the process belongs to afterwards.
        pub workloads: crate::policy::WorkloadSet,
    }
}

/// [`Header::flags`] of an exec.
pub mod flags {
    /// The path is longer or deeper than is kept; what is there is its end.
    pub const PATH_TRUNCATED: u16 = 1;
    /// There were more arguments than are kept.
    pub const ARGS_TRUNCATED: u16 = 2;
    /// The file lies on no file system of the host's tree; the path is the one inside its own file system.
    pub const UNPLACED: u16 = 4;
    /// A `memfd_create` file: in no directory at all.
    pub const MEMFD: u16 = 8;
    /// A file without a name.
    pub const DELETED: u16 = 16;
    /// Refused before the arguments could be read.
    pub const NO_ARGS: u16 = 32;
    /// The file is at a policy path, but was changed since the path was resolved.
    pub const STALE: u16 = 64;
    /// A dynamic loader: the program is what it maps.
    pub const LOADER: u16 = 128;
    /// Not started, but mapped to be executed, by a dynamic loader.
    pub const MAPPED: u16 = 256;
    /// A helper that the kernel starts itself, or process 1: rules only report it.
    pub const KERNEL: u16 = 512;
    /// A rule gives the file's content, and it has another.
    pub const UNVERIFIED: u16 = 1024;
}
