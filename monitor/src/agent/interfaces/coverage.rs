//! Which interfaces are covered, and how.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
};

use anyhow::{Result, anyhow};
use monitor_common::limits;

use super::{Selection, lifelines::Lifelines};
use crate::{
    config::{Attach, IfHeld},
    host::interfaces::{Interfaces, Link},
    kernel::{
        attach::{Attached, Refusal, Wanted},
        load::Kernel,
        rates::Rates,
    },
    metrics::{self, Change, Counters, Uncovered},
    policy::{Compiled, interfaces::OnInterfaces},
};

/// What there is at one moment.
pub(super) struct Look {
    /// All interfaces.
    pub links: Vec<Link>,
    /// Those with a default route, where somebody asks.
    pub routed: BTreeSet<u32>,
    /// Whether what failed is tried again although nothing has changed, and what is attached is looked at closely.
    pub closely: bool,
}

/// Owns what is attached to interfaces. Dropping it takes everything off.
pub(super) struct Coverage {
    selection: Selection,
    policy: Arc<OnInterfaces>,
    rates: Arc<Rates>,
    lifelines: Lifelines,
    counters: Arc<Counters>,
    covered: BTreeMap<u32, Covered>,
    failed: BTreeMap<u32, Failed>,
    missing: BTreeSet<String>,
}

struct Covered {
    name: String,
    /// What it was attached by.
    how: (Attach, IfHeld),
    /// Whether its frames have an Ethernet header.
    ethernet: bool,
    /// Whether it has an entry in INTERFACES.
    entry: bool,
    attached: Attached,
}

struct Failed {
    /// As it was when it failed.
    link: Link,
    why: Uncovered,
    words: String,
}

/// Why an interface isn't covered.
struct Why(Uncovered, String);

impl Coverage {
    /// Covers nothing yet.
    pub fn new(
        selection: Selection,
        policy: Arc<OnInterfaces>,
        rates: Arc<Rates>,
        lifelines: Lifelines,
        counters: Arc<Counters>,
    ) -> Self {
        let (covered, failed, missing) = Default::default();
        Self { selection, policy, rates, lifelines, counters, covered, failed, missing }
    }

    /// Has the kernel spare who must never be dropped. `gateways` are those of the default routes, if they were looked at.
    pub fn spare(&mut self, gateways: Option<&BTreeSet<IpAddr>>) {
        if let Some(gateways) = gateways {
            self.lifelines.set_gateways(gateways);
        }
        self.lifelines.keep(&self.rates);
    }

    /// Makes what is covered fit to what there is. Whether anything has changed.
    pub fn reconcile(&mut self, kernel: &mut Kernel, interfaces: &mut Interfaces, look: &Look) -> bool {
        let mut changed = self.forget_gone(look);
        for link in &look.links {
            changed |= self.rename(link);
            changed |= self.check(interfaces, link, look.closely);
            if !self.covered.contains_key(&link.index) && self.selection.takes(link, &look.routed) {
                changed |= self.cover(kernel, link, look.closely);
            }
        }
        changed | self.tell_missing(look)
    }

    /// Puts another policy in force.
    pub fn adopt(&mut self, policy: &Compiled) -> Result<()> {
        // Whoever puts a policy in force by SSH must not be locked out by it.
        self.lifelines.look_for_ssh();
        self.lifelines.keep(&self.rates);
        let asked: Vec<Link> = self
            .covered
            .iter()
            .filter(|(_, covered)| !covered.entry && policy.interfaces.is_asked_for(&covered.name))
            // Those without an Ethernet header have an entry already.
            .map(|(index, covered)| Link {
                index: *index,
                name: covered.name.clone(),
                ethernet: true,
                ..Link::default()
            })
            .collect();
        for link in asked {
            // With the rules that hold there without an entry; those of the new policy come with it.
            self.write_entry(&link).map_err(|Why(_, words)| anyhow!(words))?;
            if let Some(covered) = self.covered.get_mut(&link.index) {
                covered.entry = true;
            }
        }
        let known = self.covered.iter().filter(|(_, covered)| covered.entry);
        let known: Vec<(String, u32)> =
            known.map(|(index, covered)| (covered.name.clone(), *index)).collect();
        self.rates.apply(policy, &known)?;
        self.policy = Arc::clone(&policy.interfaces);
        Ok(())
    }

