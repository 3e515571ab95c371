//! Network interfaces.

use std::{collections::BTreeSet, ffi::CString, fs, os::fd::AsRawFd as _};

use anyhow::{Context as _, Result};

/// The interfaces with a default route, IPv4 or IPv6, in the agent's network namespace.
pub fn with_default_route() -> Result<BTreeSet<String>> {
    let v4 = procfs::net::route().context("can't read the routing table")?;
    let default =
        |route: &procfs::net::RouteEntry| route.destination.is_unspecified() && route.mask.is_unspecified();
    let mut names: BTreeSet<String> = v4.into_iter().filter(default).map(|route| route.iface).collect();
    // Absent where IPv6 is switched off.
    let v6 = fs::read_to_string("/proc/net/ipv6_route").unwrap_or_default();
    names.extend(v6.lines().filter_map(default_v6));
    Ok(names)
}

/// The interface of a line of `/proc/net/ipv6_route`, if it is a default route that leads somewhere.
fn default_v6(line: &str) -> Option<String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [destination, length, _, _, _, _, _, _, _, interface] = fields[..] else { return None };
    let default = length == "00" && destination.bytes().all(|digit| digit == b'0');
    // The kernel's own "no route" entry is on the loopback interface.
    (default && interface != "lo").then(|| interface.to_owned())
}

/// Index of an interface, if there is one of that name.
#[must_use]
pub fn index(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: a string that ends with a zero byte.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => None,
        index => Some(index),
    }
}

/// Whether the frames of an interface begin with an Ethernet header; those of tunnels begin with the IP header.
///
/// # Errors
/// If there is no such interface.
pub fn has_link_header(name: &str) -> Result<bool> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").context("can't open a socket")?;
    // SAFETY: all zeroes is a valid value of this struct of integers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()).take(room) {
        *to = from as libc::c_char;
    }
    // SAFETY: the request lives during the call and is what this code of the kernel takes.
    let code =
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFHWADDR as libc::Ioctl, &raw mut request) };
    if code == -1 {
        let error = std::io::Error::last_os_error();
        return Err(error).with_context(|| format!("can't tell what kind of interface {name} is"));
    }
    // SAFETY: the kernel has written this part of the union.
    let kind = unsafe { request.ifr_ifru.ifru_hwaddr.sa_family };
    Ok(matches!(kind, libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_route_is_told_from_the_unreachable_one() {
        let zeros = "0".repeat(32);
        let line = |interface| {
            format!("{zeros} 00 {zeros} 00 {zeros} 00000400 00000001 00000000 00000003 {interface}")
        };
        assert_eq!(default_v6(&line("eth0")).as_deref(), Some("eth0"));
        assert_eq!(default_v6(&line("lo")), None);
        assert_eq!(default_v6(&line("eth0").replacen("00 ", "40 ", 1)), None);
        assert_eq!(default_v6("x"), None);
    }

    #[test]
    fn loopback_has_an_index() {
        assert!(index("lo").is_some());
        assert_eq!(index("no such"), None);
        assert!(has_link_header("lo").unwrap());
        assert!(has_link_header("no such").is_err());
    }
}
