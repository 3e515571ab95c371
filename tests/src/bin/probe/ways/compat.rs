//! Connects by the system calls of 32-bit programs, which a 64-bit program can make with `int 0x80`.

use std::{
    arch::asm,
    ffi::c_int,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    ptr,
};

use super::{Talk, say};
use crate::net::{Address, check, unsupported};

/// Numbers of 32-bit system calls.
const GETPID: u32 = 20;
const SOCKETCALL: u32 = 102;
const SOCKET: u32 = 359;
const CONNECT: u32 = 362;
/// What `socketcall` is told to do.
const CALL_SOCKET: u32 = 1;
const CALL_CONNECT: u32 = 3;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// The one call for all that old programs make.
    SocketCall,
    /// A call of its own.
    Connect,
}

pub fn connect(talk: &Talk<'_>, entry: Entry) -> io::Result<()> {
    if !answers()? {
        return Err(io::Error::from(io::ErrorKind::Unsupported));
    }
    let to = Address::ip(talk.to);
    let mut low = Low::new()?;
    let (family, kind, length) = (to.family() as u32, libc::SOCK_STREAM as u32, to.length());
    // SAFETY: an address is at most 128 bytes; the page has room for it behind the arguments.
    let address = unsafe {
        let place = low.page.cast::<u8>().add(64);
        ptr::copy_nonoverlapping(to.pointer().cast::<u8>(), place, length as usize);
        place as usize as u32
    };
    let socket = match entry {
        Entry::SocketCall => low.socketcall(CALL_SOCKET, [family, kind, 0]),
        Entry::Connect => call(SOCKET, [family, kind, 0]),
    };
    // SAFETY: a new descriptor, owned once.
    let socket = unsafe { OwnedFd::from_raw_fd(socket.map_err(unsupported)?) };
    let arguments = [socket.as_raw_fd() as u32, address, length];
    match entry {
        Entry::SocketCall => low.socketcall(CALL_CONNECT, arguments)?,
        Entry::Connect => call(CONNECT, arguments)?,
    };
    say(socket, talk)
}

/// A page that 32-bit pointers reach.
struct Low {
    page: *mut u32,
}

impl Low {
    fn new() -> io::Result<Self> {
        let (access, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT);
        // SAFETY: new memory, at no address of ours.
        let page = unsafe { libc::mmap(ptr::null_mut(), 4096, access, flags, -1, 0) };
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { page: page.cast() })
    }

    fn socketcall(&mut self, what: u32, arguments: [u32; 3]) -> io::Result<c_int> {
        // SAFETY: the page is larger than the list.
        unsafe { ptr::copy_nonoverlapping(arguments.as_ptr(), self.page, arguments.len()) };
        call(SOCKETCALL, [what, self.page as usize as u32, 0])
    }
}

impl Drop for Low {
    fn drop(&mut self) {
        // SAFETY: our own page, used by nobody any more.
        unsafe { libc::munmap(self.page.cast(), 4096) };
    }
}

/// Whether the kernel takes such calls: a child tries, as a kernel that doesn't kills it.
fn answers() -> io::Result<bool> {
    // SAFETY: one thread; the child makes one system call and exits.
    let child = unsafe { check(libc::fork())? };
    if child == 0 {
        let code = i32::from(call(GETPID, [0; 3]).is_err());
        // SAFETY: ends the child without running anything of the parent's.
        unsafe { libc::_exit(code) };
    }
    let mut status = 0;
    // SAFETY: our child; the status is an int.
    check(unsafe { libc::waitpid(child, &raw mut status, 0) })?;
    Ok(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0)
}

fn call(number: u32, [first, second, third]: [u32; 3]) -> io::Result<c_int> {
    let mut result = u64::from(number);
    // SAFETY: a system call; its pointers reach into a page of ours, or are none. The compiler keeps rbx for itself.
    unsafe {
        asm!(
            "xchg rbx, {first}",
            "int 0x80",
            "xchg rbx, {first}",
            first = inout(reg) u64::from(first) => _,
            inout("rax") result,
            in("rcx") u64::from(second),
            in("rdx") u64::from(third),
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    let result = result as u32 as i32;
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(result) }
}
