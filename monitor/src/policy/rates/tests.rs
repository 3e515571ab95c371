//! What the kernel programs read of rate limits.

use std::time::Instant;

use monitor_common::{limits, packet::UDP, policy::ports::port_index};

use super::*;
use crate::{
    config::{Attach, IfHeld},
    policy::{Compiled, Host, Unenforceable, ask::AnyAccounts},
};

const SECOND: u64 = 1_000_000_000;

fn rates(text: &str) -> Rates {
    Rates::new(&Config::from_text(text).unwrap()).unwrap()
}

fn rule(name: &str, more: &str) -> String {
    format!("[[rate_limit]]\nname = '{name}'\nports = [443]\npackets = '10/s'\n{more}\n")
}

/// The names of rules in the order of their bits.
fn order(config: &str) -> Vec<u32> {
    rates(config).rules.iter().map(|rule| rule.counter).collect()
}

#[test]
fn the_narrowest_limit_comes_first() {
    let text = ["rule", "source/24", "source", "source/48", "rule", "source/24/56", "source"]
        .iter()
        .enumerate()
        .map(|(index, per)| rule(&index.to_string(), &format!("per = '{per}'\nsources = ['10.0.0.{index}']")))
        .collect::<String>();
    assert_eq!(order(&text), [2, 6, 3, 1, 5, 0, 4]);
}

#[test]
fn every_table_has_the_bits_of_that_order() {
    let found = rates(
        &(rule("all", "per = 'rule'\nprotocol = 'tcp'")
            + &rule("some", "sources = ['10.0.0.0/8']\nexcept = ['10.1.0.0/16']\nprotocol = 'udp'")
            + &rule("there", "interfaces = ['eth0', 'wg*']")),
    );
    // 0: some, 1: there, 2: all.
    assert_eq!(found.ports[&443].bits[0], 0b110);
    assert_eq!(found.ports[&port_index(UDP, 443)].bits[0], 0b011);
    assert_eq!((found.head.listed.bits[0], found.head.unlisted.bits[0]), (0b001, 0b110));
    assert_eq!((found.head.on_interfaces.bits[0], found.everywhere.bits[0]), (0b010, 0b101));
    let look = |address: [u8; 4]| found.sources.look_up(&Addr::v4(address)).bits[0];
    assert_eq!([look([10, 0, 0, 1]), look([10, 1, 0, 1]), look([11, 0, 0, 1])], [0b111, 0b110, 0b110]);
    assert_eq!(found.interfaces.look_up("wg0").bits[0], 0b010);
}

#[test]
fn an_interface_has_its_rules_and_its_way_to_attach() {
    let text = "[packets]\nattach = 'tcx'\n\
        [[packets.interface]]\nname = 'wg0'\nif_held = 'stop'\n\
        [[packets.interface]]\nname = 'wg*'\nattach = 'tc'\n"
        .to_owned()
        + &rule("everywhere", "")
        + &rule("tunnels", "interfaces = ['wg*']");
    let config = Config::from_text(&text).unwrap();
    let accounts = AnyAccounts::new(None);
    let host = Host { tree: None, accounts: &accounts, cannot: Unenforceable::default() };
    let policy = Compiled::new(&config, &host).unwrap();
    assert_eq!(
        [policy.interfaces.rules_on("eth0").bits[0], policy.interfaces.rules_on("wg1").bits[0]],
        [0b01, 0b11]
    );
    assert_eq!(policy.interfaces.attach_on("eth0"), (Attach::Tcx, IfHeld::Next));
    assert_eq!(policy.interfaces.attach_on("wg0"), (Attach::Tcx, IfHeld::Stop));
    assert_eq!(policy.interfaces.attach_on("wg1"), (Attach::Tc, IfHeld::Next));
}