    /// Covers an interface, unless that has failed before and nothing about it has changed.
    fn cover(&mut self, kernel: &mut Kernel, link: &Link, closely: bool) -> bool {
        let before = self.failed.get(&link.index);
        if !closely && before.is_some_and(|failed| failed.link == *link) {
            return false;
        }
        match self.try_cover(kernel, link) {
            Ok(covered) => {
                let mode = covered.attached.mode;
                tracing::info!(interface = link.name, mode, "the packets of this interface are limited now");
                self.failed.remove(&link.index);
                self.covered.insert(link.index, covered);
                self.counters.interfaces.changed(Change::Covered);
                true
            }
            Err(Why(why, words)) => {
                let told = before.is_some_and(|failed| failed.words == words);
                if !told {
                    tracing::warn!("packets are not limited: {words}");
                    self.counters.interfaces.changed(Change::Uncovered);
                }
                self.failed.insert(link.index, Failed { link: link.clone(), why, words });
                !told
            }
        }
    }

    fn try_cover(&self, kernel: &mut Kernel, link: &Link) -> Result<Covered, Why> {
        if self.covered.len() >= limits::INTERFACES as usize {
            let words = format!("interface {}: {} are covered already", link.name, limits::INTERFACES);
            return Err(Why(Uncovered::NoRoom, words));
        }
        let entry = self.enter(link)?;
        let how @ (attach, if_held) = self.policy.attach_on(&link.name);
        match kernel.attach_interface(&Wanted { link, attach, if_held }) {
            Ok(attached) => {
                let (name, ethernet) = (link.name.clone(), link.ethernet);
                Ok(Covered { name, how, ethernet, entry, attached })
            }
            Err(Refusal { held, words }) => {
                if entry {
                    self.forget_entry(link.index);
                }
                Err(Why(if held { Uncovered::Held } else { Uncovered::Refused }, words))
            }
        }
    }

    /// Tells the kernel programs what they must know of an interface. Whether it takes an entry: without one, the rules that
    /// ask about interfaces don't hold there and frames begin with an Ethernet header.
    fn enter(&self, link: &Link) -> Result<bool, Why> {
        if link.ethernet && !self.policy.is_asked_for(&link.name) {
            return Ok(false);
        }
        self.write_entry(link)?;
        Ok(true)
    }

    fn write_entry(&self, link: &Link) -> Result<(), Why> {
        let same = |index: &u32| index % limits::INTERFACES == link.index % limits::INTERFACES;
        let taken = self
            .covered
            .iter()
            .find(|(index, covered)| **index != link.index && covered.entry && same(index));
        if let Some((_, other)) = taken {
            let words = format!(
                "interface {}: its number has the same low {} bits as that of {}, so one table can't know both",
                link.name,
                limits::INTERFACES.ilog2(),
                other.name
            );
            return Err(Why(Uncovered::NoRoom, words));
        }
        let known = self.rates.know_interface(link.index, link.ethernet, self.policy.rules_on(&link.name));
        known.map_err(|error| Why(Uncovered::Refused, format!("interface {}: {error:#}", link.name)))
    }

    fn forget_entry(&self, index: u32) {
        if let Err(error) = self.rates.forget_interface(index) {
            tracing::warn!("{error:#}");
        }
    }

    /// Lets go of what is no longer there.
    fn forget_gone(&mut self, look: &Look) -> bool {
        let there: BTreeSet<u32> = look.links.iter().map(|link| link.index).collect();
        let gone: Vec<u32> = self.covered.keys().copied().filter(|index| !there.contains(index)).collect();
        for index in &gone {
            if let Some(covered) = self.uncover(*index) {
                tracing::info!(interface = covered.name, "this interface is gone");
                self.counters.interfaces.changed(Change::Vanished);
            }
        }
        let before = self.failed.len();
        let wanted = |index: &u32| {
            look.links.iter().any(|link| link.index == *index && self.selection.takes(link, &look.routed))
        };
        self.failed.retain(|index, _| wanted(index));
        !gone.is_empty() || before != self.failed.len()
    }

    /// Takes the programs off, also where the interface lives on in another network namespace.
    fn uncover(&mut self, index: u32) -> Option<Covered> {
        let covered = self.covered.remove(&index)?;
        if covered.entry {
            self.forget_entry(index);
        }
        Some(covered)
    }

