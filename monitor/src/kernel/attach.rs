//! Attaches the packet programs to an interface, in the first way that it takes.

mod holders;
mod outlook;
mod words;

use std::fmt;

use anyhow::{Context as _, Result, bail};
use aya::programs::{
    LinkOrder, Program, TcAttachType, XdpMode,
    tc::{NlOptions, SchedClassifier, SchedClassifierLink, TcAttachOptions, qdisc_add_clsact},
    xdp::XdpLink,
};

use self::words::{explain, is_busy};
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

/// What is attached to an interface; dropping it takes it off.
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
    Xdp { _link: XdpLink, program: u32 },
    Tcx { _link: SchedClassifierLink, program: u32 },
    Tc { _link: SchedClassifierLink, program: u32 },
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
                // First the one that judges TCP: until both are there, nothing is judged twice.
                let tcp = match self.attach_tcx("ingress_tc_tcp", link) {
                    Ok(hold) => hold,
                    Err(_) => self.attach_tc("ingress_tc_tcp", link)?,
                };
                ("generic", vec![self.attach_xdp("ingress_generic", link, XdpMode::Skb)?, tcp])
            }
        };
        Ok(Attached { mode, holds })
    }

    fn attach_xdp(&mut self, name: &str, link: &Link, mode: XdpMode) -> Result<Hold> {
        needs_ethernet(link)?;
        match self.loaded(name)? {
            Program::Xdp(program) => {
                let attached = program.attach_to_if_index(link.index, mode)?;
                let id = program.info()?.id();
                Ok(Hold::Xdp { _link: program.take_link(attached)?, program: id })
            }
            _ => bail!("program {name} is no XDP program"),
        }
    }

    /// In front of other programs, which go on to be asked.
    fn attach_tcx(&mut self, name: &str, link: &Link) -> Result<Hold> {
        let options = TcAttachOptions::TcxOrder(LinkOrder::first());
        let (link, program) = self.attach_traffic(name, link, options)?;
        Ok(Hold::Tcx { _link: link, program })
    }

    fn attach_tc(&mut self, name: &str, link: &Link) -> Result<Hold> {
        // It may be there already.
        let discipline = qdisc_add_clsact(&link.name);
        // Filters with our priority are asked before ours, and most end it there.
        let mut interfaces = Interfaces::open()?;
        let first = interfaces.filters(link.index)?.into_iter().find(|filter| filter.priority() <= PRIORITY);
        if let Some(filter) = first {
            return Err(holders::Busy { program: filter.program }.into());
        }
        let options = TcAttachOptions::Netlink(NlOptions { priority: PRIORITY, ..NlOptions::default() });
        let attached = self.attach_traffic(name, link, options);
        match (attached, discipline) {
            (Ok((link, program)), _) => Ok(Hold::Tc { _link: link, program }),
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

/// XDP programs are written for interfaces with such headers.
fn needs_ethernet(link: &Link) -> Result<()> {
    if !link.ethernet {
        bail!("its frames have no Ethernet header");
    }
    Ok(())
}
