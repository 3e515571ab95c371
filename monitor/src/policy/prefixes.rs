//! Sets of rules by address: what a table of longest prefixes must hold so that one look-up finds every rule.

use std::{collections::BTreeMap, net::IpAddr};

use monitor_common::{addr::Addr, policy::RuleSet};

/// The length in bits (of the 128 of a mapped address) of a prefix, and its network.
pub(super) type Prefix = (u32, [u8; 16]);

/// By prefix, the rules that list it.
#[derive(Clone, Debug, Default)]
pub struct Prefixes {
    entries: BTreeMap<Prefix, RuleSet>,
}

/// All IPv4 addresses in mapped form.
const V4: Prefix = (96, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0]);

impl Prefixes {
    /// Collects the prefixes of rules, each with its length as written.
    #[must_use]
    pub fn new<'a>(lists: impl Iterator<Item = (usize, &'a [(IpAddr, u8)])>) -> Self {
        let mut listed: BTreeMap<Prefix, RuleSet> = BTreeMap::new();
        for (rule, list) in lists {
            for prefix in list {
                listed.entry(key(prefix)).or_insert(RuleSet::EMPTY).insert(rule);
            }
        }
        Self { entries: nested(listed, RuleSet::EMPTY, RuleSet::add) }
    }

    /// Entries as they go to the table.
    pub(super) fn from_entries(entries: BTreeMap<Prefix, RuleSet>) -> Self {
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
        self.longest(addr).unwrap_or(RuleSet::EMPTY)
    }

    /// The entry with the longest prefix around an address.
    pub(super) fn longest(&self, addr: &Addr) -> Option<RuleSet> {
        let find = |length: u32| self.entries.get(&(length, masked(addr, length)));
        (0..=128).rev().find_map(find).copied()
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

/// What a table of longest prefixes must hold, from what was said of each prefix. It finds the longest prefix only, so
/// each bears what is said of those around it as well.
pub(super) fn nested<V: Copy>(
    mut listed: BTreeMap<Prefix, V>,
    nothing: V,
    add: impl Fn(&mut V, &V),
) -> BTreeMap<Prefix, V> {
    if listed.is_empty() {
        return listed;
    }
    // A short IPv6 prefix doesn't mean the IPv4 addresses that share the table.
    listed.entry(V4).or_insert(nothing);
    let mut sorted: Vec<(Prefix, V)> = listed.into_iter().collect();
    // In this order a prefix comes after those around it, and before all that isn't in it.
    sorted.sort_unstable_by_key(|((length, network), _)| (*network, *length));
    let mut around: Vec<(Prefix, V)> = Vec::new();
    for (prefix, value) in &mut sorted {
        while around
            .pop_if(|((length, network), _)| masked(&Addr { bytes: prefix.1 }, *length) != *network)
            .is_some()
        {}
        if *prefix != V4
            && let Some((_, outer)) = around.last()
        {
            add(value, outer);
        }
        around.push((*prefix, *value));
    }
    sorted.into_iter().collect()
}

/// Where a prefix is in a table.
pub(super) fn key(prefix: &(IpAddr, u8)) -> Prefix {
    let (addr, length) = mapped(prefix);
    (length, masked(&addr, length))
}

/// A prefix in mapped form.
pub(super) fn mapped((addr, length): &(IpAddr, u8)) -> (Addr, u32) {
    let before = if addr.is_ipv4() { 96 } else { 0 };
    (Addr::from(*addr), u32::from(*length) + before)
}

/// An address without the bits after the first ones.
pub(super) fn masked(addr: &Addr, length: u32) -> [u8; 16] {
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
