//! A tunnel whose other end is this process: what it writes comes in on the interface, as packets without an Ethernet header.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::fd::AsRawFd as _,
};

use anyhow::{Context as _, Result};

use crate::netns::Netns;

const TUNSETIFF: libc::Ioctl = 0x4004_54ca;

/// The other end; the interface goes with it.
#[derive(Debug)]
pub struct Tun(File);

impl Tun {
    /// Makes an interface in a namespace, up. `Err` of the inner result: why this kernel has no such interfaces.
    ///
    /// # Errors
    /// When it has, and refuses.
    pub fn new(netns: &Netns, name: &str) -> Result<io::Result<Self>> {
        let made = netns.run(|| {
            // The interface will be in the namespace where the file was opened.
            let file = match OpenOptions::new().read(true).write(true).open("/dev/net/tun") {
                Ok(file) => file,
                Err(error) => return Ok(Err(error)),
            };
            // SAFETY: all zeroes is a valid value of this struct of integers.
            let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
            for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
                *to = from as libc::c_char;
            }
            request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
            // SAFETY: the request lives during the call and is what this code of the kernel takes.
            let code = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF, &raw mut request) };
            if code == -1 { Err(io::Error::last_os_error()).context("making a tunnel") } else { Ok(Ok(file)) }
        })?;
        let file = match made {
            Ok(file) => file,
            Err(error) => return Ok(Err(error)),
        };
        netns.up(name)?;
        Ok(Ok(Self(file)))
    }

    /// Lets an IP packet come in.
    ///
    /// # Errors
    /// When the interface doesn't take it.
    pub fn send(&mut self, packet: &[u8]) -> io::Result<()> {
        self.0.write_all(packet)
    }
}
