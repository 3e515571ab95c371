//! The system calls that the agent makes, and no others. A call that it never made before is a row here; scenarios run with
//! `--seccomp kill`, so what is missing ends the agent there, and `dmesg` has its number.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen::Dword, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter_all_threads,
};

use super::Seccomp;

/// Calls that are allowed whatever their arguments.
#[rustfmt::skip]
const PLAIN: &[i64] = &[
    // Files: the policy, sinks, state, /proc, and their names.
    libc::SYS_read, libc::SYS_readv, libc::SYS_pread64, libc::SYS_write, libc::SYS_writev, libc::SYS_pwrite64,
    libc::SYS_open, libc::SYS_openat, libc::SYS_openat2, libc::SYS_close, libc::SYS_close_range, libc::SYS_lseek, libc::SYS_fcntl,
    libc::SYS_stat, libc::SYS_fstat, libc::SYS_lstat, libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_statfs,
    libc::SYS_fstatfs, libc::SYS_access, libc::SYS_faccessat, libc::SYS_faccessat2, libc::SYS_readlink,
    libc::SYS_readlinkat, libc::SYS_getdents64, libc::SYS_getcwd, libc::SYS_fadvise64, libc::SYS_flock,
    libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_ftruncate, libc::SYS_fallocate, libc::SYS_chmod,
    libc::SYS_fchmod, libc::SYS_fchmodat, libc::SYS_chown, libc::SYS_fchown, libc::SYS_fchownat, libc::SYS_umask,
    libc::SYS_rename, libc::SYS_renameat, libc::SYS_renameat2, libc::SYS_link, libc::SYS_linkat, libc::SYS_unlink,
    libc::SYS_unlinkat, libc::SYS_mkdir, libc::SYS_mkdirat, libc::SYS_rmdir, libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at, libc::SYS_copy_file_range, libc::SYS_sendfile, libc::SYS_inotify_init1,
    libc::SYS_inotify_add_watch, libc::SYS_inotify_rm_watch,
    // Kernel programs.
    libc::SYS_bpf, libc::SYS_perf_event_open,
    // Sockets; which families there may be is said below.
    libc::SYS_bind, libc::SYS_listen, libc::SYS_accept, libc::SYS_accept4, libc::SYS_connect,
    libc::SYS_getsockname, libc::SYS_getpeername, libc::SYS_getsockopt, libc::SYS_setsockopt, libc::SYS_sendto,
    libc::SYS_recvfrom, libc::SYS_sendmsg, libc::SYS_recvmsg, libc::SYS_shutdown,
    // Asking for the address of a receiver, and what is too large for a datagram to the journal.
    libc::SYS_sendmmsg, libc::SYS_memfd_create,
    // Waiting.
    libc::SYS_poll, libc::SYS_ppoll, libc::SYS_select, libc::SYS_pselect6, libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl, libc::SYS_epoll_wait, libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2, libc::SYS_timerfd_create, libc::SYS_timerfd_settime, libc::SYS_timerfd_gettime,
    libc::SYS_nanosleep, libc::SYS_clock_nanosleep, libc::SYS_clock_gettime, libc::SYS_clock_getres,
    libc::SYS_gettimeofday, libc::SYS_futex, libc::SYS_restart_syscall, libc::SYS_pipe2, libc::SYS_dup,
    libc::SYS_dup2, libc::SYS_dup3, libc::SYS_socketpair,
    // Memory; nothing that becomes code, see below.
    libc::SYS_brk, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_madvise, libc::SYS_msync, libc::SYS_mincore,
    // Threads, signals, and the canary, which starts our own binary with this filter on it.
    libc::SYS_fork, libc::SYS_vfork, libc::SYS_clone3, libc::SYS_execve, libc::SYS_wait4, libc::SYS_waitid,
    libc::SYS_exit, libc::SYS_exit_group, libc::SYS_kill, libc::SYS_tgkill, libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal, libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait, libc::SYS_sigaltstack, libc::SYS_set_robust_list, libc::SYS_get_robust_list,
    libc::SYS_rseq, libc::SYS_set_tid_address, libc::SYS_arch_prctl, libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity, libc::SYS_membarrier,
    // What it asks about itself and the machine.
    libc::SYS_getpid, libc::SYS_getppid, libc::SYS_gettid, libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_getgid,
    libc::SYS_getegid, libc::SYS_capget, libc::SYS_prlimit64, libc::SYS_getrlimit, libc::SYS_getrusage,
    libc::SYS_uname, libc::SYS_sysinfo, libc::SYS_getrandom,
];

