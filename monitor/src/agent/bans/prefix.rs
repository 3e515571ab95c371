//! Addresses and networks that are banned.

use std::{
    collections::{BTreeSet, HashSet},
    fmt,
    net::IpAddr,
    str::FromStr,
};

use monitor_common::{addr::Addr, limit::BanKey};

use crate::config;

/// An address or a network, its length in bits of the 128 of a mapped address. No bit beyond the length is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    bytes: [u8; 16],
    length: u8,
}

/// Where the packet program looks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One address: an entry of `BANS`.
    Host,
    /// The first 64 bits of an IPv6 address: an entry of `BANS`, too.
    Net64,
    /// Any other network: an entry of `BAN_NETS`.
    Net,
}

/// Bits in front of an IPv4 address in mapped form.
const MAPPED: u8 = 96;

impl Prefix {
    /// Every IPv4 address.
    pub const V4: Self = Self { bytes: Addr::v4([0; 4]).bytes, length: MAPPED };

    /// The network of this length (of 128) that an address is in.
    #[must_use]
    pub fn around(addr: &Addr, length: u8) -> Self {
        let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
        Self { bytes: (u128::from_be_bytes(addr.bytes) & mask).to_be_bytes(), length: length.min(128) }
    }

    /// From an address and a length as people write them.
    #[must_use]
    pub fn of(addr: IpAddr, length: u8) -> Self {
        let before = if addr.is_ipv4() { MAPPED } else { 0 };
        Self::around(&Addr::from(addr), length.saturating_add(before))
    }

    /// The first address.
    #[must_use]
    pub const fn addr(&self) -> Addr {
        Addr { bytes: self.bytes }
    }

    /// Length in bits of the 128.
    #[must_use]
    pub const fn length(&self) -> u8 {
        self.length
    }

    /// Whether it is of IPv4.
    #[must_use]
    pub fn is_v4(&self) -> bool {
        self.length >= MAPPED && self.addr().is_v4()
    }

    /// Length as people write it.
    #[must_use]
    pub fn shown_length(&self) -> u8 {
        if self.is_v4() { self.length - MAPPED } else { self.length }
    }

    /// Where the packet program looks for it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.length {
            128 => Kind::Host,
            64 => Kind::Net64,
            _ => Kind::Net,
        }
    }

    /// Its key in `BANS`, if it is one address or 64 bits long.
    #[must_use]
    pub fn key(&self) -> Option<BanKey> {
        let rule = match self.kind() {
            Kind::Host => 0,
            Kind::Net64 => BanKey::NET_64,
            Kind::Net => return None,
        };
        Some(BanKey { addr: self.addr(), rule })
    }

    /// Whether all of another is in it. A short IPv6 network has no IPv4 addresses, although their mapped forms are in it.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        self.is_v4() == other.is_v4()
            && self.length <= other.length
            && Self::around(&other.addr(), self.length) == *self
    }

    /// The last prefix in order that can be in it.
    #[must_use]
    pub fn last(&self) -> Self {
        let rest = u128::MAX.checked_shr(u32::from(self.length)).unwrap_or(0);
        Self { bytes: (u128::from_be_bytes(self.bytes) | rest).to_be_bytes(), length: 128 }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not as an address that may be mapped: `::ffff:0:0/90` is a network of IPv6.
        let addr = match self.is_v4() {
            true => IpAddr::from(self.addr()),
            false => IpAddr::V6(self.bytes.into()),
        };
        if self.length == 128 { write!(f, "{addr}") } else { write!(f, "{addr}/{}", self.shown_length()) }
    }
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match config::prefix(text) {
            Ok(((addr, length), _)) => Ok(Self::of(addr, length)),
            Err((message, help)) => Err(format!("{message}; {help}")),
        }
    }
}

/// A set of prefixes that is asked what is around an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    prefixes: HashSet<Prefix>,
    lengths: BTreeSet<u8>,
}

impl Set {
    /// The longest prefix of the set that a prefix lies in.
    #[must_use]
    pub fn around(&self, inner: &Prefix) -> Option<Prefix> {
        let lengths = self.lengths.range(..=inner.length).rev();
        let mut around = lengths.map(|length| Prefix::around(&inner.addr(), *length));
        around.find(|around| around.contains(inner) && self.prefixes.contains(around))
    }
}

impl FromIterator<Prefix> for Set {
    fn from_iter<T: IntoIterator<Item = Prefix>>(prefixes: T) -> Self {
        let prefixes: HashSet<Prefix> = prefixes.into_iter().collect();
        let lengths = prefixes.iter().map(Prefix::length).collect();
        Self { prefixes, lengths }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn is_shown_as_it_is_written() {
        for text in ["203.0.113.7", "10.0.0.0/8", "0.0.0.0/0", "2001:db8::1", "2001:db8::/64", "::/0"] {
            assert_eq!(prefix(text).to_string(), text);
        }
        assert_eq!(prefix("10.1.2.3/8").to_string(), "10.0.0.0/8");
        assert_eq!(prefix("::ffff:10.0.0.1").to_string(), "10.0.0.1");
        assert!("10.0.0.0/33".parse::<Prefix>().is_err());
    }

    #[test]
    fn families_do_not_contain_each_other() {
        assert!(prefix("10.0.0.0/8").contains(&prefix("10.9.0.0/16")));
        assert!(prefix("10.0.0.0/8").contains(&prefix("10.0.0.0/8")));
        assert!(!prefix("10.9.0.0/16").contains(&prefix("10.0.0.0/8")));
        assert!(!prefix("::/0").contains(&prefix("10.0.0.1")));
        assert!(prefix("::/0").contains(&prefix("2001:db8::/32")));
    }

    #[test]
    fn what_is_inside_is_in_order_between_first_and_last() {
        let outer = prefix("10.0.0.0/8");
        for inner in ["10.0.0.0/8", "10.0.0.0/9", "10.255.255.255", "10.0.0.0"] {
            assert!((outer..=outer.last()).contains(&prefix(inner)), "{inner}");
        }
        for other in ["11.0.0.0", "9.255.255.255", "10.0.0.0/7"] {
            assert!(!(outer..=outer.last()).contains(&prefix(other)), "{other}");
        }
    }
}
