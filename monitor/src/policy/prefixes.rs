//! Sets of rules by address: what a table of longest prefixes must hold so that one look-up finds every rule.

use std::{collections::BTreeMap, net::IpAddr};

use monitor_common::{addr::Addr, policy::RuleSet};

/// By length in bits (of the 128 of a mapped address) and network, the rules that list a prefix.
#[derive(Clone, Debug, Default)]
pub struct Prefixes {
    entries: BTreeMap<(u32, [u8; 16]), RuleSet>,
}

/// All IPv4 addresses in mapped form.
const V4: (u32, [u8; 16]) = (96, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0]);

impl Prefixes {
    /// Collects the prefixes of rules, each with its length as written.
    #[must_use]
    pub fn new<'a>(lists: impl Iterator<Item = (usize, &'a [(IpAddr, u8)])>) -> Self {
        let mut listed: BTreeMap<(u32, [u8; 16]), RuleSet> = BTreeMap::new();
        for (rule, list) in lists {
            for prefix in list {
                let (addr, length) = mapped(prefix);
                let key = (length, masked(&addr, length));
                listed.entry(key).or_insert(RuleSet::EMPTY).insert(rule);
            }
        }
        // A short IPv6 prefix doesn't mean the IPv4 addresses that share the table.
        listed.entry(V4).or_insert(RuleSet::EMPTY);
        // The table finds the longest prefix only, so each bears the rules of those around it as well.
        let mut lengths: Vec<u32> = listed.keys().map(|(length, _)| *length).collect();
        lengths.dedup();
        if listed.len() == 1 && listed[&V4].is_empty() {
            return Self::default();
        }
        let mut entries = listed.clone();
        for ((length, network), rules) in &mut entries {
            let network = Addr { bytes: *network };
            let least = if network.is_v4() && *length >= V4.0 { V4.0 } else { 0 };
            for shorter in lengths.iter().filter(|shorter| (least..*length).contains(shorter)) {
                if let Some(around) = listed.get(&(*shorter, masked(&network, *shorter))) {
                    rules.add(around);
                }
            }
        }
        Self { entries }
    }

    /// Has the unspecified addresses mean this host, as they do to `connect`.
    pub fn unspecified_is_loopback(&mut self) {
        let [v4, v6] = [Addr::v4([127, 0, 0, 1]), Addr::from(IpAddr::from(std::net::Ipv6Addr::LOCALHOST))];
        let here = self.look_up(&v4).or(&self.look_up(&v6));
        if here.is_empty() {
            return;
        }
        for any in [Addr::v4([0; 4]), Addr::UNSPECIFIED] {
            let rules = self.look_up(&any).or(&here);
            self.entries.insert((128, any.bytes), rules);
        }
    }

    /// The rules that list an address.
    #[must_use]
    pub fn look_up(&self, addr: &Addr) -> RuleSet {
        let find = |length: u32| self.entries.get(&(length, masked(addr, length)));
        (0..=128).rev().find_map(find).copied().unwrap_or(RuleSet::EMPTY)
    }

    /// As they go to the table: length, network and rules.
    pub fn entries(&self) -> impl Iterator<Item = (u32, Addr, &RuleSet)> {
        self.entries.iter().map(|((length, bytes), rules)| (*length, Addr { bytes: *bytes }, rules))
    }

    /// How many entries the table needs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// A prefix in mapped form.
pub(super) fn mapped((addr, length): &(IpAddr, u8)) -> (Addr, u32) {
    let before = if addr.is_ipv4() { 96 } else { 0 };
    (Addr::from(*addr), u32::from(*length) + before)
}

fn masked(addr: &Addr, length: u32) -> [u8; 16] {
    let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
    (u128::from_be_bytes(addr.bytes) & mask).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prefixes(lists: &[Vec<(IpAddr, u8)>]) -> Prefixes {
        Prefixes::new(lists.iter().enumerate().map(|(rule, list)| (rule, &list[..])))
    }

    fn holds(rules: &RuleSet) -> Vec<u16> {
        (0..8).filter(|rule| rules.contains(*rule)).collect()
    }

    #[test]
    fn one_look_up_finds_every_rule_around_an_address() {
        let table = prefixes(&[
            vec![("10.0.0.0".parse().unwrap(), 8)],
            vec![("10.1.0.0".parse().unwrap(), 16), ("::".parse().unwrap(), 0)],
        ]);
        let look = |text: &str| holds(&table.look_up(&Addr::from(text.parse::<IpAddr>().unwrap())));
        assert_eq!(look("10.1.2.3"), [0, 1]);
        assert_eq!(look("10.2.2.3"), [0]);
        assert_eq!(look("11.0.0.1"), [0; 0]);
        assert_eq!(look("fd00::1"), [1]);
    }

    #[test]
    fn to_connect_the_unspecified_address_is_this_host() {
        let mut table = prefixes(&[vec![("127.0.0.0".parse().unwrap(), 8)], vec![]]);
        table.unspecified_is_loopback();
        assert_eq!(holds(&table.look_up(&Addr::v4([0; 4]))), [0]);
        assert_eq!(holds(&table.look_up(&Addr::UNSPECIFIED)), [0]);
        assert_eq!(holds(&table.look_up(&Addr::v4([0, 0, 0, 1]))), [0; 0]);
    }

    proptest! {
        /// Against looking at every prefix.
        #[test]
        fn agrees_with_a_plain_search(
            lists in prop::collection::vec(prop::collection::vec((0_u32..64, 24_u8..=32), 0..6), 1..5),
            asked in 0_u32..64,
        ) {
            let v4 = |n: u32| std::net::Ipv4Addr::from(n.rotate_right(8));
            let lists: Vec<Vec<(IpAddr, u8)>> =
                lists.iter().map(|list| list.iter().map(|(n, len)| (v4(*n).into(), *len)).collect()).collect();
            let within = |(addr, len): &(IpAddr, u8)| {
                let (addr, len) = mapped(&(*addr, *len));
                masked(&addr, len) == masked(&Addr::v4(v4(asked).octets()), len)
            };
            let plain: Vec<u16> =
                lists.iter().enumerate().filter(|(_, list)| list.iter().any(within)).map(|(n, _)| n as u16).collect();
            prop_assert_eq!(holds(&prefixes(&lists).look_up(&Addr::v4(v4(asked).octets()))), plain);
        }
    }
}
