//! Network interfaces.

mod changes;
mod route;

use std::{
    ffi::{CStr, CString},
    os::fd::AsRawFd as _,
};

use anyhow::{Context as _, Result};
use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST};

use self::route::Message;
pub use self::{
    changes::{Changed, Changes},
    route::{DefaultRoutes, Filter, Link},
};
use super::netlink::Netlink;

/// A way to ask about the interfaces of one network namespace.
#[derive(Debug)]
pub struct Interfaces {
    netlink: Netlink,
}

impl Interfaces {
    /// For the network namespace of the calling thread.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open() -> Result<Self> {
        Ok(Self { netlink: Netlink::open(None).context("can't ask the kernel for interfaces")? })
    }

    /// All there are.
    ///
    /// # Errors
    /// When the kernel refuses to list them.
    pub fn list(&mut self) -> Result<Vec<Link>> {
        let mut links = Vec::new();
        self.dump(Link::all(), |message| links.extend(Link::read(&message)))
            .context("can't list the interfaces")?;
        Ok(links)
    }

    /// The default routes, IPv4 or IPv6, in whatever routing table.
    ///
    /// # Errors
    /// When the kernel refuses to list the routes.
    pub fn default_routes(&mut self) -> Result<DefaultRoutes> {
        let mut found = DefaultRoutes::default();
        for family in [libc::AF_INET, libc::AF_INET6] {
            self.dump(route::all_routes(family), |message| found.read(&message))
                .context("can't list the routes")?;
        }
        Ok(found)
    }

    /// The BPF programs of traffic control where packets come in on an interface.
    ///
    /// # Errors
    /// When the kernel refuses to list them.
    pub fn filters(&mut self, index: u32) -> Result<Vec<Filter>> {
        let mut filters = Vec::new();
        self.dump(Filter::all(index), |message| filters.extend(Filter::read(&message)))
            .context("can't list the filters of traffic control")?;
        Ok(filters)
    }

    /// Takes one out.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove_filter(&mut self, index: u32, filter: Filter) -> Result<()> {
        let removal = filter.removal(index);
        match self.netlink.ask(removal, NLM_F_REQUEST | NLM_F_ACK, |_: Message| {})? {
            None => Ok(()),
            Some(error) => Err(error).context("can't take out a filter of traffic control"),
        }
    }

    fn dump(&mut self, question: Message, found: impl FnMut(Message)) -> Result<()> {
        match self.netlink.ask(question, NLM_F_REQUEST | NLM_F_DUMP, found)? {
            None => Ok(()),
            Some(error) => Err(error.into()),
        }
    }
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

/// The driver of an interface, as `ethtool -i` names it; none where the kernel doesn't tell.
#[must_use]
pub fn driver(name: &str) -> Option<String> {
    const GET_DRIVER_INFO: u32 = 3;
    /// `struct ethtool_drvinfo`: the command, the driver's name, and more.
    #[repr(C)]
    struct Info {
        command: u32,
        driver: [u8; 32],
        rest: [u8; 160],
    }
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    let mut info = Info { command: GET_DRIVER_INFO, driver: [0; 32], rest: [0; 160] };
    // SAFETY: all zeroes is a valid value of this struct of integers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()).take(room) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut info).cast();
    // SAFETY: the request and what it points to live during the call and are what this code of the kernel takes.
    let code = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if code == -1 {
        return None;
    }
    debug_assert_eq!((info.command, info.rest.len()), (GET_DRIVER_INFO, 160));
    let driver = CStr::from_bytes_until_nul(&info.driver).ok()?;
    Some(driver.to_string_lossy().into_owned()).filter(|driver| !driver.is_empty())
}

/// The request for `ethtool(8)`'s questions.
const SIOCETHTOOL: libc::Ioctl = 0x8946;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_listed() {
        let links = Interfaces::open().unwrap().list().unwrap();
        let lo = links.iter().find(|link| link.name == "lo").unwrap();
        assert_eq!(Some(lo.index), index("lo"));
        assert!(lo.loopback && lo.ethernet);
        assert!(lo.mtu > 1000, "{lo:?}");
        assert_eq!(index("no such"), None);
        assert_eq!(driver("no such"), None);
    }

    #[test]
    fn default_routes_lead_over_interfaces_that_exist() {
        let mut interfaces = Interfaces::open().unwrap();
        let links = interfaces.list().unwrap();
        for index in interfaces.default_routes().unwrap().interfaces {
            assert!(links.iter().any(|link| link.index == index), "{index}");
        }
    }
}
