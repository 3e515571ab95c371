//! A packet socket: frames out of and into an interface, past the stack of this end.

use std::{
    ffi::{CString, c_int},
    io, mem,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{netns::Netns, wait::Deadline};

/// A packet socket on an interface.
#[derive(Debug)]
pub struct Wire {
    socket: OwnedFd,
    /// The interface's hardware address.
    pub mac: [u8; 6],
}

impl Wire {
    /// On an interface in a network namespace.
    ///
    /// # Errors
    /// When there is no such interface, or the kernel refuses.
    pub fn new(netns: &Netns, interface: &str) -> Result<Self> {
        let name = CString::new(interface)?;
        netns.run(|| Self::here(&name)).with_context(|| format!("a packet socket on {interface}"))
    }

    fn here(interface: &CString) -> Result<Self> {
        // SAFETY: a string that ends with a zero byte.
        let index = unsafe { libc::if_nametoindex(interface.as_ptr()) };
        ensure!(index != 0, "no such interface");
        let protocol = (libc::ETH_P_ALL as u16).to_be();
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: takes no pointers.
        let raw = check(unsafe { libc::socket(libc::AF_PACKET, kind, c_int::from(protocol)) })?;
        // SAFETY: just made, and owned by nobody else.
        let socket = unsafe { OwnedFd::from_raw_fd(raw) };
        // SAFETY: all zeroes is a valid value of this struct of integers.
        let mut at: libc::sockaddr_ll = unsafe { mem::zeroed() };
        at.sll_family = libc::AF_PACKET as u16;
        at.sll_protocol = protocol;
        at.sll_ifindex = index as c_int;
        let room: c_int = 16 << 20;
        let length = size_of_val(&room) as u32;
        // SAFETY: both values live during the calls and are as long as is said.
        unsafe {
            check(libc::bind(raw, (&raw const at).cast(), size_of_val(&at) as u32))?;
            let (level, option) = (libc::SOL_SOCKET, libc::SO_RCVBUFFORCE);
            check(libc::setsockopt(raw, level, option, (&raw const room).cast(), length))?;
        }
        Ok(Self { mac: hardware_address(raw, interface)?, socket })
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// When the interface doesn't take it.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        loop {
            // SAFETY: the buffer is as long as is said.
            let sent = unsafe { libc::send(self.socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
            if sent >= 0 {
                return Ok(());
            }
            match io::Error::last_os_error() {
                // The other end is behind.
                full if full.raw_os_error() == Some(libc::ENOBUFS) => {
                    thread::sleep(Duration::from_micros(50))
                }
                error => {
                    return Err(error).with_context(|| format!("sending a frame of {} bytes", frame.len()));
                }
            }
        }
    }

    /// The next frame that arrives here; none by the deadline, if there is none.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn receive(&self, deadline: Deadline) -> Result<Option<Vec<u8>>> {
        loop {
            let milliseconds = c_int::try_from(deadline.left().as_millis()).unwrap_or(c_int::MAX);
            let mut poll = libc::pollfd { fd: self.socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one valid pollfd.
            if check(unsafe { libc::poll(&raw mut poll, 1, milliseconds) })? == 0 {
                return Ok(None);
            }
            let mut frame = vec![0; 2048];
            // SAFETY: all zeroes is a valid value of this struct of integers.
            let mut from: libc::sockaddr_ll = unsafe { mem::zeroed() };
            let mut length = size_of_val(&from) as u32;
            // SAFETY: both buffers are as long as is said.
            let got = unsafe {
                let (buffer, room) = (frame.as_mut_ptr().cast(), frame.len());
                let (from, length) = ((&raw mut from).cast(), &raw mut length);
                libc::recvfrom(self.socket.as_raw_fd(), buffer, room, 0, from, length)
            };
            let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
            if from.sll_pkttype != libc::PACKET_OUTGOING {
                frame.truncate(got);
                return Ok(Some(frame));
            }
        }
    }
}

/// The hardware address of an interface.
///
/// # Errors
/// When there is no such interface.
pub fn mac(netns: &Netns, interface: &str) -> Result<[u8; 6]> {
    Wire::new(netns, interface).map(|wire| wire.mac)
}

fn hardware_address(socket: c_int, interface: &CString) -> Result<[u8; 6]> {
    // SAFETY: all zeroes is a valid value of this struct of integers and unions of them.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    ensure!(interface.as_bytes().len() < request.ifr_name.len(), "too long a name");
    for (to, from) in request.ifr_name.iter_mut().zip(interface.as_bytes()) {
        *to = *from as libc::c_char;
    }
    // SAFETY: the request is one for this call, which writes an address to it.
    let address = unsafe {
        check(libc::ioctl(socket, libc::SIOCGIFHWADDR as _, &raw mut request))?;
        request.ifr_ifru.ifru_hwaddr.sa_data
    };
    let mut mac = [0; 6];
    for (to, from) in mac.iter_mut().zip(address) {
        *to = from as u8;
    }
    Ok(mac)
}

fn check(result: c_int) -> io::Result<c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