#[test]
fn masks_are_in_network_order() {
    let found = rates(&(rule("a", "per = 'source/20/50'") + &rule("b", "per = 'rule'")));
    let [a, b] = &found.rules[..] else { panic!() };
    assert_eq!(Addr::from_words(a.mask_v4).to_string(), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:f000");
    assert_eq!(Addr::from_words(a.mask_v6).to_string(), "ffff:ffff:ffff:c000::");
    let source = Addr::v4([192, 0, 2, 255]).words();
    let masked = [source[0] & a.mask_v4[0], source[1] & a.mask_v4[1]];
    assert_eq!(Addr::from_words(masked), Addr::v4([192, 0, 0, 0]));
    assert_eq!((a.prefix_v4, a.prefix_v6, b.prefix_v4, b.prefix_v6), (20, 50, 0, 0));
    assert_eq!((b.mask_v4, b.mask_v6, b.flags & RateRule::WHOLE), ([0; 2], [0; 2], RateRule::WHOLE));
    assert_eq!((b.newcomers, a.flags & RateRule::WHOLE), (Limit::NONE, 0));
}

#[test]
fn flags_say_what_is_needed_of_a_packet() {
    let flags =
        |keys: &str| rates(&format!("[[rate_limit]]\nname = 'a'\nports = [1]\n{keys}")).rules[0].flags;
    assert_eq!(flags("connections = '50/s'"), 0);
    assert_eq!(flags("connections = '50/s'\nburst = 1"), RateRule::EXACT_CLOCK);
    assert_eq!(flags("packets = '50/s'\nburst = 5"), RateRule::EVERY_PACKET);
    assert_eq!(flags("packets = '50/s'\nburst = 4"), RateRule::EVERY_PACKET | RateRule::EXACT_CLOCK);
    assert_eq!(flags("connections = '50/s'\nbytes = '1MB/s'"), RateRule::EVERY_PACKET);
    assert_eq!(
        flags("bytes = '1MB/s'\nburst_bytes = '64kB'"),
        RateRule::EVERY_PACKET | RateRule::EXACT_CLOCK
    );
}

#[test]
fn a_rule_is_known_by_its_name_alone() {
    let text = rule("a", "") + &rule("b", "");
    let (first, second) = (rates(&text), rates(&(rule("b", "per = 'rule'") + &rule("a", "burst = 7"))));
    assert_eq!((first.rules[0].id, first.rules[1].id), (second.rules[0].id, second.rules[1].id));
    assert_ne!(first.rules[0].id, first.rules[1].id);
    // For good: buckets and penalties outlive the agent that made them.
    assert_eq!(
        id("https per client"),
        u64::from_be_bytes(Sha256::digest("https per client")[..8].try_into().unwrap())
    );
    let config = Config::from_text(&text).unwrap();
    let same = [first.rules[0], RateRule { id: first.rules[0].id, ..first.rules[1] }];
    let error = check_ids(&config, &same, &first.unparsed).unwrap_err();
    assert!(error.to_string().contains("have the same hash"), "{error}");
}

#[test]
fn newcomers_get_an_eighth_of_the_places() {
    let of = |memory: &str, more: &str| rates(&format!("[packets]\n{memory}\n{}", rule("a", more)));
    let default = of("", "");
    assert_eq!(default.source_sets, limits::SOURCE_SETS);
    assert_eq!(default.rules[0].newcomers, Limit::new(16_384, SECOND, 16_384).unwrap());
    assert_eq!(default.unparsed.newcomers, default.rules[0].newcomers);
    // 704 bytes a set.
    assert_eq!(of("memory = '64KiB'", "").source_sets, 64);
    assert_eq!(of("memory = '16MiB'", "").source_sets, 16_384);
    assert_eq!(of("memory = '4GiB'", "").source_sets, 1 << 22);
    let said = of("memory = '1MiB'", "newcomers = '600/min'");
    assert_eq!(
        (said.source_sets, said.rules[0].newcomers),
        (1024, Limit::new(600, 60 * SECOND, 10).unwrap())
    );
}

#[test]
fn what_cannot_be_read_has_a_limit_of_its_own() {
    let unparsed = |text: &str| rates(&(text.to_owned() + &rule("a", "penalty = { for = '1m' }"))).unparsed;
    let default = unparsed("mode = 'enforce'\n");
    assert_eq!(default.packets, Limit::new(10_000, SECOND, 10_000).unwrap());
    assert_eq!((default.counter, default.mode), (UNPARSED_RULE, Mode::Enforce as u32));
    assert_eq!((default.flags, default.penalty.for_ns), (RateRule::EVERY_PACKET, 0));
    assert_eq!(Addr::from_words(default.mask_v6).to_string(), "ffff:ffff:ffff:ffff::");
    assert_eq!(
        unparsed("packets = { unparsed = '60/min' }\n").packets,
        Limit::new(60, 60 * SECOND, 1).unwrap()
    );
    let off = unparsed("packets = { unparsed = 'off' }\n");
    assert_eq!((off.packets, off.newcomers, off.flags), (Limit::NONE, Limit::NONE, 0));
}

#[test]
fn penalties_are_taken_over() {
    let found = rates(&rule("a", "penalty = { for = '1m', factor = 2.5, max = '1h 30m', after = 7 }"));
    let expected = Penalty { for_ns: 60 * SECOND, max_ns: 5400 * SECOND, factor: 250, after: 7 };
    assert_eq!(found.rules[0].penalty, expected);
    assert_eq!(rates(&rule("a", "")).rules[0].penalty.for_ns, 0);
}

/// Rates of many bytes are held to a thousandth.
#[test]
fn the_highest_rates_are_exact() {
    for (text, rate) in
        [("100GB/s", 100e9), ("33GB/s", 33e9), ("1GB/s", 1e9), ("123456789B/s", 123_456_789.0)]
    {
        let found = rates(&format!("[[rate_limit]]\nname = 'a'\nports = [1]\nbytes = '{text}'\n"));
        let limit = found.rules[0].bytes;
        let tokens = 1 << 23;
        let due = f64::from(tokens) / rate * 1e9 * TICKS_PER_NS as f64;
        let price = limit.price(tokens as u64) as f64;
        assert!((price - due).abs() < due / 1000.0, "{text}: {price} instead of {due}");
    }
}

#[test]
fn ten_thousand_prefixes_compile_in_no_time() {
    let prefixes: Vec<String> = (0..10_000_u32)
        .map(|n| format!("'10.{}.{}.{}/{}'", n % 64, n / 64, n % 4 * 64, 24 + n % 9))
        .collect();
    let text: String = (0..64)
        .map(|index| {
            rule(
                &index.to_string(),
                &format!("sources = [{}]", prefixes[index * 156..(index + 1) * 156].join(",")),
            )
        })
        .collect();
    let started = Instant::now();
    let config = Config::from_text(&text).unwrap();
    let read = started.elapsed();
    let found = Rates::new(&config).unwrap();
    println!("10,000 prefixes in 64 rules: read in {read:?}, compiled in {:?}", started.elapsed() - read);
    assert!(found.sources.len() > 9_000);
    // A debug build on a busy machine.
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
}
