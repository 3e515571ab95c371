//! Who isn't banned, whoever asks for it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::prefix::{Prefix, Set};

/// IPv4 networks shorter than this take `--force`.
const SHORTEST_V4: u8 = 8;
/// IPv6 networks shorter than this take `--force`.
const SHORTEST_V6: u8 = 16;

/// Why a ban is not taken, if it isn't.
pub(super) fn refusal(prefix: &Prefix, protected: &Set, force: bool) -> Option<String> {
    let loopback = [
        Prefix::of(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
        Prefix::of(IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
    ];
    if loopback.iter().any(|loopback| loopback.contains(prefix)) {
        return Some("it is this host itself".to_owned());
    }
    if let Some(around) = protected.around(prefix) {
        return Some(format!(
            "it is protected by {around} ([agent] protect, a current SSH session, a default gateway, or who reads the metrics)"
        ));
    }
    let shortest = if prefix.is_v4() { SHORTEST_V4 } else { SHORTEST_V6 };
    if !force && prefix.shown_length() < shortest {
        return Some(format!(
            "it is most of the Internet: networks shorter than /{shortest} take --force; whoever is protected stays so"
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_hurt_or_not_hold_is_refused_with_the_reason() {
        let protected: Set =
            ["10.0.0.0/24", "2001:db8::7"].iter().map(|text| text.parse().unwrap()).collect();
        let why = |text: &str, force| refusal(&text.parse().unwrap(), &protected, force);
        for text in ["127.0.0.1", "127.0.0.0/8", "::1", "10.0.0.9", "10.0.0.0/24", "2001:db8::7"] {
            assert!(why(text, false).is_some(), "{text}");
            assert!(why(text, true).is_some(), "{text} by force");
        }
        for text in ["0.0.0.0/0", "::/0", "10.0.0.0/7", "2000::/3"] {
            assert!(why(text, false).is_some(), "{text}");
            assert_eq!(why(text, true), None, "{text} by force");
        }
        for text in ["203.0.113.7", "10.0.0.0/8", "10.0.1.0/24", "2001:db8::/64", "2001:db8::8"] {
            assert_eq!(why(text, false), None, "{text}");
        }
        let loud = why("10.0.0.9", false).unwrap();
        assert!(loud.contains("10.0.0.0/24"), "{loud}");
    }
}
