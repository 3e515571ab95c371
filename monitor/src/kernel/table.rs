//! A table of the kernel with many entries: whole batches in one system call.
//!
//! The commands are those of `enum bpf_cmd` in `include/uapi/linux/bpf.h`; batches are known from kernel 5.6 on.

use std::{
    io,
    marker::PhantomData,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result, bail};
use aya::{Pod, maps::Map};
use zerocopy::{FromBytes, IntoBytes};

/// Entries read or written in one system call.
pub const BATCH: usize = 4096;

const LOOKUP: libc::c_long = 1;
const UPDATE: libc::c_long = 2;
const DELETE: libc::c_long = 3;
const LOOKUP_BATCH: libc::c_long = 24;
const UPDATE_BATCH: libc::c_long = 26;
const DELETE_BATCH: libc::c_long = 27;

/// The part of `union bpf_attr` about one entry.
#[repr(C)]
struct One {
    map: u32,
    zero: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// The part of `union bpf_attr` about many entries.
#[repr(C)]
struct Many {
    from: u64,
    to: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    entry_flags: u64,
    flags: u64,
}

/// A map of kind hash or trie.
#[derive(Debug)]
pub struct Table<K, V> {
    map: OwnedFd,
    entries: PhantomData<(K, V)>,
}

/// How far a walk over a table has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor {
    /// What the kernel wants to have back; `None` before the first step.
    token: Option<[u8; 32]>,
    /// How many entries are asked for at least.
    room: usize,
    done: bool,
}

impl<K: Pod + FromBytes + IntoBytes, V: Pod + FromBytes + IntoBytes> Table<K, V> {
    /// Over a map of a kernel object, which stays open for as long as this.
    ///
    /// # Errors
    /// When it is a map of another kind, or no descriptor is left.
    pub fn new(map: &Map) -> Result<Self> {
        let (Map::HashMap(data) | Map::LpmTrie(data)) = map else {
            bail!("a map of the kernel object is neither a hash nor a trie")
        };
        let map = data.fd().as_fd().try_clone_to_owned().context("can't keep a map open")?;
        Ok(Self { map, entries: PhantomData })
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<V> {
        let mut value = V::new_zeroed();
        self.one(LOOKUP, key, &raw mut value).ok().map(|()| value)
    }

    /// Sets the value of a key.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn set(&self, key: &K, mut value: V) -> io::Result<()> {
        self.one(UPDATE, key, &raw mut value)
    }

    /// Takes a key out. One that isn't there is no error.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn remove(&self, key: &K) -> io::Result<bool> {
        match self.one(DELETE, key, std::ptr::null_mut()) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sets many; how many of them, in their order, were set before an error.
    pub fn set_all(&self, keys: &[K], values: &[V]) -> (usize, io::Result<()>) {
        let mut done = 0;
        for (keys, values) in keys.chunks(BATCH).zip(values.chunks(BATCH)) {
            let mut many = self.many(keys.as_ptr() as u64, values.as_ptr() as u64, keys.len());
            let outcome = call(UPDATE_BATCH, &mut many);
            done += if outcome.is_ok() { keys.len() } else { many.count as usize };
            if outcome.is_err() {
                return (done, outcome);
            }
        }
        (done, Ok(()))
    }

