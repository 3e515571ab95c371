//! What is accepted, and what it means.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::Value;

use super::{EVERY_KEY, load};
use crate::config::{
    Action, Attach, BUILTIN_NAME, Config, DEFAULT_TEXT, FileSink, Format, IfHeld, Interfaces, Limit, Loaded,
    Mode, Packets, Per, Place, Protocol, Rate, Severity, Target, schema,
};

#[test]
fn the_built_in_configuration_is_valid() {
    let loaded = Loaded::from_text(BUILTIN_NAME.as_ref(), DEFAULT_TEXT);
    assert_eq!(super::show(&loaded), [""; 0]);
    let config = loaded.config.unwrap();
    assert_eq!(config, Config::builtin().unwrap());
    assert_eq!(config.mode, Mode::Observe);
    assert_eq!(config.sinks.len(), 1);
    assert!(config.sinks[0].events);
    assert_eq!(config.metrics.listen.to_string(), "127.0.0.1:9469");
}

#[test]
fn the_examples_in_the_built_in_configuration_are_valid() {
    let (settings, examples) = DEFAULT_TEXT.split_once("to be adapted:\n").unwrap();
    let examples: String =
        examples.lines().map(|line| line.trim_start_matches('#').trim_start().to_owned() + "\n").collect();
    let config = load(&format!("{settings}\n{examples}"));
    assert_eq!((config.sinks.len(), config.workloads.len(), config.databases.len()), (2, 1, 1));
    assert_eq!((config.execs.len(), config.rate_limits.len()), (1, 1));
}

#[test]
fn an_empty_file_has_defaults() {
    let config = load("");
    assert_eq!(config.mode, Mode::Observe);
    assert_eq!(config.agent.interfaces, Interfaces::Auto);
    assert_eq!(config.agent.cgroup.value, "/");
    assert_eq!(config.sinks.len(), 1);
    assert!(!config.sinks[0].events);
    assert_eq!(load("sink = []").sinks, []);
    assert_eq!(load("agent = { interfaces = [] }").agent.interfaces, Interfaces::Named(vec![]));
}

#[test]
fn settings_mean_what_they_say() {
    let config = load(EVERY_KEY);
    assert_eq!(config.mode, Mode::Enforce);
    let Interfaces::Named(names) = &config.agent.interfaces else { panic!("{:?}", config.agent.interfaces) };
    assert_eq!(names[1].value, "eth1");
    assert_eq!(names[1].place.to_string(), "test.toml:5:23");
    assert_eq!(config.agent.cgroup.value, "/system.slice");
    let prefixes: Vec<_> =
        config.agent.protect.prefixes.iter().map(|(ip, len)| format!("{ip}/{len}")).collect();
    assert_eq!(prefixes, ["10.0.0.0/24", "2001:db8::/32", "192.0.2.7/32"]);
    assert_eq!(config.agent.protect.ports, [(Protocol::Tcp, 22), (Protocol::Udp, 53)]);
    assert_eq!(config.metrics.listen.to_string(), "[::1]:0");
    assert_eq!(config.sinks[0].format, Format::Text);
    let file =
        FileSink { path: "/var/log/monitor/findings.jsonl".into(), max_size: Some(100 << 20), keep: 7 };
    assert_eq!(config.sinks[1].target, Target::File(file));
}

#[test]
fn rates_mean_what_they_say() {
    let config = load(EVERY_KEY);
    let limit = &config.rate_limits[0];
    assert_eq!((limit.protocol, limit.mode), (Protocol::Tcp, Mode::Observe));
    let (second, minute) = (1_000_000_000, 60_000_000_000);
    let connections = limit.connections.unwrap();
    assert_eq!((connections.rate, connections.burst), (Rate { count: 600, per_ns: minute }, 100));
    let bytes = limit.bytes.unwrap();
    assert_eq!((bytes.rate, bytes.burst), (Rate { count: 10_000_000, per_ns: second }, 1 << 20));
    let defaults = load(
        "[[rate_limit]]\nname = 'a'\nports = [1]\npackets = '90/m'\nconnections = '1/h'\nbytes = '1kB/s'\n",
    );
    let limit = &defaults.rate_limits[0];
    let bursts = [limit.packets, limit.connections, limit.bytes].map(|limit| limit.unwrap().burst);
    assert_eq!(bursts, [2, 1, 65_536]);
    assert_eq!((limit.protocol, limit.per), (Protocol::Any, Per::Source { v4: 32, v6: 64 }));
    assert_eq!((&limit.sources, &limit.penalty, limit.newcomers), (&None, &None, None));
    assert!(limit.except.is_empty() && limit.interfaces.is_empty());
}

