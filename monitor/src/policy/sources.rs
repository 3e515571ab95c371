//! Which rate limits hold for an address.

use std::{collections::BTreeMap, net::IpAddr};

use monitor_common::{addr::Addr, policy::RuleSet};

use super::prefixes::{Prefix, Prefixes, key, nested};

/// The rate limits that hold for each address: in its longest prefix, or for those that are in none.
#[derive(Clone, Debug)]
pub struct Sources {
    /// All rules that hold for the addresses of a prefix, those that don't ask included.
    pub prefixes: Prefixes,
    /// Rules that ask about the address.
    pub listed: RuleSet,
    /// All rules that hold for an address that is in no prefix.
    pub unlisted: RuleSet,
}

/// What is said of a prefix.
#[derive(Clone, Copy)]
struct Said {
    /// Rules that are for it.
    only: RuleSet,
    /// Rules that are not for it, whatever else they say.
    never: RuleSet,
}

impl Said {
    const NOTHING: Self = Self { only: RuleSet::EMPTY, never: RuleSet::EMPTY };

    fn add(&mut self, other: &Self) {
        self.only.add(&other.only);
        self.never.add(&other.never);
    }
}

/// The addresses that a rule asks about: those it is for (none: any), and those it is not for.
pub(crate) type Asked<'a> = (Option<&'a [(IpAddr, u8)]>, &'a [(IpAddr, u8)]);

impl Sources {
    /// Collects what rules ask, in the order of their bits.
    pub(crate) fn new<'a>(rules: impl Iterator<Item = Asked<'a>>) -> Self {
        let mut said: BTreeMap<Prefix, Said> = BTreeMap::new();
        let (mut listed, mut unlisted) = (RuleSet::EMPTY, RuleSet::EMPTY);
        for (rule, (only, never)) in rules.enumerate() {
            if only.is_none() {
                unlisted.insert(rule);
            }
            if only.is_some() || !never.is_empty() {
                listed.insert(rule);
            }
            for prefix in only.unwrap_or_default() {
                said.entry(key(prefix)).or_insert(Said::NOTHING).only.insert(rule);
            }
            for prefix in never {
                said.entry(key(prefix)).or_insert(Said::NOTHING).never.insert(rule);
            }
        }
        let said = nested(said, Said::NOTHING, Said::add);
        let held =
            said.into_iter().map(|(prefix, said)| (prefix, unlisted.or(&said.only).without(&said.never)));
        Self { prefixes: Prefixes::from_entries(held.collect()), listed, unlisted }
    }

    /// The rules that hold for an address.
    #[must_use]
    pub fn look_up(&self, addr: &Addr) -> RuleSet {
        self.prefixes.longest(addr).unwrap_or(self.unlisted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{net::Ipv4Addr, time::Instant};

    type Rule = (Option<Vec<(IpAddr, u8)>>, Vec<(IpAddr, u8)>);

    fn sources(rules: &[Rule]) -> Sources {
        Sources::new(rules.iter().map(|(only, never)| (only.as_deref(), &never[..])))
    }

    fn networks(list: &[&str]) -> Vec<(IpAddr, u8)> {
        let parse = |text: &&str| {
            let (address, length) = text.split_once('/').unwrap();
            (address.parse().unwrap(), length.parse().unwrap())
        };
        list.iter().map(parse).collect()
    }

    #[test]
    fn an_exception_stays_one_whatever_is_listed_around_it() {
        let rules = [
            (Some(networks(&["10.0.0.0/8"])), networks(&["10.1.0.0/16"])),
            // A smaller network inside of an exception is excepted, too.
            (Some(networks(&["10.0.0.0/8", "10.1.2.0/24"])), networks(&["10.1.0.0/16"])),
            (None, networks(&["10.1.2.3/32", "fd00::/8"])),
            (Some(networks(&["::/0"])), vec![]),
            (None, vec![]),
        ];
        let found = sources(&rules);
        let look = |text: &str| found.look_up(&Addr::from(text.parse::<IpAddr>().unwrap())).bits[0];
        assert_eq!((found.listed.bits[0], found.unlisted.bits[0]), (0b01111, 0b10100));
        assert_eq!([look("10.2.0.1"), look("10.1.2.4"), look("10.1.2.3")], [0b10111, 0b10100, 0b10000]);
        assert_eq!([look("192.0.2.1"), look("2001:db8::1"), look("fd00::1")], [0b10100, 0b11100, 0b11000]);
        assert!(sources(&[(None, vec![])]).prefixes.is_empty());
    }

    proptest! {
        /// Against looking at every prefix.
        #[test]
        fn agrees_with_a_plain_search(
            rules in prop::collection::vec(
                (prop::option::of(prop::collection::vec((0_u32..64, 0_u8..=32), 1..5)),
                 prop::collection::vec((0_u32..64, 24_u8..=32), 0..4)), 1..6),
            asked in 0_u32..64,
        ) {
            let v4 = |n: u32| Ipv4Addr::from(n.rotate_right(8));
            let list = |list: &[(u32, u8)]| -> Vec<(IpAddr, u8)> {
                list.iter().map(|(n, len)| (v4(*n).into(), *len)).collect()
            };
            let rules: Vec<Rule> =
                rules.iter().map(|(only, never)| (only.as_deref().map(list), list(never))).collect();
            let within = |networks: &[(IpAddr, u8)]| networks.iter().any(|network| {
                key(&(v4(asked).into(), network.1)).1 == key(network).1
            });
            let mut expected = RuleSet::EMPTY;
            for (rule, (only, never)) in rules.iter().enumerate() {
                if only.as_deref().is_none_or(within) && !within(never) {
                    expected.insert(rule);
                }
            }
            prop_assert_eq!(sources(&rules).look_up(&Addr::v4(v4(asked).octets())), expected);
        }
    }

    #[test]
    fn many_prefixes_take_no_time() {
        // One of each length inside of the one before, and neighbours.
        let list: Vec<(IpAddr, u8)> = (0..100_000_u32)
            .map(|n| (Ipv4Addr::from(n.wrapping_mul(2_654_435_761)).into(), 8 + (n % 25) as u8))
            .collect();
        let rules = [(Some(list.clone()), vec![]), (None, list)];
        let started = Instant::now();
        assert!(sources(&rules).prefixes.len() > 50_000);
        // A debug build on a busy machine; it is a twentieth of that else.
        assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
    }
}
