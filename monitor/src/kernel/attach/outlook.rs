//! In which way an interface would be covered, as far as it can be read: nothing is attached to find out, for that resets the
//! queues of some drivers.

use aya::programs::{TcAttachType, tc::SchedClassifier};

use super::holders::holders_of;
use crate::{config::Attach, host::interfaces::Link};

/// Kinds of virtual interfaces whose code in the kernel has no XDP.
const WITHOUT_XDP: &[&str] =
    &["bridge", "dummy", "ifb", "macvlan", "ipvlan", "vlan", "vxlan", "geneve", "gretap", "ip6gretap"];
/// More than this a driver that has XDP may refuse: a page without what XDP needs of it.
const MTU: u32 = 3498;

/// What to expect.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Outlook {
    /// As `attach` in `[packets]` calls it; the first that is likely.
    pub attach: &'static str,
    /// Why not in a better way, or what it depends on.
    pub reason: String,
    /// Programs that hold it, for XDP and for tc.
    pub held_by: Vec<String>,
}

/// What to expect of an interface with `attach = "auto"`.
#[must_use]
pub fn outlook(link: &Link) -> Outlook {
    let xdp = holders_of(link, Attach::Xdp);
    let tc = holders_of(link, Attach::Tc);
    let tcx = SchedClassifier::query_tcx(&link.name, TcAttachType::Ingress).is_ok();
    let behind = if tcx { Attach::Tcx } else { Attach::Tc };
    let reason = no_xdp(link, !xdp.is_empty());
    let (way, reason) = match reason {
        Some(reason) => (behind, reason),
        None => (Attach::Xdp, format!("if its driver takes it; else {}", behind.name())),
    };
    Outlook { attach: way.name(), reason, held_by: [xdp, tc].concat() }
}

/// Why it can't be XDP, as far as that can be read.
fn no_xdp(link: &Link, held: bool) -> Option<String> {
    let kind = link.kind.as_deref().filter(|kind| WITHOUT_XDP.contains(kind));
    if held {
        Some("another XDP program holds it".to_owned())
    } else if !link.ethernet {
        Some("its frames have no Ethernet header".to_owned())
    } else if link.loopback {
        Some("the loopback interface has no XDP".to_owned())
    } else if let Some(kind) = kind {
        Some(format!("a {kind} has no XDP"))
    } else if link.kind.as_deref() == Some("veth") && link.mtu > MTU {
        Some(format!("a veth has no XDP with an MTU of {}", link.mtu))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_read_is_said() {
        let ethernet = Link { ethernet: true, mtu: 1500, ..Link::default() };
        let of = |kind: &str| Link { kind: Some(kind.to_owned()), ..ethernet.clone() };
        let jumbo = Link { mtu: 9000, ..of("veth") };
        for (link, held, told) in [
            (ethernet.clone(), false, None),
            (of("veth"), false, None),
            (jumbo, false, Some("a veth has no XDP with an MTU of 9000")),
            (of("bridge"), false, Some("a bridge has no XDP")),
            (Link { ethernet: false, ..of("wireguard") }, false, Some("its frames have no Ethernet header")),
            (Link { loopback: true, ..ethernet.clone() }, false, Some("the loopback interface has no XDP")),
            (ethernet.clone(), true, Some("another XDP program holds it")),
        ] {
            assert_eq!(no_xdp(&link, held).as_deref(), told, "{link:?}");
        }
    }
}