#[test]
fn rate_limits_say_whom_they_are_for() {
    let config = load(EVERY_KEY);
    let limit = &config.rate_limits[0];
    assert_eq!(limit.per, Per::Source { v4: 24, v6: 56 });
    let shown =
        |list: &[(IpAddr, u8)]| list.iter().map(|(ip, len)| format!("{ip}/{len}")).collect::<Vec<_>>();
    assert_eq!(shown(limit.sources.as_ref().unwrap()), ["10.0.0.0/8", "fd00::/8"]);
    assert_eq!(shown(&limit.except), ["10.0.0.7/32"]);
    let interfaces: Vec<_> = limit.interfaces.iter().map(|name| &name.value[..]).collect();
    assert_eq!(interfaces, ["eth0", "wg*"]);
    let per = |text: &str| {
        load(&format!("[[rate_limit]]\nname = 'a'\nports = [1]\npackets = '1/s'\nper = '{text}'\n"))
            .rate_limits[0]
            .per
    };
    assert_eq!(per("source/24"), Per::Source { v4: 24, v6: 64 });
    assert_eq!(per("source/48"), Per::Source { v4: 32, v6: 48 });
    assert_eq!(per("source/32/128"), Per::Source { v4: 32, v6: 128 });
    assert_eq!(per("rule"), Per::Rule);
}

#[test]
fn penalties_mean_what_they_say() {
    let config = load(EVERY_KEY);
    let penalty = config.rate_limits[0].penalty.as_ref().unwrap();
    let second = 1_000_000_000;
    assert_eq!((penalty.for_ns, penalty.max_ns), (90 * second, 5400 * second));
    assert_eq!((penalty.factor, penalty.after), (150, 50));
    let of = |penalty: &str| {
        let text =
            format!("[[rate_limit]]\nname = 'a'\nports = [1]\npackets = '1/s'\npenalty = {{ {penalty} }}\n");
        let found = load(&text).rate_limits[0].penalty.clone().unwrap();
        (found.for_ns / second, found.max_ns / second, found.factor, found.after)
    };
    assert_eq!(of("for = '1m'"), (60, 86_400, 100, 100));
    assert_eq!(of("for = '48h', factor = 10"), (172_800, 172_800, 1000, 100));
    assert_eq!(of("for = '1min', factor = 1.01, max = '1m', after = 1"), (60, 60, 101, 1));
}

#[test]
fn packets_mean_what_they_say() {
    let packets = load(EVERY_KEY).packets;
    assert_eq!(
        (packets.memory, packets.attach, packets.if_held),
        (32 << 20, Attach::XdpGeneric, IfHeld::Stop)
    );
    let unparsed = Limit { rate: Rate { count: 600, per_ns: 60_000_000_000 }, burst: 10 };
    assert_eq!(packets.unparsed, Some(unparsed));
    let [first, second] = &packets.interfaces[..] else { panic!("{packets:?}") };
    assert_eq!((&first.name.value[..], first.attach, first.if_held), ("eth1", Attach::Tcx, IfHeld::Next));
    assert_eq!(
        (&second.name.value[..], second.attach, second.if_held),
        ("wg[0-9]*", Attach::Tc, IfHeld::Stop)
    );
    let default = load("").packets;
    assert_eq!(default, Packets::default());
    assert_eq!((default.memory, default.attach, default.if_held), (11_534_336, Attach::Auto, IfHeld::Next));
    assert_eq!(default.unparsed, Some(Limit::a_second(10_000)));
    assert_eq!(load("packets = { unparsed = 'off' }").packets.unparsed, None);
}

