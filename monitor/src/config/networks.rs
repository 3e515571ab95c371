//! Sets of networks, to compare rules.

use std::net::IpAddr;

use super::net::Network;

/// A first and a last address as numbers, after whether they are IPv6.
type Range = (bool, u128, u128);

/// The addresses of a list of networks.
pub(crate) struct Networks {
    /// Sorted, no two overlap.
    merged: Vec<Range>,
    /// Sorted, as they were given.
    each: Vec<Range>,
}

impl Networks {
    pub fn new(list: &[Network]) -> Self {
        let mut each: Vec<_> = list.iter().map(range).collect();
        each.sort_unstable();
        let mut merged: Vec<Range> = Vec::with_capacity(each.len());
        for next in &each {
            match merged.last_mut() {
                Some(last) if last.0 == next.0 && next.1 <= last.2.saturating_add(1) => {
                    last.2 = last.2.max(next.2)
                }
                _ => merged.push(*next),
            }
        }
        Self { merged, each }
    }

    /// Whether it has every address there is.
    pub fn is_everything(&self) -> bool {
        self.merged == [(false, 0, u32::MAX.into()), (true, 0, u128::MAX)]
    }

    /// Whether one of its addresses is in a network.
    pub fn meets(&self, network: &Network) -> bool {
        let (v6, first, last) = range(network);
        let at = self.merged.partition_point(|range| (range.0, range.2) < (v6, first));
        self.merged.get(at).is_some_and(|range| range.0 == v6 && range.1 <= last)
    }

    /// Whether it has all addresses of another.
    pub fn covers(&self, other: &Self) -> bool {
        other.merged.iter().all(|(v6, first, last)| {
            let at = self.merged.partition_point(|range| (range.0, range.2) < (*v6, *first));
            self.merged.get(at).is_some_and(|range| range.0 == *v6 && range.1 <= *first && *last <= range.2)
        })
    }

    /// Whether a rule for these addresses (any, if the list is empty) leaves nothing to a later one at one of its networks at least. A smaller
    /// network before a larger one that it lies in hides nothing: it is an exception.
    pub fn hides(&self, later: &Self) -> bool {
        if self.merged.is_empty() {
            return true;
        }
        let mut merged = self.merged.iter().peekable();
        later.each.iter().any(|(v6, first, last)| {
            // Both are sorted, so what ends before this network ends before the ones after it.
            while merged.next_if(|range| (range.0, range.2) < (*v6, *first)).is_some() {}
            merged.peek().is_some_and(|range| range.0 == *v6 && range.1 <= *first && *last <= range.2)
        })
    }
}

fn range((address, length): &Network) -> Range {
    match address {
        IpAddr::V4(address) => {
            let hosts = u32::MAX.checked_shr(u32::from(*length)).unwrap_or(0);
            let first = address.to_bits();
            (false, first.into(), (first | hosts).into())
        }
        IpAddr::V6(address) => {
            let hosts = u128::MAX.checked_shr(u32::from(*length)).unwrap_or(0);
            (true, address.to_bits(), address.to_bits() | hosts)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(list: &[&str]) -> Networks {
        let parse = |text: &&str| crate::config::net::prefix(text).unwrap().0;
        Networks::new(&list.iter().map(parse).collect::<Vec<_>>())
    }

    #[test]
    fn a_network_is_hidden_by_those_it_lies_in() {
        let hides = |earlier: &[&str], later: &[&str]| networks(earlier).hides(&networks(later));
        assert!(hides(&[], &[]) && hides(&[], &["10.0.0.1"]));
        assert!(!hides(&["10.0.0.1"], &[]));
        assert!(hides(&["10.0.0.0/8"], &["10.2.0.0/16"]));
        assert!(!hides(&["10.2.0.0/16"], &["10.0.0.0/8"]));
        assert!(hides(&["10.0.0.0/25", "10.0.0.128/25"], &["10.0.0.0/24"]));
        assert!(hides(&["10.0.0.0/8", "fd00::/8"], &["9.0.0.0/8", "192.0.2.0/24", "fd00::1"]));
        assert!(!hides(&["10.0.0.0/8", "fd00::/8"], &["9.0.0.0/8", "192.0.2.0/24", "fe00::1"]));
        assert!(!hides(&["::/0"], &["10.0.0.1"]) && hides(&["::/0"], &["fd00::1"]));
        assert!(hides(&["0.0.0.0/0"], &["255.255.255.255"]) && hides(&["::/0"], &["::/0"]));
    }
    #[test]
    fn what_is_in_a_network() {
        let some = networks(&["10.0.0.0/25", "10.0.0.128/25", "fd00::/8"]);
        let meets = |text: &str| some.meets(&crate::config::net::prefix(text).unwrap().0);
        assert!(meets("10.0.0.7") && meets("10.0.0.0/8") && meets("fd00::1") && meets("::/0"));
        assert!(!meets("10.0.1.0/24") && !meets("9.0.0.0/8") && !meets("fe00::/8") && !meets("::1"));
        let covers = |list: &[&str]| some.covers(&networks(list));
        assert!(covers(&[]) && covers(&["10.0.0.0/24"]) && covers(&["10.0.0.9", "fd00::/16"]));
        assert!(!covers(&["10.0.0.0/23"]) && !covers(&["10.0.0.9", "fc00::/7"]) && !covers(&["::ffff"]));
        assert!(networks(&["::/1", "8000::/1", "0.0.0.0/0"]).is_everything());
        assert!(!networks(&["::/0"]).is_everything() && !networks(&["::/1", "0.0.0.0/0"]).is_everything());
    }
}
