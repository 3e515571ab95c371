//! Attaches the packet programs to an interface, in the first way that it takes.

use anyhow::{Context as _, Result, bail};
use aya::programs::{
    LinkOrder, Program, TcAttachType, XdpMode,
    tc::{NlOptions, TcAttachOptions, qdisc_add_clsact, qdisc_detach_program},
};

use super::{
    load::Kernel,
    probes::{PROBES, Probe},
};
use crate::config::{Attach, IfHeld};

/// The order of preference. XDP behind the driver comes last: segments are merged before it, and only traffic control knows
/// how many there were, so it needs a program there as well.
const AUTO: &[Attach] = &[Attach::Xdp, Attach::Tcx, Attach::Tc, Attach::XdpGeneric];

/// What is wanted of an interface.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Its name.
    pub interface: &'a str,
    /// How to attach.
    pub attach: Attach,
    /// What to do where another XDP program holds it.
    pub if_held: IfHeld,
    /// Whether frames begin with an Ethernet header. XDP programs are written for those that do.
    pub link_header: bool,
}

impl Kernel {
    /// Attaches the packet program to an interface. Returns the mode's name.
    ///
    /// # Errors
    /// Says of each way that was tried why it isn't possible; another program is never replaced.
    pub fn attach_interface(&mut self, wanted: &Wanted) -> Result<&'static str> {
        let interface = wanted.interface;
        let single = [wanted.attach];
        let ways = if wanted.attach == Attach::Auto { AUTO } else { &single };
        let mut reasons = String::new();
        for way in ways {
            match self.attach_by(*way, wanted) {
                Ok(mode) => {
                    if !reasons.is_empty() {
                        tracing::info!(interface, mode, "attached in this way, because not as{reasons}");
                    }
                    return Ok(mode);
                }
                Err(error) if is_busy(&error) && wanted.if_held == IfHeld::Stop => bail!(
                    "interface {interface}: another XDP program holds it (`ip link show {interface}` names it), and \
                     if_held = \"stop\" forbids another way; `monitor` replaces no program"
                ),
                Err(error) => reasons += &format!(" {}: {};", way.name(), told(&error)),
            }
        }
        bail!(
            "interface {interface}: the packet program can't be attached as{} take the interface out of [agent] \
             interfaces, or choose another way with `attach` in [packets]",
            reasons
        )
    }

    fn attach_by(&mut self, way: Attach, wanted: &Wanted) -> Result<&'static str> {
        match way {
            Attach::Auto => bail!("`auto` is no way of its own"),
            Attach::Xdp => {
                self.attach_xdp("ingress", wanted, XdpMode::Driver)?;
                Ok("native")
            }
            Attach::Tcx => {
                self.attach_tcx("ingress_tc", wanted.interface)?;
                Ok("tcx")
            }
            Attach::Tc => {
                self.attach_tc("ingress_tc", wanted.interface)?;
                Ok("tc")
            }
            Attach::XdpGeneric => {
                if !wanted.link_header {
                    bail!("its frames have no Ethernet header");
                }
                // First the one that judges TCP: until both are there, nothing is judged twice.
                if self.attach_tcx("ingress_tc_tcp", wanted.interface).is_err() {
                    self.attach_tc("ingress_tc_tcp", wanted.interface)?;
                }
                self.attach_xdp("ingress_generic", wanted, XdpMode::Skb)?;
                Ok("generic")
            }
        }
    }

    fn attach_xdp(&mut self, program: &str, wanted: &Wanted, mode: XdpMode) -> Result<()> {
        if !wanted.link_header {
            bail!("its frames have no Ethernet header");
        }
        match self.loaded(program)? {
            Program::Xdp(program) => program.attach(wanted.interface, mode).map(drop).map_err(Into::into),
            _ => bail!("program {program} is no XDP program"),
        }
    }

    /// In front of other programs, which go on to be asked.
    fn attach_tcx(&mut self, program: &str, interface: &str) -> Result<()> {
        let options = TcAttachOptions::TcxOrder(LinkOrder::first());
        match self.loaded(program)? {
            Program::SchedClassifier(program) => program
                .attach_with_options(interface, TcAttachType::Ingress, options)
                .map(drop)
                .map_err(Into::into),
            _ => bail!("program {program} is none of traffic control"),
        }
    }

    fn attach_tc(&mut self, name: &str, interface: &str) -> Result<()> {
        // It may be there already. Of a run that was killed a filter may be left, which no link took away.
        let _ = qdisc_add_clsact(interface);
        let _ = qdisc_detach_program(interface, TcAttachType::Ingress, name);
        let options = TcAttachOptions::Netlink(NlOptions { priority: 1, ..NlOptions::default() });
        match self.loaded(name)? {
            Program::SchedClassifier(program) => program
                .attach_with_options(interface, TcAttachType::Ingress, options)
                .map(drop)
                .map_err(Into::into),
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

/// The cause at the bottom of an error, which says most.
fn told(error: &anyhow::Error) -> String {
    match error.root_cause().downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error) {
        Some(libc::EBUSY | libc::EEXIST) => "another program holds it".to_owned(),
        Some(libc::EOPNOTSUPP) => "the driver has no XDP".to_owned(),
        Some(libc::ERANGE | libc::EINVAL) => {
            format!("{} (often an MTU or offloads that the driver can't join with XDP)", error.root_cause())
        }
        _ => error.root_cause().to_string(),
    }
}

fn is_busy(error: &anyhow::Error) -> bool {
    let code = error.root_cause().downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
    matches!(code, Some(libc::EBUSY | libc::EEXIST))
}