#[test]
fn a_rule_has_the_mode_of_the_file_unless_it_says_its_own() {
    let rule = "[[database]]\nname = 'a'\nports = [1]\nclients = []\n";
    assert_eq!(load(&format!("mode = 'enforce'\n{rule}")).databases[0].mode, Mode::Enforce);
    assert_eq!(load(&format!("mode = 'enforce'\n{rule}mode = 'observe'")).databases[0].mode, Mode::Observe);
    assert_eq!(load(rule).databases[0].mode, Mode::Observe);
    assert_eq!(load(rule).databases[0].action, Action::Deny);
}

#[test]
fn ipv4_in_ipv6_form_is_ipv4() {
    let config = load("agent = { protect = ['::ffff:10.0.0.0/104', 'tcp/22', 'tcp/22'] }");
    assert_eq!(config.agent.protect.prefixes, [(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)), 8)]);
    assert_eq!(config.agent.protect.ports.len(), 1);
}

#[test]
fn the_hash_is_that_of_the_bytes() {
    let hex: String = load("").sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_ne!(load("").sha256, load(" ").sha256);
}

/// The example has every key the schema knows, and so the schema every key of the example: unknown ones are
/// errors.
#[test]
fn the_schema_lists_every_key() {
    let mut missing = Vec::new();
    for (key, value) in schema()["properties"].as_object().unwrap() {
        assert!(value["description"].is_string(), "{key} has no description");
        let table = value.get("items").unwrap_or(value);
        let Some(properties) = table.get("properties").and_then(Value::as_object) else {
            missing.extend((!EVERY_KEY.contains(&format!("\n{key} ="))).then_some(key.clone()));
            continue;
        };
        let header = schema::header(key);
        let inner = format!("[[{key}.");
        let begins =
            |text: &&str| [&header, &inner].iter().any(|table| format!("[{text}").starts_with(*table));
        let tables = EVERY_KEY.split("\n[").filter(begins);
        let text: String = tables.collect();
        for (inner, value) in properties {
            assert!(value["description"].is_string(), "{key}.{inner} has no description");
            assert!(value["examples"][0] != Value::Null, "{key}.{inner} has no example");
            let is_there =
                text.contains(&format!("\n{inner} =")) || text.contains(&format!("{key}.{inner}]]\n"));
            missing.extend((!is_there).then(|| format!("{key}.{inner}")));
            let nested = value.get("items").unwrap_or(value).get("properties").and_then(Value::as_object);
            for (innermost, value) in nested.into_iter().flatten() {
                assert!(value["description"].is_string(), "{key}.{inner}.{innermost} has no description");
                assert!(value["examples"][0] != Value::Null, "{key}.{inner}.{innermost} has no example");
                let missed =
                    !text.contains(&format!(" {innermost} =")) && !text.contains(&format!("\n{innermost} ="));
                missing.extend(missed.then(|| format!("{key}.{inner}.{innermost}")));
            }
        }
    }
    assert_eq!(missing, [""; 0]);
}

/// What the schema demands is what the check demands.
#[test]
fn required_keys_are_those_of_the_schema() {
    for (key, value) in schema()["properties"].as_object().unwrap() {
        let Some(table) = value.get("items") else { continue };
        let required: Vec<_> =
            table["required"].as_array().unwrap().iter().map(|key| key.as_str().unwrap()).collect();
        let found = super::found(&format!("[[{key}]]\n"));
        for inner in &required {
            assert!(
                found.iter().any(|line| line.contains(&format!("missing key `{inner}`"))),
                "{key}: {found:?}"
            );
        }
        let missing = found.iter().filter(|line| line.contains("missing key")).count();
        assert_eq!(missing, required.len(), "{key}: {found:?}");
    }
}

#[test]
fn later_findings_point_at_the_text() {
    let config = load(EVERY_KEY);
    let Interfaces::Named(names) = &config.agent.interfaces else { panic!("{:?}", config.agent.interfaces) };
    let found =
        config.diagnostic(Severity::Error, &names[1].place, "no interface `eth1`").help("see `ip link`");
    assert_eq!(
        found.render(false),
        "error: no interface `eth1`\n --> test.toml:5:23\n  |\n5 | interfaces = [\"eth0\", \"eth1\"]\n  \
         |                       ^^^^^^\n  |\n  = help: see `ip link`"
    );
    let nowhere = config.diagnostic(Severity::Error, &Place::default(), "no cgroup v2 here");
    assert!(nowhere.render(false).starts_with("error: no cgroup v2 here"));
}
