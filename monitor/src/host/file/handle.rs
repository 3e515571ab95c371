//! Finds a file again after its name has gone, without holding it open: an open file would keep its file system from
//! being unmounted.

use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

/// Most bytes of a handle (`MAX_HANDLE_SZ` in the kernel's `include/linux/exportfs.h`).
const BYTES: usize = 128;

/// What a file system calls a file for good: the inode and its generation, so never a later file with the same inode
/// number.
#[derive(Clone, Copy)]
pub struct Handle {
    raw: Raw,
    mount_id: i32,
}

/// `struct file_handle` with room for its bytes.
#[repr(C)]
#[derive(Clone, Copy)]
struct Raw {
    bytes: libc::c_uint,
    kind: libc::c_int,
    data: [u8; BYTES],
}

impl Handle {
    /// The handle of an open file; none where the file system gives none.
    pub fn of(file: BorrowedFd<'_>) -> Option<Self> {
        let mut raw = Raw { bytes: BYTES as libc::c_uint, kind: 0, data: [0; BYTES] };
        let mut mount_id = 0;
        // SAFETY: an open descriptor, an empty path, and a buffer of the size that it says.
        let code = unsafe {
            libc::name_to_handle_at(
                file.as_raw_fd(),
                c"".as_ptr(),
                (&raw mut raw).cast(),
                &raw mut mount_id,
                libc::AT_EMPTY_PATH,
            )
        };
        (code == 0).then_some(Self { raw, mount_id })
    }

    /// The handle of a control group by its id; `FILEID_KERNFS` in the kernel's `include/linux/exportfs.h`, since 5.5.
    pub(in crate::host) fn of_cgroup(id: u64) -> Self {
        let mut raw = Raw { bytes: 8, kind: 0xfe, data: [0; BYTES] };
        raw.data[..8].copy_from_slice(&id.to_ne_bytes());
        Self { raw, mount_id: 0 }
    }

    /// Id of the mount it was found on.
    pub fn mount_id(&self) -> u64 {
        self.mount_id as u64
    }

    /// Opens the file; `on` is anything open on its file system. None if the file is no more.
    pub fn open(&self, on: BorrowedFd<'_>) -> Option<OwnedFd> {
        let mut raw = self.raw;
        // SAFETY: an open descriptor and a handle that the kernel gave us.
        let fd = unsafe {
            libc::open_by_handle_at(on.as_raw_fd(), (&raw mut raw).cast(), libc::O_PATH | libc::O_CLOEXEC)
        };
        // SAFETY: a new descriptor that nobody else owns.
        (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
    }
}
