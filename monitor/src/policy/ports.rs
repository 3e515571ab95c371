//! Sets of rules by port: what the flat tables of the kernel programs hold.

use std::{
    collections::BTreeMap,
    ops::{Range, RangeInclusive},
};

use monitor_common::{
    packet::{TCP, UDP},
    policy::{RuleSet, ports::port_index},
};

use crate::config::Protocol;

/// The ports that a rule speaks of: sorted, no two ranges overlap or touch.
type Ports<'a> = (Protocol, &'a [RangeInclusive<u16>]);

/// Rules by port index.
pub(super) fn by_port<'a>(rules: impl Iterator<Item = Ports<'a>>) -> BTreeMap<u32, RuleSet> {
    let runs = runs(rules);
    runs.into_iter().flat_map(|(indices, rules)| indices.map(move |index| (index, rules))).collect()
}

/// Runs of port indices of which the same rules speak, at least one.
pub(crate) fn runs<'a>(rules: impl Iterator<Item = Ports<'a>>) -> Vec<(Range<u32>, RuleSet)> {
    let mut changes: Vec<(u32, bool, usize)> = Vec::new();
    for (rule, (protocol, ranges)) in rules.enumerate() {
        for range in ranges {
            for (first, last) in indices(protocol, *range.start()).zip(indices(protocol, *range.end())) {
                changes.extend([(first, true, rule), (last + 1, false, rule)]);
            }
        }
    }
    changes.sort_unstable();
    let mut runs = Vec::new();
    let (mut here, mut from) = (RuleSet::EMPTY, 0);
    for (at, begins, rule) in changes {
        if at > from && !here.is_empty() {
            runs.push((from..at, here));
        }
        from = at;
        let mut one = RuleSet::EMPTY;
        one.insert(rule);
        here = if begins { here.or(&one) } else { here.without(&one) };
    }
    runs
}

/// The port indices of a port.
pub(super) fn indices(protocol: Protocol, port: u16) -> impl Iterator<Item = u32> {
    let tcp = protocol.has_tcp().then(|| port_index(TCP, port));
    let udp = protocol.has_udp().then(|| port_index(UDP, port));
    tcp.into_iter().chain(udp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Joins ranges as the configuration does.
    fn joined(ranges: &[(u16, u16)]) -> Vec<RangeInclusive<u16>> {
        let mut all = vec![false; 1 << 16];
        ranges.iter().for_each(|(at, more)| {
            (*at..=at.saturating_add(*more)).for_each(|port| all[usize::from(port)] = true)
        });
        let starts =
            (0..=u16::MAX).filter(|at| all[usize::from(*at)] && (*at == 0 || !all[usize::from(*at) - 1]));
        starts
            .map(|at| at..=(at..=u16::MAX).take_while(|end| all[usize::from(*end)]).last().unwrap())
            .collect()
    }

    proptest! {
        /// Against looking at every port.
        #[test]
        fn agrees_with_a_plain_search(
            rules in prop::collection::vec(
                (0_usize..3, prop::collection::vec((65_500_u16..=65_535, 0_u16..9), 0..5)), 0..6),
        ) {
            let protocols = [Protocol::Tcp, Protocol::Udp, Protocol::Any];
            let rules: Vec<_> =
                rules.iter().map(|(protocol, ranges)| (protocols[*protocol], joined(ranges))).collect();
            let found = by_port(rules.iter().map(|(protocol, ranges)| (*protocol, &ranges[..])));
            for port in 65_490..=65_535 {
                for (of, number) in [(Protocol::Tcp, TCP), (Protocol::Udp, UDP)] {
                    let mut expected = RuleSet::EMPTY;
                    for (rule, (protocol, ranges)) in rules.iter().enumerate() {
                        let speaks = *protocol == of || *protocol == Protocol::Any;
                        if speaks && ranges.iter().any(|range| range.contains(&port)) {
                            expected.insert(rule);
                        }
                    }
                    let at = found.get(&port_index(number, port)).copied();
                    prop_assert_eq!(at, Some(expected).filter(|rules| !rules.is_empty()));
                }
            }
        }
    }

    #[test]
    fn the_last_port_of_tcp_does_not_run_into_udp() {
        let all = [0..=u16::MAX];
        let found = runs([(Protocol::Tcp, &all[..]), (Protocol::Any, &all[..])].into_iter());
        let shown: Vec<_> = found.iter().map(|(indices, rules)| (indices.clone(), rules.bits[0])).collect();
        assert_eq!(shown, [(0..65_536, 3), (65_536..131_072, 2)]);
    }
}
