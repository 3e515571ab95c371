//! What holds a program at an interface, and when it lets go.

use std::{path::PathBuf, sync::Arc};

use anyhow::Result;
use aya::programs::{links::FdLink, tc::SchedClassifierLink};

use crate::kernel::pins::Pins;

/// A link, and the pin by which it outlives us.
#[derive(Debug)]
pub(super) struct Pinned {
    _link: FdLink,
    pin: Option<(PathBuf, Arc<Pins>)>,
}

impl Pinned {
    /// Pins a new link, if anything is pinned.
    ///
    /// # Errors
    /// When the kernel refuses; then the program is taken off.
    pub fn new(link: FdLink, program: &str, index: u32, pins: Option<Arc<Pins>>) -> Result<Self> {
        let Some(pins) = pins else { return Ok(Self { _link: link, pin: None }) };
        let path = pins.interface(index, program);
        // Of an interface that had this number before.
        let _ = std::fs::remove_file(&path);
        Ok(Self { _link: link.pin(&path)?.into(), pin: Some((path, pins)) })
    }

    /// A link that is pinned already.
    pub fn at(link: FdLink, path: PathBuf, pins: Option<Arc<Pins>>) -> Self {
        Self { _link: link, pin: pins.map(|pins| (path, pins)) }
    }

    /// Where it is pinned.
    pub fn path(&self) -> Option<&PathBuf> {
        self.pin.as_ref().map(|(path, _)| path)
    }

    /// The pin is another's.
    pub fn hand_over(&mut self) {
        self.pin = None;
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if let Some((path, pins)) = &self.pin
            && !pins.keeps()
        {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A filter of traffic control, which is no link: it stays where nobody takes it out.
#[derive(Debug)]
pub(super) struct Filter {
    link: Option<SchedClassifierLink>,
    pins: Option<Arc<Pins>>,
}

impl Filter {
    /// One that was attached.
    pub fn new(link: SchedClassifierLink, pins: Option<Arc<Pins>>) -> Self {
        Self { link: Some(link), pins }
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        if self.pins.as_ref().is_some_and(|pins| pins.keeps()) {
            // Dropped, it would be taken out.
            std::mem::forget(self.link.take());
        }
    }
}
