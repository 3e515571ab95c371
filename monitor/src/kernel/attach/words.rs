//! Why an interface takes no program, in words.

use anyhow::Error;
use aya::{programs::ProgramError, sys::NetlinkError};

use super::holders::{Busy, holders_of};
use crate::{
    config::Attach,
    host::interfaces::{self, Link},
};

/// `ENOTSUPP` of the kernel, which it shouldn't show, and drivers do.
const ENOTSUPP: i32 = 524;

/// Whether another program is in the way.
pub(super) fn is_busy(error: &Error) -> bool {
    error.is::<Busy>() || matches!(code(error), Some(libc::EBUSY | libc::EEXIST))
}

/// Why it wasn't possible in this way.
pub(super) fn explain(error: &Error, way: Attach, link: &Link) -> String {
    let driver = interfaces::driver(&link.name).or_else(|| link.kind.clone());
    let holders = if is_busy(error) { holders_of(link, way) } else { Vec::new() };
    in_words(error, way, link.mtu, driver.as_deref(), &holders)
}

fn in_words(error: &Error, way: Attach, mtu: u32, driver: Option<&str>, holders: &[String]) -> String {
    let driver = driver.map_or_else(|| "its driver".to_owned(), |name| format!("its driver ({name})"));
    let xdp = matches!(way, Attach::Xdp | Attach::XdpGeneric);
    let Some(code) = code(error) else { return error.root_cause().to_string() };
    match code {
        libc::EBUSY | libc::EEXIST if holders.is_empty() => "another program holds it".to_owned(),
        libc::EBUSY | libc::EEXIST => format!("{} holds it", holders.join(" and ")),
        libc::EOPNOTSUPP | ENOTSUPP if way == Attach::Xdp => format!("{driver} has no XDP"),
        libc::ERANGE if xdp => {
            format!(
                "{driver} has no XDP with an MTU of {mtu}, on this side or the other; a smaller one may do"
            )
        }
        libc::EINVAL if xdp => format!(
            "{driver} refuses XDP as it is set up now: MTU {mtu}, and offloads such as LRO (`ethtool -k`)"
        ),
        libc::ENOMEM | libc::ENOSPC if xdp => {
            format!("{driver} has no queues or memory left for XDP (`ethtool -l` shows the queues)")
        }
        libc::EINVAL if way == Attach::Tcx => "the kernel has no tcx (before Linux 6.6)".to_owned(),
        libc::ENOENT | libc::EOPNOTSUPP | libc::EINVAL if way == Attach::Tc => {
            "the kernel lacks a part of tc: load the modules sch_ingress and cls_bpf".to_owned()
        }
        libc::ENODEV | libc::ENXIO => "it is gone".to_owned(),
        _ => format!("{driver} or the kernel refuses: {}", std::io::Error::from_raw_os_error(code)),
    }
}

/// The kernel's code.
fn code(error: &Error) -> Option<i32> {
    let netlink = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<NetlinkError>().and_then(NetlinkError::raw_os_error)
    };
    let program = |cause: &(dyn std::error::Error + 'static)| match cause.downcast_ref::<ProgramError>() {
        Some(ProgramError::NetlinkError(error)) => error.raw_os_error(),
        _ => None,
    };
    let io = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error)
    };
    let linux = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<rustix::io::Errno>().map(|error| error.raw_os_error())
    };
    error.chain().find_map(|cause| {
        netlink(cause).or_else(|| program(cause)).or_else(|| io(cause)).or_else(|| linux(cause))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_say_what_is_in_the_way() {
        let told = |code: i32, way, holders: &[String]| {
            let error = Error::new(std::io::Error::from_raw_os_error(code)).context("syscall failed");
            in_words(&error, way, 9000, Some("veth"), holders)
        };
        let who = ["XDP program \"theirs\" (id 7)".to_owned()];
        for (code, way, holders, words) in [
            (libc::EBUSY, Attach::Xdp, &who[..], "XDP program \"theirs\" (id 7) holds it"),
            (libc::EEXIST, Attach::XdpGeneric, &[], "another program holds it"),
            (libc::EOPNOTSUPP, Attach::Xdp, &[], "its driver (veth) has no XDP"),
            (
                libc::ERANGE,
                Attach::Xdp,
                &[],
                "its driver (veth) has no XDP with an MTU of 9000, on this side or the other; a smaller one may do",
            ),
            (libc::EINVAL, Attach::Tcx, &[], "the kernel has no tcx (before Linux 6.6)"),
            (
                libc::ENOENT,
                Attach::Tc,
                &[],
                "the kernel lacks a part of tc: load the modules sch_ingress and cls_bpf",
            ),
            (libc::ENODEV, Attach::Tc, &[], "it is gone"),
        ] {
            assert_eq!(told(code, way, holders), words, "{code} {way:?}");
        }
        assert_eq!(
            in_words(&anyhow::anyhow!("its frames have no Ethernet header"), Attach::Xdp, 1, None, &[]),
            "its frames have no Ethernet header"
        );
    }
}