    /// An interface has another name: other rules may hold there, and other ways to attach.
    fn rename(&mut self, link: &Link) -> bool {
        let Some(covered) = self.covered.get(&link.index).filter(|covered| covered.name != link.name) else {
            return false;
        };
        tracing::info!(interface = covered.name, to = link.name, "this interface was renamed");
        self.counters.interfaces.changed(Change::Renamed);
        let stays = self.selection.keeps(&link.name) && covered.how == self.policy.attach_on(&link.name);
        let entry = if stays { self.enter(link).ok() } else { None };
        match entry {
            Some(entry) => {
                if covered.entry && !entry {
                    self.forget_entry(link.index);
                }
                if let Some(covered) = self.covered.get_mut(&link.index) {
                    covered.name.clone_from(&link.name);
                    covered.entry = entry;
                }
            }
            // It is covered anew if it should be.
            None => drop(self.uncover(link.index)),
        }
        true
    }

    /// Whether somebody took our programs off; then they are attached again.
    fn check(&mut self, interfaces: &mut Interfaces, link: &Link, closely: bool) -> bool {
        let Some(covered) = self.covered.get(&link.index).filter(|_| closely) else { return false };
        match covered.attached.is_there(link, interfaces) {
            Ok(true) => false,
            Ok(false) => {
                tracing::warn!(interface = link.name, "somebody took our packet programs off this interface");
                self.counters.interfaces.changed(Change::Detached);
                drop(self.uncover(link.index));
                true
            }
            Err(error) => {
                tracing::warn!(interface = link.name, "{error:#}");
                false
            }
        }
    }

    /// Says of names in the configuration, once, that there is no interface for them.
    fn tell_missing(&mut self, look: &Look) -> bool {
        let missing: BTreeSet<String> = self
            .selection
            .names()
            .filter(|name| look.links.iter().all(|link| link.name != *name))
            .map(str::to_owned)
            .collect();
        for name in missing.difference(&self.missing) {
            tracing::warn!("packets are not limited: there is no interface {name:?} at present");
            self.counters.interfaces.changed(Change::Uncovered);
        }
        let changed = missing != self.missing;
        self.missing = missing;
        changed
    }

    /// What could not be covered and must be, in words: interfaces that were named, or have a default route.
    pub fn failures(&self) -> impl Iterator<Item = &str> {
        let musts = self.failed.values().filter(|failed| self.selection.must_have(&failed.link.name));
        musts.map(|failed| &*failed.words)
    }

    /// The ids of all programs that are attached.
    pub fn programs(&self) -> impl Iterator<Item = u32> {
        self.covered.values().flat_map(|covered| covered.attached.programs())
    }

    /// Where what is attached is pinned.
    pub fn pins(&self) -> impl Iterator<Item = PathBuf> {
        self.covered.values().flat_map(|covered| covered.attached.pins())
    }

    /// Puts its own programs where those of another generation may have taken over, and takes off what that one attached.
    pub fn take_back(&mut self, kernel: &mut Kernel) {
        for (index, covered) in &mut self.covered {
            let Covered { name, ethernet, .. } = covered;
            let link = Link { index: *index, name: name.clone(), ethernet: *ethernet, ..Link::default() };
            let (attach, if_held) = covered.how;
            match kernel.attach_interface(&Wanted { link: &link, attach, if_held }) {
                Ok(attached) => std::mem::replace(&mut covered.attached, attached).hand_over(),
                Err(error) => tracing::error!("{error}"),
            }
        }
        if let Some(pins) = kernel.pins() {
            pins.take_off_interfaces(&self.pins().collect::<Vec<_>>());
        }
    }

    /// Lets go of what another has taken over.
    pub fn hand_over(self) {
        self.covered.into_values().for_each(|covered| covered.attached.hand_over());
    }

    /// How many interfaces are covered.
    pub fn count(&self) -> usize {
        self.covered.len()
    }

    /// For the metrics.
    pub fn facts(&self) -> metrics::Interfaces {
        let attachment = |covered: &Covered| metrics::Attachment {
            interface: covered.name.clone(),
            mode: covered.attached.mode,
        };
        let count = |why: Uncovered| self.failed.values().filter(|failed| failed.why == why).count() as u64;
        let mut uncovered = Uncovered::ALL.map(count);
        uncovered[Uncovered::Missing as usize] = self.missing.len() as u64;
        metrics::Interfaces {
            attachments: self.covered.values().take(metrics::Interfaces::SHOWN).map(attachment).collect(),
            covered: self.covered.len() as u64,
            uncovered,
        }
    }
}
