//! What rate limits reach together.

use super::found;

/// A limit of packets to ports 1 to 5.
fn limit(name: usize, keys: &str) -> String {
    format!("[[rate_limit]]\nname = \"{name}\"\nports = [\"1-5\"]\npackets = \"1/s\"\n{keys}\n")
}

/// As many limits, each with what it says.
fn limits(count: usize, keys: impl Fn(usize) -> String) -> String {
    (0..count).map(|index| limit(index, &keys(index))).collect()
}

#[test]
fn a_packet_has_a_bound() {
    let help = "join some of them: one rule can limit packets, connections and bytes";
    let refused = |line: u32, packet: &str| {
        [format!("{line}:1 error: more than 6 rate limits apply to a packet {packet} | {help}")]
    };
    let six = limits(6, |_| "protocol = \"tcp\"".into());
    assert_eq!(found(&(six.clone() + &limit(6, "protocol = \"udp\""))), [""; 0]);
    assert_eq!(found(&(six.clone() + &limit(6, ""))), refused(31, "to TCP port 1"));
    assert_eq!(
        found(&(six.clone() + &limit(6, "sources = [\"10.0.0.0/8\"]"))),
        refused(31, "to TCP port 1 from 10.0.0.0/8")
    );
    assert_eq!(
        found(&(six.clone() + &limit(6, "interfaces = [\"eth0\"]"))),
        refused(31, "to TCP port 1 on `eth0`")
    );
    // Nobody knows what a glob matches.
    assert_eq!(
        found(&(six.clone() + &limit(6, "interfaces = [\"eth0\", \"wg*\"]"))),
        refused(31, "to TCP port 1")
    );
    let seven = limits(7, |_| "protocol = \"tcp\"".into());
    assert_eq!(found(&(seven + &limit(7, ""))).len(), 2);
}

#[test]
fn limits_that_no_packet_shares_are_not_counted_together() {
    let list = |key: &str, entry: String| format!("{key} = [\"{entry}\"]");
    assert_eq!(found(&limits(64, |index| list("sources", format!("10.{index}.0.0/16")))), [""; 0]);
    assert_eq!(found(&limits(64, |index| list("interfaces", format!("eth{index}")))), [""; 0]);
    // One network inside of the other, and one for everybody.
    let nested = |index: usize| list("sources", format!("10.0.0.0/{}", 8 + index));
    assert_eq!(found(&limits(6, nested)), [""; 0]);
    assert_eq!(
        found(&(limits(6, nested) + &limit(6, ""))),
        [
            "31:1 error: more than 6 rate limits apply to a packet to TCP port 1 from 10.0.0.0/13 | join some of them: one rule can limit packets, connections and bytes"
        ]
    );
    assert_eq!(found(&(limits(6, nested) + &limit(6, "except = [\"10.0.0.0/9\"]"))), [""; 0]);
}

#[test]
fn many_limits_take_no_time() {
    // Every rule has ports of its own and shares others, and so with networks.
    let text: String = (0..255)
        .map(|index: u32| {
            let ports: Vec<_> = (0..120)
                .map(|port| format!("\"{}-{}\"", 1 + port * 500 + index, 400 + port * 500 - index / 2))
                .collect();
            let sources: Vec<_> =
                (0..200).map(|n| format!("\"10.{n}.{index}.0/{}\"", 16 + (n + index) % 16)).collect();
            format!(
                "[[rate_limit]]\nname = \"{index}\"\nports = [{}]\npackets = \"1/s\"\nsources = [{}]\n",
                ports.join(","),
                sources.join(",")
            )
        })
        .collect();
    let started = std::time::Instant::now();
    assert!(found(&text).iter().any(|line| line.contains("rate limits apply")));
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}

#[test]
fn there_is_one_rate_limit_less_than_other_rules() {
    let text = |count: usize| limits(count, |index| format!("sources = [\"10.{index}.0.0/16\"]"));
    assert_eq!(found(&text(255)), [""; 0]);
    assert_eq!(
        found(&text(256)),
        [
            "1276:1 error: more than 255 rate limits | a configuration may have up to 255 rate limits: merge some"
        ]
    );
}

#[test]
fn prefixes_have_a_bound() {
    let sources = |net: u32, count: u32| {
        let list: Vec<_> =
            (0..count).map(|n| format!("\"{net}.{}.{}.{}\"", n >> 16, n >> 8 & 0xff, n & 0xff)).collect();
        format!(
            "[[rate_limit]]\nname = \"{net}\"\nports = [1]\npackets = \"1/s\"\nsources = [{}]\n",
            list.join(",")
        )
    };
    assert_eq!(found(&(sources(10, 60_000) + &sources(11, 39_999))), [""; 0]);
    assert_eq!(
        found(&(sources(10, 60_000) + &sources(11, 40_001))),
        [
            "6:1 error: more than 100000 prefixes in `addresses`, `sources` and `except` together | join neighbouring networks: write shorter prefixes"
        ]
    );
}
