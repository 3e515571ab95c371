//! How much the kernel keeps for the agent.

use super::Checker;
use crate::config::limits::{MAX_RING, MIN_RING};
use crate::config::model::Rings;
use crate::config::pattern::Wrong;
use crate::config::rate;
use crate::config::raw;
use crate::config::source::quoted;

/// Reads the sizes of the rings.
pub(super) fn rings(file: &mut Checker, raw: &raw::Agent) -> Rings {
    let mut rings = Rings::default();
    for (given, size) in [(&raw.ring, &mut rings.events), (&raw.findings_ring, &mut rings.findings)] {
        if let Some(at) = given.given() {
            *size = file.accept(at.span, size_of_ring(&at.value)).unwrap_or(*size);
        }
    }
    rings
}

/// The size that the kernel takes for one that was written.
fn size_of_ring(text: &str) -> Result<u32, Wrong> {
    let size = rate::size(text)?.checked_next_power_of_two().unwrap_or(u64::MAX);
    match u32::try_from(size) {
        Ok(taken) if (MIN_RING..=MAX_RING).contains(&size) => Ok(taken),
        _ => {
            let (least, most) = (MIN_RING >> 10, MAX_RING >> 20);
            let help = "a record takes 150 to 600 bytes: in `\"8MiB\"` there is room for 20,000".into();
            Err((format!("the ring {} is not from {least} KiB to {most} MiB", quoted(text)), help))
        }
    }
}
