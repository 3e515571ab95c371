//! What is accepted, and what it means.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::Value;

use super::{EVERY_KEY, load};
use crate::config::{
    Action, BUILTIN_NAME, Config, DEFAULT_TEXT, Format, Interfaces, Loaded, Mode, Per, Place, Protocol, Rate,
    Severity, Target, schema,
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
    assert_eq!(config.sinks[1].target, Target::File("/var/log/monitor/findings.jsonl".into()));
}

#[test]
fn rates_mean_what_they_say() {
    let config = load(EVERY_KEY);
    let limit = &config.rate_limits[0];
    assert_eq!((limit.protocol, limit.per, limit.mode), (Protocol::Tcp, Per::Source, Mode::Observe));
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
    assert_eq!(limit.protocol, Protocol::Any);
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
        let tables = EVERY_KEY.split("\n[").filter(|text| format!("[{text}").starts_with(&header));
        let text: String = tables.collect();
        for (inner, value) in properties {
            assert!(value["description"].is_string(), "{key}.{inner} has no description");
            assert!(value["examples"][0] != Value::Null, "{key}.{inner} has no example");
            missing.extend((!text.contains(&format!("\n{inner} ="))).then(|| format!("{key}.{inner}")));
            for (innermost, value) in value.get("properties").and_then(Value::as_object).into_iter().flatten()
            {
                assert!(value["description"].is_string(), "{key}.{inner}.{innermost} has no description");
                assert!(value["examples"][0] != Value::Null, "{key}.{inner}.{innermost} has no example");
                let missed = !text.contains(&format!(" {innermost} ="));
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
