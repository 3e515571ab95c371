//! What each interface would get.

use std::fmt::Write as _;

use anyhow::Result;
use serde::Serialize;

use crate::{
    host::interfaces::{self, Interfaces},
    kernel::attach::{Outlook, outlook},
};

/// Most interfaces that are told of.
const MOST: usize = 256;

/// An interface, and how it would be covered.
#[derive(Debug, Serialize)]
pub(super) struct Interface {
    pub name: String,
    kind: Option<String>,
    driver: Option<String>,
    mtu: u32,
    pub default_route: bool,
    #[serde(flatten)]
    outlook: Outlook,
}

/// All, at most [`MOST`]. Nothing is attached.
pub(super) fn look() -> Result<Vec<Interface>> {
    let mut interfaces = Interfaces::open()?;
    let routed = interfaces.default_routes()?.interfaces;
    let links = interfaces.list()?.into_iter().take(MOST);
    let all = links.map(|link| Interface {
        outlook: outlook(&link),
        driver: interfaces::driver(&link.name),
        default_route: routed.contains(&link.index),
        mtu: link.mtu,
        kind: link.kind,
        name: link.name,
    });
    Ok(all.collect())
}

pub(super) fn print(interfaces: &[Interface], out: &mut String) {
    for interface in interfaces {
        let Interface { name, kind, driver, mtu, default_route, outlook } = interface;
        let what = kind.as_deref().or(driver.as_deref()).unwrap_or("-");
        let Outlook { attach, reason, held_by } = outlook;
        let _ = write!(out, "{name:<15} {what:<12} mtu {mtu:<6} {attach:<4} {reason}");
        if *default_route {
            out.push_str("; default route");
        }
        if !held_by.is_empty() {
            let _ = write!(out, "; held by {}", held_by.join(", "));
        }
        out.push('\n');
    }
}
