//! Network interfaces.

use std::{collections::BTreeSet, ffi::CString, fs};

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
    }
}
