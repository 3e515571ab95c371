//! The kernel's table of sources, read from user space.

use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result, bail};
use aya::maps::{Map, MapData};
use monitor_common::{addr::Addr, sources::Set};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::load::Kernel;

/// The table of sources.
pub struct Sources {
    map: MapData,
    sets: u32,
}

impl Sources {
    /// Takes over the table, which has `sets` sets of sources, and others behind them.
    pub fn new(kernel: &mut Kernel, sets: u32) -> Result<Self> {
        let Map::Array(map) = kernel.take("SOURCES")? else { bail!("the map SOURCES is no array") };
        Ok(Self { map, sets })
    }

    /// How many sources there is room for.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        u64::from(self.sets) * monitor_common::sources::WAYS as u64
    }

    /// Looks at all sources that have a place: their hash and address, as they change under the reader.
    ///
    /// # Errors
    /// If the kernel doesn't let the table be mapped.
    pub fn each(&self, mut see: impl FnMut(u64, &Addr)) -> Result<()> {
        let length = self.sets as usize * size_of::<Set>();
        // SAFETY: a new mapping at a place that the kernel chooses.
        let at = unsafe {
            let descriptor = self.map.fd().as_fd();
            mmap(std::ptr::null_mut(), length, ProtFlags::READ, MapFlags::SHARED, descriptor, 0)
        }
        .context("can't map the table of sources")?;
        let first = at.cast::<Set>();
        for index in 0..self.sets as usize {
            // SAFETY: inside of the mapping. Volatile, because the kernel writes meanwhile.
            let set = unsafe { first.add(index).read_volatile() };
            set.tags
                .iter()
                .zip(&set.addrs)
                .filter(|(tag, _)| **tag != 0)
                .for_each(|(tag, addr)| see(*tag, addr));
        }
        // SAFETY: the mapping made above, of which nothing is kept.
        unsafe { munmap(at, length) }.context("can't unmap the table of sources")
    }
}
