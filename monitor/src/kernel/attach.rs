//! Attaches the packet programs to an interface, in the first way that it takes.

mod held;
mod holders;
mod outlook;
mod words;

use std::{fmt, path::PathBuf};

use anyhow::{Context as _, Result, bail};
use aya::programs::{
    LinkOrder, Program, TcAttachType, XdpMode,
    links::FdLink,
    tc::{NlOptions, SchedClassifier, SchedClassifierLink, TcAttachOptions, qdisc_add_clsact},
    xdp::XdpLink,
};

use self::{
    held::{Filter, Pinned},
    words::{explain, is_busy},
};
pub use self::{
    holders::{holders_of, remove_leftovers},
    outlook::{Outlook, outlook},
};
use super::{
    load::Kernel,
    probes::{PROBES, Probe},
};
use crate::{
    config::{Attach, IfHeld},
    host::interfaces::{self, Interfaces, Link},
};

/// The order of preference. XDP behind the driver comes last: segments are merged before it, and only traffic control knows
/// how many there were, so it needs a program there as well.
pub const AUTO: &[Attach] = &[Attach::Xdp, Attach::Tcx, Attach::Tc, Attach::XdpGeneric];

/// The place of our filter in traffic control: in front of all others.
const PRIORITY: u16 = 1;

/// What is wanted of an interface.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The interface.
    pub link: &'a Link,
    /// How to attach.
    pub attach: Attach,
    /// What to do where another program holds it.
    pub if_held: IfHeld,
}

/// What is attached to an interface; dropping it takes it off, unless it shall be kept ([`Pins::keep`]) or was handed over.
///
/// [`Pins::keep`]: super::pins::Pins::keep
#[derive(Debug)]
pub struct Attached {
    /// The mode's name.
    pub mode: &'static str,
    /// In the order in which they go.
    holds: Vec<Hold>,
}

/// One program at one place. The links are owned here, not by the program: so they can be handed to the program of another
/// [`Kernel`], which replaces ours in one step.
#[derive(Debug)]
enum Hold {
    Xdp { link: Pinned, program: u32 },
    Tcx { link: Pinned, program: u32 },
    Tc { _link: Filter, program: u32 },
}

/// Why nothing is attached to an interface.
#[derive(Debug)]
pub struct Refusal {
    /// Whether that is because another program holds it.
    pub held: bool,
    /// In words.
    pub words: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl std::error::Error for Refusal {}

impl Attached {
    /// The ids of the programs.
    pub fn programs(&self) -> impl Iterator<Item = u32> {
        self.holds.iter().map(|hold| match hold {
            Hold::Xdp { program, .. } | Hold::Tcx { program, .. } | Hold::Tc { program, .. } => *program,
        })
    }

    /// Where it is pinned.
    pub fn pins(&self) -> impl Iterator<Item = PathBuf> {
        self.holds.iter().filter_map(|hold| match hold {
            Hold::Xdp { link, .. } | Hold::Tcx { link, .. } => link.path().cloned(),
            Hold::Tc { .. } => None,
        })
    }

    /// Lets go of what the programs of another [`Kernel`] have taken over.
    pub fn hand_over(mut self) {
        for hold in &mut self.holds {
            match hold {
                Hold::Xdp { link, .. } | Hold::Tcx { link, .. } => link.hand_over(),
                // Two filters side by side: this one goes.
                Hold::Tc { .. } => {}
            }
        }
    }