    /// Takes many out. Those that aren't there are no error.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn remove_all(&self, keys: &[K]) -> io::Result<()> {
        let mut rest = keys;
        while !rest.is_empty() {
            let now = rest.len().min(BATCH);
            let mut many = self.many(rest.as_ptr() as u64, 0, now);
            let outcome = call(DELETE_BATCH, &mut many);
            rest = match outcome {
                Ok(()) => &rest[now..],
                // The kernel stops at a key that isn't there.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                    rest.get(many.count as usize + 1..).unwrap_or_default()
                }
                Err(error) => return Err(error),
            };
        }
        Ok(())
    }

    /// The next entries of a walk, none at its end. Entries that are there all the time come exactly once.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn next(&self, cursor: &mut Cursor) -> io::Result<Vec<(K, V)>> {
        cursor.room = cursor.room.max(BATCH);
        while !cursor.done {
            let (mut keys, mut values) =
                (vec![K::new_zeroed(); cursor.room], vec![V::new_zeroed(); cursor.room]);
            let mut next = [0_u8; 32];
            let mut many = self.many(keys.as_mut_ptr() as u64, values.as_mut_ptr() as u64, cursor.room);
            many.from = cursor.token.as_ref().map_or(0, |token| token.as_ptr() as u64);
            many.to = next.as_mut_ptr() as u64;
            let outcome = call(LOOKUP_BATCH, &mut many);
            match outcome {
                Ok(()) => cursor.token = Some(next),
                Err(error) => match error.raw_os_error() {
                    Some(libc::ENOENT) => cursor.done = true,
                    // A single bucket has more than there was room for.
                    Some(libc::ENOSPC) if cursor.room < 1 << 22 => {
                        cursor.room *= 2;
                        continue;
                    }
                    _ => return Err(error),
                },
            }
            keys.truncate(many.count as usize);
            if !keys.is_empty() {
                return Ok(keys.into_iter().zip(values).collect());
            }
        }
        Ok(Vec::new())
    }

    /// Walks over all entries.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn for_each(&self, mut body: impl FnMut(&K, &V)) -> io::Result<()> {
        let mut cursor = Cursor::default();
        loop {
            let entries = self.next(&mut cursor)?;
            if entries.is_empty() {
                return Ok(());
            }
            entries.iter().for_each(|(key, value)| body(key, value));
        }
    }

    fn one(&self, command: libc::c_long, key: &K, value: *mut V) -> io::Result<()> {
        let map = self.map.as_raw_fd() as u32;
        let mut one =
            One { map, zero: 0, key: std::ptr::from_ref(key) as u64, value: value as u64, flags: 0 };
        call(command, &mut one)
    }

    fn many(&self, keys: u64, values: u64, count: usize) -> Many {
        let map = self.map.as_raw_fd() as u32;
        Many { from: 0, to: 0, keys, values, count: count as u32, map, entry_flags: 0, flags: 0 }
    }
}

/// `bpf(2)`. The pointers in `attributes` must be good for what the command does with them.
fn call<T>(command: libc::c_long, attributes: &mut T) -> io::Result<()> {
    // SAFETY: all callers are above; each passes vectors or values of the map's own key and value types that outlive the
    // call, and how many there are.
    let answer =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::fd::FromRawFd as _;

    use super::*;

    /// `struct` of `BPF_MAP_CREATE`, as far as it is needed.
    #[repr(C)]
    struct Create {
        kind: u32,
        key: u32,
        value: u32,
        entries: u32,
        flags: u32,
    }

    impl<K, V> Table<K, V> {
        /// A map of its own: kind 1 is a hash, 11 a trie. `None` for who may make none.
        pub(crate) fn make(kind: u32, entries: u32) -> Option<Self> {
            const CREATE: libc::c_long = 0;
            const NO_PREALLOC: u32 = 1;
            let create = Create {
                kind,
                key: size_of::<K>() as u32,
                value: size_of::<V>() as u32,
                entries,
                flags: NO_PREALLOC,
            };
            // SAFETY: the attributes outlive the call.
            let fd = unsafe { libc::syscall(libc::SYS_bpf, CREATE, &raw const create, size_of::<Create>()) };
            // SAFETY: a descriptor that nobody else has.
            (fd >= 0).then(|| Self { map: unsafe { OwnedFd::from_raw_fd(fd as i32) }, entries: PhantomData })
        }
    }

    #[test]
    fn batches_set_walk_and_remove_everything() {
        let Some(table) = Table::<u64, u64>::make(1, 20_000) else { return };
        let keys: Vec<u64> = (0..10_000).collect();
        let (done, outcome) = table.set_all(&keys, &keys);
        assert_eq!((done, outcome.is_ok()), (10_000, true));
        let mut seen = Vec::new();
        table.for_each(|key, value| seen.push((*key, *value))).unwrap();
        seen.sort_unstable();
        assert_eq!(seen, keys.iter().map(|key| (*key, *key)).collect::<Vec<_>>());
        assert_eq!(table.get(&7), Some(7));
        assert!(table.remove(&7).unwrap());
        assert!(!table.remove(&7).unwrap());
        table.remove_all(&keys).unwrap();
        table.for_each(|key, _| panic!("{key} is left")).unwrap();
    }

    #[test]
    fn a_full_table_says_how_many_it_took() {
        let Some(table) = Table::<u64, u64>::make(1, 5000) else { return };
        let keys: Vec<u64> = (0..9000).collect();
        let (done, outcome) = table.set_all(&keys, &keys);
        assert_eq!(outcome.unwrap_err().raw_os_error(), Some(libc::E2BIG));
        assert_eq!(done, 5000);
    }
}
