//! The table of kernel fields that the kernel programs read.
//!
//! Offsets differ between kernels; the agent looks them up in the running kernel's BTF and passes them as one
//! read-only global, so that a single object fits all kernels. The verifier checks each typed load against the same
//! BTF: a wrong offset is refused by name, never read.

/// An offset of a field that this kernel doesn't have.
pub const ABSENT: u32 = u32::MAX;

/// One kernel field.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name in [`KernelLayout`].
    pub name: &'static str,
    /// The struct it is looked for in.
    pub structure: &'static str,
    /// Paths of members to it, by kernel version, newest first; anonymous structs and unions are passed through.
    pub paths: &'static [&'static str],
}

/// Declares the fields and the struct of their offsets.
macro_rules! kernel_layout {
    ($($(#[$meta:meta])* $name:ident: $structure:literal [$($path:literal),+];)*) => {
        wire! {
            /// Offsets in bytes of kernel fields in the structs of the running kernel, or [`ABSENT`].
            pub struct KernelLayout { $($(#[$meta])* pub $name: u32,)* }
        }

        /// The fields, in the order of [`KernelLayout`].
        pub const FIELDS: &[Field] = &[$(
            Field { name: stringify!($name), structure: $structure, paths: &[$($path),+] },
        )*];

        impl KernelLayout {
            /// From offsets in the order of [`FIELDS`].
            #[must_use]
            pub fn from_offsets(mut offset: impl FnMut(&Field) -> u32) -> Self {
                let mut fields = FIELDS.iter();
                let mut next = || fields.next().map_or(ABSENT, &mut offset);
                Self { $($name: next(),)* }
            }
        }
    };
}

kernel_layout! {
    /// Id of the thread.
    task_pid: "task_struct" ["pid"];
    /// Id of the process.
    task_tgid: "task_struct" ["tgid"];
    /// The parent process, as `getppid` would say.
    task_real_parent: "task_struct" ["real_parent"];
    /// Start time in nanoseconds since boot.
    task_start_boottime: "task_struct" ["start_boottime", "real_start_time"];
    /// Exit code as `wait` reports it.
    task_exit_code: "task_struct" ["exit_code"];
    /// State shared by the threads of a process.
    task_signal: "task_struct" ["signal"];
    /// Address space.
    task_mm: "task_struct" ["mm"];
    /// Flags of the thread (`PF_*`).
    task_flags: "task_struct" ["flags"];
    /// Threads of the process that have not begun to exit.
    signal_live: "signal_struct" ["live.counter"];
    /// Where the arguments begin.
    mm_arg_start: "mm_struct" ["arg_start"];
    /// Where the arguments end.
    mm_arg_end: "mm_struct" ["arg_end"];
    /// The file being executed.
    bprm_file: "linux_binprm" ["file"];
    /// The kernel's copy of the name it was started by.
    bprm_filename: "linux_binprm" ["filename"];
    /// Name of the binary that really runs; another pointer than `filename` for scripts.
    bprm_interp: "linux_binprm" ["interp"];
    /// The first bytes of the file.
    bprm_buf: "linux_binprm" ["buf"];
    /// The inode of an open file.
    file_inode: "file" ["f_inode"];
    /// The directory entry of an open file.
    file_dentry: "file" ["f_path.dentry"];
    /// The directory it is in.
    dentry_parent: "dentry" ["d_parent"];
    /// Its inode.
    dentry_inode: "dentry" ["d_inode"];
    /// Its name.
    dentry_name: "dentry" ["d_name.name"];
    /// Bytes of its name.
    dentry_name_len: "dentry" ["d_name.len"];
    /// Inode number.
    inode_ino: "inode" ["i_ino"];
    /// The file system.
    inode_sb: "inode" ["i_sb"];
    /// Bytes.
    inode_size: "inode" ["i_size"];
    /// Number of names.
    inode_nlink: "inode" ["i_nlink"];
    /// Change time, seconds.
    inode_ctime_s: "inode" ["i_ctime_sec", "__i_ctime.tv_sec", "i_ctime.tv_sec"];
    /// Change time, nanoseconds.
    inode_ctime_ns: "inode" ["i_ctime_nsec", "__i_ctime.tv_nsec", "i_ctime.tv_nsec"];
    /// Device number.
    sb_dev: "super_block" ["s_dev"];
    /// Address family of a socket.
    sock_family: "sock" ["__sk_common.skc_family"];
    /// Local port, host order.
    sock_num: "sock" ["__sk_common.skc_num"];
    /// Local IPv4 address.
    sock_rcv_saddr: "sock" ["__sk_common.skc_rcv_saddr"];
    /// Local IPv6 address.
    sock_v6_rcv_saddr: "sock" ["__sk_common.skc_v6_rcv_saddr"];
    /// IP protocol.
    sock_protocol: "sock" ["sk_protocol"];
    /// Remote IPv4 address.
    sock_daddr: "sock" ["__sk_common.skc_daddr"];
    /// Remote IPv6 address.
    sock_v6_daddr: "sock" ["__sk_common.skc_v6_daddr"];
    /// Remote port, network order.
    sock_dport: "sock" ["__sk_common.skc_dport"];
    /// Bytes that the other end has acknowledged.
    tcp_bytes_acked: "tcp_sock" ["bytes_acked"];
    /// Bytes received in order.
    tcp_bytes_received: "tcp_sock" ["bytes_received"];
    /// The socket's file.
    unix_dentry: "unix_sock" ["path.dentry"];
    /// The part of a socket that is not about files.
    socket_sk: "socket" ["sk"];
    /// Which hierarchy a cgroup belongs to.
    cgroup_root: "cgroup" ["root"];
    /// Its number; 0 is version 2.
    cgroup_root_id: "cgroup_root" ["hierarchy_id"];
    /// The directory of a cgroup.
    cgroup_kn: "cgroup" ["kn"];
    /// Its number, which is the cgroup's id.
    kernfs_id: "kernfs_node" ["id"];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_arrive_in_the_field_of_their_name() {
        let mut index = 0;
        let layout = KernelLayout::from_offsets(|_| {
            index += 1;
            index
        });
        assert_eq!(layout.task_pid, 1);
        assert_eq!(layout.kernfs_id as usize, FIELDS.len());
        assert_eq!(size_of::<KernelLayout>(), FIELDS.len() * 4);
    }

    #[test]
    fn names_are_unique() {
        for (index, field) in FIELDS.iter().enumerate() {
            assert!(FIELDS[..index].iter().all(|other| other.name != field.name), "{}", field.name);
        }
    }
}