/// Namespaces that a new process would be in; nobody needs any.
const NAMESPACES: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32 as u64;

/// Requests of `ioctl`: whether something is a terminal and how wide, the number and the driver of an interface, and to
/// switch on a perf event.
// Their type depends on the C library.
#[allow(clippy::unnecessary_cast, trivial_numeric_casts)]
const REQUESTS: [u64; 10] = [
    libc::TCGETS as u64,
    libc::TIOCGWINSZ as u64,
    libc::FIONBIO as u64,
    libc::FIOCLEX as u64,
    libc::SIOCGIFINDEX as u64,
    libc::SIOCGIFNAME as u64,
    SIOCETHTOOL,
    PERF_EVENT_IOC_ENABLE,
    PERF_EVENT_IOC_DISABLE,
    PERF_EVENT_IOC_SET_BPF,
];
const SIOCETHTOOL: u64 = 0x8946;
const PERF_EVENT_IOC_ENABLE: u64 = 0x2400;
const PERF_EVENT_IOC_DISABLE: u64 = 0x2401;
const PERF_EVENT_IOC_SET_BPF: u64 = 0x4004_2408;

const FAMILIES: [i32; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
/// Options of `prctl`: names of threads and of memory, and how large a page is.
const PRCTLS: [i32; 4] = [libc::PR_SET_NAME, libc::PR_GET_NAME, libc::PR_SET_VMA, PR_GET_AUXV];
const PR_GET_AUXV: i32 = 0x4155_5856;

/// Installs the filter for every thread there will be.
pub(super) fn confine(seccomp: Seccomp) -> Result<()> {
    let other = match seccomp {
        Seccomp::Off => return Ok(()),
        Seccomp::Refuse => SeccompAction::Errno(libc::EPERM as u32),
        Seccomp::Kill => SeccompAction::KillProcess,
    };
    for filter in [without_clone3()?, allowed(other)?] {
        apply_filter_all_threads(&filter).context("can't install the filter of system calls (seccomp)")?;
    }
    Ok(())
}

/// Its flags are in memory, where a filter can't look; the C library takes `clone` instead if there is none.
fn without_clone3() -> Result<BpfProgram> {
    let missing = SeccompAction::Errno(libc::ENOSYS as u32);
    program([(libc::SYS_clone3, Vec::new())].into(), SeccompAction::Allow, missing)
}

fn allowed(other: SeccompAction) -> Result<BpfProgram> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = PLAIN.iter().map(|call| (*call, Vec::new())).collect();
    rules.insert(libc::SYS_clone, vec![rule(0, SeccompCmpOp::MaskedEq(NAMESPACES), 0)?]);
    // Another network namespace, to list its connections.
    rules.insert(libc::SYS_setns, vec![equal(1, libc::CLONE_NEWNET as u64)?]);
    let no_code = |argument| rule(argument, SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64), 0);
    // Code comes from files only: the loader of the canary maps it.
    let of_file = rule(3, SeccompCmpOp::MaskedEq(libc::MAP_ANONYMOUS as u64), 0)?;
    rules.insert(libc::SYS_mmap, vec![no_code(2)?, of_file]);
    rules.insert(libc::SYS_mprotect, vec![no_code(2)?]);
    let any_of = |argument, values: &[u64]| values.iter().map(|value| equal(argument, *value)).collect();
    rules.insert(libc::SYS_socket, any_of(0, &FAMILIES.map(|family| family as u64))?);
    rules.insert(libc::SYS_prctl, any_of(0, &PRCTLS.map(|option| option as u64))?);
    let requests: Result<Vec<_>> = any_of(1, &REQUESTS);
    rules.insert(libc::SYS_ioctl, requests?);
    program(rules, other, SeccompAction::Allow)
}

fn equal(argument: u8, value: u64) -> Result<SeccompRule> {
    rule(argument, SeccompCmpOp::Eq, value)
}

fn rule(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompRule> {
    let condition =
        SeccompCondition::new(argument, Dword, operator, value).context("a condition is wrong")?;
    SeccompRule::new(vec![condition]).context("a rule of the filter of system calls is wrong")
}

fn program(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    mismatch: SeccompAction,
    matched: SeccompAction,
) -> Result<BpfProgram> {
    let filter = SeccompFilter::new(rules, mismatch, matched, TargetArch::x86_64)
        .context("the filter of system calls is wrong")?;
    filter.try_into().context("the filter of system calls can't be compiled")
}