    /// Whether all of it is still there: others may have taken it off. `link` is how the interface is listed now.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub fn is_there(&self, link: &Link, interfaces: &mut Interfaces) -> Result<bool> {
        for hold in &self.holds {
            let there = match hold {
                Hold::Xdp { program, .. } => link.xdp.contains(program),
                Hold::Tcx { program, .. } => {
                    let (_, found) = SchedClassifier::query_tcx(&link.name, TcAttachType::Ingress)
                        .context("can't list the programs at an interface")?;
                    found.iter().any(|found| found.id() == *program)
                }
                Hold::Tc { program, .. } => {
                    interfaces.filters(link.index)?.iter().any(|filter| filter.program == *program)
                }
            };
            if !there {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Kernel {
    /// Attaches the packet program to an interface.
    ///
    /// # Errors
    /// Says of each way that was tried why it isn't possible; another program is never replaced.
    pub fn attach_interface(&mut self, wanted: &Wanted) -> Result<Attached, Refusal> {
        let name = &wanted.link.name;
        let single = [wanted.attach];
        let ways = if wanted.attach == Attach::Auto { AUTO } else { &single };
        let (mut reasons, mut held) = (String::new(), false);
        for way in ways {
            let error = match self.attach_by(*way, wanted.link) {
                Ok(attached) if interfaces::index(name) == Some(wanted.link.index) => {
                    if !reasons.is_empty() {
                        let mode = attached.mode;
                        tracing::info!(
                            interface = name,
                            mode,
                            "attached in this way, because not as{reasons}"
                        );
                    }
                    return Ok(attached);
                }
                // Some ways ask for a name, which may be another's by now.
                Ok(_) => return Err(Refusal { held, words: format!("interface {name} has gone meanwhile") }),
                Err(error) => error,
            };
            let busy = is_busy(&error);
            held |= busy;
            let told = explain(&error, *way, wanted.link);
            if busy && wanted.if_held == IfHeld::Stop {
                let words = format!(
                    "interface {name}: {told}, and if_held = \"stop\" forbids another way; `monitor` replaces no program"
                );
                return Err(Refusal { held, words });
            }
            reasons += &format!(" {}: {told};", way.name());
        }
        let words = format!(
            "interface {name}: the packet program can't be attached as{reasons} take the interface out of [agent] \
             interfaces, or choose another way with `attach` in [packets]"
        );
        Err(Refusal { held, words })
    }

    /// Loads what interfaces without XDP take. The verifier needs so long that one which comes later would not be covered
    /// within a second.
    ///
    /// # Errors
    /// When the kernel refuses the program.
    pub fn prepare_attach(&mut self) -> Result<()> {
        self.loaded("ingress_tc").map(drop)
    }

    fn attach_by(&mut self, way: Attach, link: &Link) -> Result<Attached> {
        let (mode, holds) = match way {
            Attach::Auto => bail!("`auto` is no way of its own"),
            Attach::Xdp => ("native", vec![self.attach_xdp("ingress", link, XdpMode::Driver)?]),
            Attach::Tcx => ("tcx", vec![self.attach_tcx("ingress_tc", link)?]),
            Attach::Tc => ("tc", vec![self.attach_tc("ingress_tc", link)?]),
            Attach::XdpGeneric => {
                needs_ethernet(link)?;
                // First the one that judges what may be merged: until both are there, nothing is judged twice.
                let rest = match self.attach_tcx("ingress_tc_rest", link) {
                    Ok(hold) => hold,
                    Err(_) => self.attach_tc("ingress_tc_rest", link)?,
                };
                ("generic", vec![self.attach_xdp("ingress_generic", link, XdpMode::Skb)?, rest])
            }
        };
        Ok(Attached { mode, holds })
    }

    fn attach_xdp(&mut self, name: &str, link: &Link, mode: XdpMode) -> Result<Hold> {
        needs_ethernet(link)?;
        let before = self.before(name, link.index);
        let pins = self.pins().cloned();
        let Program::Xdp(program) = self.loaded(name)? else { bail!("program {name} is no XDP program") };
        let id = program.info()?.id();
        if let Some((path, before)) = before {
            match XdpLink::try_from(before).map_err(anyhow::Error::from).and_then(|before| {
                let attached = program.attach_to_link(before)?;
                Ok(program.take_link(attached)?)
            }) {
                Ok(taken) => {
                    return Ok(Hold::Xdp { link: Pinned::at(taken.try_into()?, path, pins), program: id });
                }
                Err(error) => stale(&path, &error),
            }
        }
        let attached = program.attach_to_if_index(link.index, mode)?;
        let attached = program.take_link(attached)?;
        Ok(Hold::Xdp { link: Pinned::new(attached.try_into()?, name, link.index, pins)?, program: id })
    }

    /// What a generation before attached to an interface by the program of this name.
    fn before(&self, name: &str, index: u32) -> Option<(PathBuf, FdLink)> {
        let path = self.pins()?.interface(index, name);
        let link = aya::programs::links::PinnedLink::from_pin(&path).ok()?;
        Some((path, link.into()))
    }

    /// In front of other programs, which go on to be asked.
    fn attach_tcx(&mut self, name: &str, link: &Link) -> Result<Hold> {
        let options = TcAttachOptions::TcxOrder(LinkOrder::first());
        let pins = self.pins().cloned();
        if let Some((path, before)) = self.before(name, link.index) {
            match self.replace_traffic(name, before) {
                Ok((taken, program)) => {
                    return Ok(Hold::Tcx { link: Pinned::at(taken.try_into()?, path, pins), program });
                }
                Err(error) => stale(&path, &error),
            }
        }
        let (attached, program) = self.attach_traffic(name, link, options)?;
        Ok(Hold::Tcx { link: Pinned::new(attached.try_into()?, name, link.index, pins)?, program })
    }

    fn attach_tc(&mut self, name: &str, link: &Link) -> Result<Hold> {
        // It may be there already.
        let discipline = qdisc_add_clsact(&link.name);
        // Filters with our priority are asked before ours, and most end it there.
        let mut interfaces = Interfaces::open()?;
        let before_us =
            |filter: &interfaces::Filter| filter.priority() <= PRIORITY && !holders::is_ours(filter.program);
        let first = interfaces.filters(link.index)?.into_iter().find(before_us);
        if let Some(filter) = first {
            return Err(holders::Busy { program: filter.program }.into());
        }
        let options = TcAttachOptions::Netlink(NlOptions { priority: PRIORITY, ..NlOptions::default() });
        let attached = self.attach_traffic(name, link, options);
        match (attached, discipline) {
            (Ok((link, program)), _) => {
                Ok(Hold::Tc { _link: Filter::new(link, self.pins().cloned()), program })
            }
            // Without the discipline the second error says nothing.
            (Err(_), Err(error)) => Err(error.into()),
            (Err(error), Ok(())) => Err(error),
        }
    }

    fn attach_traffic(
        &mut self,
        name: &str,
        link: &Link,
        options: TcAttachOptions,
    ) -> Result<(SchedClassifierLink, u32)> {
        match self.loaded(name)? {
            Program::SchedClassifier(program) => {
                let attached = program.attach_with_options(&link.name, TcAttachType::Ingress, options)?;
                Ok((program.take_link(attached)?, program.info()?.id()))
            }
            _ => bail!("program {name} is none of traffic control"),
        }
    }

    /// Puts a program in the place of the one that a link holds.
    fn replace_traffic(&mut self, name: &str, link: FdLink) -> Result<(SchedClassifierLink, u32)> {
        match self.loaded(name)? {
            Program::SchedClassifier(program) => {
                let attached = program.attach_to_link(SchedClassifierLink::try_from(link)?)?;
                Ok((program.take_link(attached)?, program.info()?.id()))
            }
            _ => bail!("program {name} is none of traffic control"),
        }
    }

    /// A program, loaded now if it isn't.
    fn loaded(&mut self, name: &str) -> Result<&mut Program> {
        let probe: &Probe = PROBES
            .iter()
            .find(|probe| probe.program == name)
            .with_context(|| format!("no program {name}"))?;
        if self.program(probe)?.fd().is_err() {
            self.load(probe)?;
        }
        self.program(probe)
    }
}

/// A link can't be taken over: its interface has gone, or another has its number.
fn stale(path: &std::path::Path, error: &anyhow::Error) {
    tracing::debug!("what is pinned at {} is not taken over: {error:#}", path.display());
    let _ = std::fs::remove_file(path);
}

/// XDP programs are written for interfaces with such headers.
fn needs_ethernet(link: &Link) -> Result<()> {
    if !link.ethernet {
        bail!("its frames have no Ethernet header");
    }
    Ok(())
}
