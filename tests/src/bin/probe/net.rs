//! Sockets by bare system calls: every option and order that the standard library doesn't offer.

use std::{
    ffi::c_int,
    io, mem,
    net::SocketAddr,
    os::{
        fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

/// The address of an end, as the kernel takes it.
#[derive(Clone, Copy)]
pub struct Address {
    raw: libc::sockaddr_storage,
    length: libc::socklen_t,
}

impl Address {
    fn zeroed() -> Self {
        // SAFETY: all zeroes is a valid value of this struct of integers.
        Self { raw: unsafe { mem::zeroed() }, length: 0 }
    }

    /// The address as its own kind of struct, and how long that is.
    ///
    /// # Safety
    /// `T` is one of the kernel's socket addresses.
    unsafe fn part<T>(&mut self) -> &mut T {
        self.length = size_of::<T>() as libc::socklen_t;
        // SAFETY: `sockaddr_storage` is large enough and aligned for every kind of address.
        unsafe { &mut *(&raw mut self.raw).cast() }
    }

    pub fn ip(address: SocketAddr) -> Self {
        let mut this = Self::zeroed();
        match address {
            SocketAddr::V4(address) => {
                // SAFETY: a kind of socket address.
                let raw: &mut libc::sockaddr_in = unsafe { this.part() };
                raw.sin_family = libc::AF_INET as libc::sa_family_t;
                raw.sin_port = address.port().to_be();
                raw.sin_addr.s_addr = u32::from_ne_bytes(address.ip().octets());
            }
            SocketAddr::V6(address) => {
                // SAFETY: a kind of socket address.
                let raw: &mut libc::sockaddr_in6 = unsafe { this.part() };
                raw.sin6_family = libc::AF_INET6 as libc::sa_family_t;
                raw.sin6_port = address.port().to_be();
                raw.sin6_addr.s6_addr = address.ip().octets();
            }
        }
        this
    }

    /// A socket's path; one that begins with `@` is a name in the abstract namespace.
    pub fn unix(path: &Path) -> io::Result<Self> {
        let mut this = Self::zeroed();
        // SAFETY: a kind of socket address.
        let raw: &mut libc::sockaddr_un = unsafe { this.part() };
        let bytes = path.as_os_str().as_bytes();
        if bytes.len() >= raw.sun_path.len() {
            return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
        }
        raw.sun_family = libc::AF_UNIX as libc::sa_family_t;
        for (to, from) in raw.sun_path.iter_mut().zip(bytes) {
            *to = *from as libc::c_char;
        }
        if bytes.first() == Some(&b'@') {
            raw.sun_path[0] = 0;
            this.length = (mem::offset_of!(libc::sockaddr_un, sun_path) + bytes.len()) as libc::socklen_t;
        }
        Ok(this)
    }

    /// The same address that doesn't say its family.
    pub fn without_family(mut self) -> Self {
        self.raw.ss_family = libc::AF_UNSPEC as libc::sa_family_t;
        self
    }

    pub fn family(&self) -> c_int {
        c_int::from(self.raw.ss_family)
    }

    pub fn pointer(&self) -> *const libc::sockaddr {
        (&raw const self.raw).cast()
    }

    pub fn length(&self) -> libc::socklen_t {
        self.length
    }
}

/// The result of a system call, or its error.
pub fn check(code: c_int) -> io::Result<c_int> {
    if code == -1 { Err(io::Error::last_os_error()) } else { Ok(code) }
}

pub fn socket(family: c_int, kind: c_int, protocol: c_int) -> io::Result<OwnedFd> {
    // SAFETY: no pointers; a new descriptor is owned once.
    unsafe {
        let descriptor = check(libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol))?;
        Ok(OwnedFd::from_raw_fd(descriptor))
    }
}

pub fn connect(socket: impl AsFd, to: &Address) -> io::Result<()> {
    // SAFETY: the address is as long as is said.
    check(unsafe { libc::connect(socket.as_fd().as_raw_fd(), to.pointer(), to.length()) }).map(drop)
}

pub fn bind(socket: impl AsFd, to: &Address) -> io::Result<()> {
    // SAFETY: the address is as long as is said.
    check(unsafe { libc::bind(socket.as_fd().as_raw_fd(), to.pointer(), to.length()) }).map(drop)
}

pub fn listen(socket: impl AsFd) -> io::Result<()> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::listen(socket.as_fd().as_raw_fd(), 16) }).map(drop)
}

/// Sends to an address with `flags`, without connecting first.
pub fn send_to(socket: impl AsFd, bytes: &[u8], flags: c_int, to: &Address) -> io::Result<()> {
    let (pointer, length) = (bytes.as_ptr().cast(), bytes.len());
    let descriptor = socket.as_fd().as_raw_fd();
    // SAFETY: both buffers are as long as is said.
    let sent = unsafe { libc::sendto(descriptor, pointer, length, flags, to.pointer(), to.length()) };
    if sent == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sets an option that is an integer.
pub fn set(socket: impl AsFd, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
    let length = size_of_val(&value) as libc::socklen_t;
    let descriptor = socket.as_fd().as_raw_fd();
    // SAFETY: the value is as long as is said.
    check(unsafe { libc::setsockopt(descriptor, level, option, (&raw const value).cast(), length) }).map(drop)
}

/// The error that a socket has kept, if any.
pub fn pending_error(socket: impl AsFd) -> io::Result<()> {
    let mut error: c_int = 0;
    let mut length = size_of_val(&error) as libc::socklen_t;
    let descriptor = socket.as_fd().as_raw_fd();
    let (level, option) = (libc::SOL_SOCKET, libc::SO_ERROR);
    // SAFETY: the option writes one int; its size is given.
    check(unsafe { libc::getsockopt(descriptor, level, option, (&raw mut error).cast(), &raw mut length) })?;
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

/// Waits for events on a descriptor, at most so many milliseconds; whether there was one.
pub fn poll(descriptor: impl AsFd, events: libc::c_short, milliseconds: c_int) -> io::Result<bool> {
    let mut state = libc::pollfd { fd: descriptor.as_fd().as_raw_fd(), events, revents: 0 };
    // SAFETY: one valid pollfd.
    check(unsafe { libc::poll(&raw mut state, 1, milliseconds) }).map(|ready| ready > 0)
}

/// What this kernel hasn't got: shown as `Unsupported`, never mistaken for a refusal.
pub fn unsupported(error: io::Error) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, error)
}
