//! What a policy says by the name of an interface.

use std::{collections::HashMap, fmt};

use anyhow::Result;
use monitor_common::policy::{Membership, RuleSet};

use super::globs::{self, Globs, Text};
use crate::config::{Attach, Config, IfHeld, PacketInterface, Packets, Spanned, is_glob};

/// What a policy says of interfaces: which rate limits hold there, and how the packet programs get there.
pub struct OnInterfaces {
    /// Those that ask about the interface.
    asking: ByInterface,
    /// Those that don't.
    everywhere: RuleSet,
    packets: Packets,
    overrides: ByInterface,
}

impl OnInterfaces {
    /// Takes the rate limits, as they were compiled, and the rest of the configuration.
    ///
    /// # Errors
    /// The globs are too complex.
    pub(super) fn new(config: &Config, asking: ByInterface, everywhere: RuleSet) -> Result<Self> {
        let named = config.packets.interfaces.iter().map(|interface| std::slice::from_ref(&interface.name));
        let overrides = ByInterface::new(named.enumerate())?;
        Ok(Self { asking, everywhere, overrides, packets: config.packets.clone() })
    }

    /// All rate limits that hold on an interface, those that don't ask included.
    #[must_use]
    pub fn rules_on(&self, interface: &str) -> RuleSet {
        self.everywhere.or(&self.asking.look_up(interface))
    }

    /// Whether a rate limit that asks about the interface holds there.
    #[must_use]
    pub fn is_asked_for(&self, interface: &str) -> bool {
        !self.asking.look_up(interface).is_empty()
    }

    /// How the packet programs attach to an interface, and what to do where another program holds it.
    #[must_use]
    pub fn attach_on(&self, interface: &str) -> (Attach, IfHeld) {
        let first = self.overrides.look_up(interface).take_first();
        match first.and_then(|index| self.packets.interfaces.get(index as usize)) {
            Some(PacketInterface { attach, if_held, .. }) => (*attach, *if_held),
            None => (self.packets.attach, self.packets.if_held),
        }
    }
}

impl fmt::Debug for OnInterfaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnInterfaces").field("packets", &self.packets).finish_non_exhaustive()
    }
}

/// What names and globs of interfaces stand for.
#[derive(Default)]
pub struct ByInterface {
    names: HashMap<String, RuleSet>,
    globs: Option<Globs>,
}

impl ByInterface {
    /// Collects the names and globs of rules, or of whatever else has a number below that of the last rule.
    ///
    /// # Errors
    /// The globs are too complex.
    pub fn new<'a>(lists: impl Iterator<Item = (usize, &'a [Spanned<String>])>) -> Result<Self> {
        let mut names: HashMap<String, RuleSet> = HashMap::new();
        let mut globs = Vec::new();
        for (rule, list) in lists {
            for text in list.iter().map(|entry| &entry.value) {
                if is_glob(text) {
                    let mut member = Membership::NONE;
                    member.rules.insert(rule);
                    globs.push((Text::Interface(text.clone()), member));
                } else {
                    names.entry(text.clone()).or_insert(RuleSet::EMPTY).insert(rule);
                }
            }
        }
        let globs = if globs.is_empty() { None } else { Some(globs::compile(&globs)?) };
        Ok(Self { names, globs })
    }

    /// The rules that name an interface.
    #[must_use]
    pub fn look_up(&self, name: &str) -> RuleSet {
        let by_glob =
            self.globs.as_ref().map_or(RuleSet::EMPTY, |globs| globs.matches(name.as_bytes()).rules);
        self.names.get(name).map_or(by_glob, |by_name| by_name.or(&by_glob))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Place;

    #[test]
    fn names_and_globs_are_found() {
        let list = |texts: &[&str]| -> Vec<Spanned<String>> {
            let one = |text: &&str| Spanned { value: (*text).to_owned(), place: Place::default() };
            texts.iter().map(one).collect()
        };
        let lists = [list(&["eth0", "wg*"]), list(&["eth[0-2]", "{lo,br?}"]), list(&["*"])];
        let found = ByInterface::new(lists.iter().enumerate().map(|(rule, list)| (rule, &list[..]))).unwrap();
        let bits = |name: &str| found.look_up(name).bits[0];
        assert_eq!([bits("eth0"), bits("eth2"), bits("eth3"), bits("eth01")], [0b111, 0b110, 0b100, 0b100]);
        assert_eq!(
            [bits("wg"), bits("wg-office"), bits("lo"), bits("br"), bits("br0")],
            [0b101, 0b101, 0b110, 0b100, 0b110]
        );
        assert!(ByInterface::default().look_up("eth0").is_empty());
    }
}
