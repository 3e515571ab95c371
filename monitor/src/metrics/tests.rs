//! Tests over the table itself.

use std::{collections::BTreeSet, sync::Arc};

use monitor_common::{
    count::{Count, Outcome, Stat, Unparsed},
    event::Kind,
    limit::Cause,
    policy::{Mode, RuleKind, masks::Direction, verdict},
};

use super::snapshot::{Connections, DatabaseTraffic, Decisions, Lifetimes, Map, Packets, Program};
use super::*;

#[derive(Debug)]
struct Fixed(Snapshot);

impl KernelState for Fixed {
    fn snapshot(&self) -> Snapshot {
        self.0.clone()
    }
}

fn packets(outcome: Outcome, mode: Mode, packets: u64) -> Packets {
    Packets { rule: "https".into(), outcome, mode, packets, bytes: packets * 100 }
}

/// With every field filled.
fn full() -> Snapshot {
    let decided = |verdict, count| Decisions {
        rule_kind: RuleKind::Exec,
        rule: "no \"shells\"\\".into(),
        verdict,
        mode: Mode::Enforce,
        count,
    };
    let connected = |direction, workload: Option<&str>, count| Connections {
        database: "orders".into(),
        direction,
        workload: workload.map(Into::into),
        verdict: verdict::DENY,
        mode: Mode::Observe,
        count,
    };
    let traffic = |workload: Option<&str>, opened| DatabaseTraffic {
        database: "orders".into(),
        direction: Direction::Client,
        workload: workload.map(Into::into),
        opened,
        closed: 3,
        received: 2000,
        sent: 100,
        lifetimes: Lifetimes { sum: 1.5, counts: [1, 0, 1, 0, 0, 0, 0, 0, 1] },
    };
    Snapshot {
        events: Count::ALL.iter().map(|count| (Kind::Exec, *count, 10 + *count as u64)).collect(),
        lost: vec![(Kind::Exec, "recursion", 7), (Kind::Exec, "ring_full", 1)],
        decisions: vec![decided(verdict::ALLOW, 100), decided(verdict::KILL, 3), decided(verdict::KILL, 2)],
        packets: vec![
            packets(Outcome::Pass, Mode::Enforce, 50),
            packets(Outcome::Protected, Mode::Enforce, 5),
            packets(Outcome::Drop, Mode::Enforce, 9),
            packets(Outcome::WouldDrop, Mode::Observe, 4),
            packets(Outcome::Spared, Mode::Enforce, 14),
        ],
        databases: vec![
            connected(Direction::Client, Some("api"), 1),
            connected(Direction::Client, None, 2),
            connected(Direction::Server, None, 3),
            connected(Direction::Source, None, 4),
        ],
        traffic: vec![traffic(Some("api"), 5), traffic(None, 2), traffic(None, 4)],
        unparsed: vec![(Unparsed::Fragment, Outcome::Drop, 6)],
        over: vec![("https".into(), Cause::Newcomers, 13)],
        sources: vec![("https".into(), 8)],
        stats: Stat::ALL.map(|stat| (stat, 1 + stat as u64)).to_vec(),
        programs: vec![Program { name: "exec".into(), runs: 12, run_seconds: 0.25 }],
        maps: vec![Map { name: "PROCESSES".into(), entries: Some(40), capacity: 65_536, bytes: 4096 }],
        processes_unknown: 2,
        cgroups_throttled: 1,
        files_replaced: 21,
        files_unverified: 22,
    }
}

fn metrics() -> Metrics {
    let counters = Arc::new(Counters::default());
    counters.delivered(Kind::Exec);
    let sink = counters.add_sink("stdout").1;
    sink.lost(Loss::QueueFull, 11);
    sink.set_capacity(100);
    sink.enqueue();
    sink.wrote(12);
    sink.failed();
    sink.took(30_000_000);
    counters.canary("connect", true, jiff::Timestamp::new(1_000, 0).unwrap());
    counters.http_request(HttpPath::Metrics, HttpStatus::Ok);
    counters.bans.set_penalties(vec![Penalties { rule: "https".into(), active: 7, repeated: 2 }]);
    let metrics = Metrics::new(counters, Facts::default());
    metrics.update_facts(|facts| {
        facts.build = Build { version: "0.1.0".into(), object_sha256: "ab".into(), kernel: "6.1.0".into() };
        facts.capabilities = vec![Capability { feature: "lsm", state: "missing", reason: "refused" }];
        facts.interfaces.attachments = vec![Attachment { interface: "eth0".into(), mode: "generic" }];
        facts.interfaces.covered = 3;
        let rule = Rule {
            name: "https".into(),
            kind: "rate_limit",
            severity: "high",
            practice: "availability".into(),
            attack: "T1498,T1499".into(),
            when_stale: "open",
        };
        facts.policy =
            Some(Policy { sha256: "cd".into(), generation: 3, mode: "observe", rules: [rule].into() });
    });
    metrics.attach(Arc::new(Fixed(full())));
    metrics
}

fn has(text: &str, line: &str) {
    assert!(text.lines().any(|known| known == line), "no {line} in\n{text}");
}

#[test]
fn the_table_is_sound() {
    let mut names = BTreeSet::new();
    for metric in METRICS {
        let name = metric.name;
        assert!(names.insert(name), "{name} twice");
        let own =
            name.starts_with("monitor_") || metric.chapter == Chapter::Agent && name.starts_with("process_");
        assert!(own, "{name} has no prefix");
        assert_eq!(metric.kind == Type::Counter, name.ends_with("_total"), "{name}");
        assert_eq!(metric.kind == Type::Info, name.ends_with("_info"), "{name}");
        for unit in [Unit::Bytes, Unit::Seconds] {
            let family = name.strip_suffix("_total").unwrap_or(name);
            assert_eq!(metric.unit == unit, family.ends_with(&format!("_{}", unit.name())), "{name}");
        }
        // What would need escapes that the two formats don't share, or end a table cell.
        assert!(!metric.help.contains(['"', '\\', '\n', '|']) && metric.help.ends_with(['.']), "{name}");
        assert!(Chapter::ALL.contains(&metric.chapter));
    }
}

#[test]
fn what_is_exposed_is_the_table_and_every_row_has_a_sample() {
    let plain = metrics().render(Exposition::Plain).unwrap();
    let exposed: BTreeSet<_> = plain
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(['{', ' ']).next().unwrap_or_default())
        .collect();
    let samples = |metric: &Metric| match metric.kind {
        Type::Histogram => {
            ["_bucket", "_count", "_sum"].map(|part| format!("{}{part}", metric.name)).to_vec()
        }
        _ => vec![metric.name.to_owned()],
    };
    let table: BTreeSet<_> = METRICS.iter().flat_map(samples).collect();
    assert_eq!(exposed.into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), table);
    for metric in METRICS {
        has(&plain, &format!("# HELP {} {}", metric.name, metric.help));
        let kind = if metric.kind == Type::Info { "gauge" } else { metric.kind.name() };
        has(&plain, &format!("# TYPE {} {kind}", metric.name));
        let of_metric =
            |line: &&str| samples(metric).iter().any(|name| line.starts_with(&format!("{name}{{")));
        for line in plain.lines().filter(of_metric) {
            for label in metric.labels {
                assert!(line.contains(&format!("{label}=\"")), "{line} without {label}");
            }
        }
    }
}

#[test]
fn no_series_is_exposed_twice() {
    let text = metrics().render(Exposition::OpenMetrics).unwrap();
    let mut series = BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, _) = line.rsplit_once(' ').unwrap();
        assert!(series.insert(name), "{name} twice");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn values_and_labels_are_those_of_the_snapshot() {
    let text = metrics().render(Exposition::OpenMetrics).unwrap();
    for line in [
        "monitor_events_seen_total{kind=\"exec\"} 10",
        "monitor_events_delivered_total{kind=\"exec\"} 1",
        "monitor_events_delivered_total{kind=\"connect\"} 0",
        "monitor_events_lost_total{kind=\"exec\",reason=\"ring_full\"} 13",
        "monitor_events_lost_total{kind=\"exec\",reason=\"recursion\"} 7",
        "monitor_events_suppressed_total{kind=\"exec\",reason=\"self\"} 14",
        r#"monitor_findings_total{rule="no \"shells\"\\",kind="exec",verdict="kill",mode="enforce"} 5"#,
        "monitor_findings_total{rule=\"https\",kind=\"rate_limit\",verdict=\"drop\",mode=\"enforce\"} 9",
        "monitor_findings_total{rule=\"https\",kind=\"rate_limit\",verdict=\"drop\",mode=\"observe\"} 4",
        "monitor_packets_total{rule=\"https\",verdict=\"allow\",mode=\"enforce\"} 69",
        "monitor_bytes_total{rule=\"https\",verdict=\"drop\",mode=\"enforce\"} 900",
        "monitor_packets_protected_total{rule=\"https\"} 5",
        "monitor_packets_unparsed_total{reason=\"fragment\",outcome=\"drop\"} 6",
        "monitor_packets_over_total{rule=\"https\",cause=\"newcomers\"} 13",
        "monitor_packets_spared_total{rule=\"https\"} 14",
        "monitor_database_connections_total{database=\"orders\",direction=\"client\",workload=\"api\",verdict=\"deny\",\
         mode=\"observe\"} 1",
        "monitor_database_connections_total{database=\"orders\",direction=\"client\",workload=\"other\",\
         verdict=\"deny\",mode=\"observe\"} 2",
        "monitor_database_connections_total{database=\"orders\",direction=\"server\",workload=\"other\",\
         verdict=\"deny\",mode=\"observe\"} 3",
        "monitor_database_connections_total{database=\"orders\",direction=\"source\",workload=\"other\",\
         verdict=\"deny\",mode=\"observe\"} 4",
        "monitor_database_open_connections{database=\"orders\",direction=\"client\",workload=\"api\"} 2",
        "monitor_database_received_bytes_total{database=\"orders\",direction=\"client\",workload=\"other\"} 4000",
        "monitor_database_sent_bytes_total{database=\"orders\",direction=\"client\",workload=\"api\"} 100",
        "monitor_unverified_execs_total 7",
        "monitor_cgroup_table_full_total 6",
        "monitor_files_replaced_total 21",
        "monitor_files_unverified 22",
        "monitor_sources_tracked{rule=\"https\"} 8",
        "monitor_exec_hook_runs_total{hook=\"lsm\"} 4",
        "monitor_program_run_seconds_total{program=\"exec\"} 0.25",
        "monitor_map_entries{map=\"PROCESSES\"} 40",
        "monitor_map_capacity{map=\"PROCESSES\"} 65536",
        "monitor_map_memory_bytes{map=\"PROCESSES\"} 4096",
        "monitor_penalties_active{rule=\"https\"} 7",
        "monitor_penalties_repeated{rule=\"https\"} 2",
        "monitor_rule_info{rule=\"https\",kind=\"rate_limit\",severity=\"high\",practice=\"availability\",\
         attack=\"T1498,T1499\",when_stale=\"open\"} 1",
        "monitor_kernel_info{release=\"6.1.0\"} 1",
        "monitor_sink_written_bytes_total{sink=\"stdout\"} 12",
        "monitor_sink_errors_total{sink=\"stdout\"} 1",
        "monitor_sink_queue_entries{sink=\"stdout\"} 1",
        "monitor_sink_queue_high_water{sink=\"stdout\"} 1",
        "monitor_sink_queue_capacity{sink=\"stdout\"} 100",
        "monitor_sink_latency_seconds_bucket{le=\"0.025\",sink=\"stdout\"} 0",
        "monitor_sink_latency_seconds_bucket{le=\"0.05\",sink=\"stdout\"} 1",
        "monitor_sink_latency_seconds_sum{sink=\"stdout\"} 0.03",
        "monitor_series_folded_total{metric=\"monitor_findings_total\"} 0",
        "monitor_processes_unknown 2",
        "monitor_cgroups_throttled 1",
        "monitor_enforcement_live{path=\"connect\"} 1",
        "monitor_canary_last_success_timestamp_seconds{path=\"connect\"} 1000.0",
        "monitor_sink_lost_total{sink=\"stdout\",reason=\"queue_full\"} 11",
        "monitor_policy_info{sha256=\"cd\",generation=\"3\",mode=\"observe\"} 1",
        "monitor_capability_info{feature=\"lsm\",state=\"missing\",reason=\"refused\"} 1",
        "monitor_build_info{version=\"0.1.0\",object_sha256=\"ab\"} 1",
        "monitor_http_requests_total{path=\"/metrics\",status=\"2xx\"} 1",
        "# UNIT monitor_program_run_seconds seconds",
    ] {
        has(&text, line);
    }
    assert!(
        !text.contains(
            "monitor_findings_total{rule=\"no \\\"shells\\\"\\\\\",kind=\"exec\",verdict=\"allow\""
        )
    );
}

#[test]
fn a_histogram_is_cumulative_and_ends_with_all() {
    for exposition in [Exposition::OpenMetrics, Exposition::Plain] {
        let text = metrics().render(exposition).unwrap();
        has(&text, "# TYPE monitor_database_connection_duration_seconds histogram");
        for (workload, times) in [("api", 1), ("other", 2)] {
            let labels = format!("database=\"orders\",direction=\"client\",workload=\"{workload}\"");
            let line = |part: &str| {
                let name = format!("monitor_database_connection_duration_seconds_{part}");
                let of_part = |line: &&str| line.starts_with(&name) && line.contains(&labels);
                text.lines().filter(of_part).map(str::to_owned).collect::<Vec<_>>()
            };
            let value = |line: &String| line.rsplit(' ').next().unwrap().to_owned();
            let buckets = line("bucket");
            let counts: Vec<String> = buckets.iter().map(value).collect();
            assert_eq!(counts, [1, 1, 2, 2, 2, 2, 2, 2, 3].map(|count| (count * times).to_string()));
            assert!(buckets[0].contains("le=\"0.001\"") && buckets[8].contains("le=\"+Inf\""), "{buckets:?}");
            assert_eq!(line("count").iter().map(value).collect::<Vec<_>>(), [(3 * times).to_string()]);
            assert_eq!(line("sum").iter().map(value).collect::<Vec<_>>(), [["1.5", "3.0"][times - 1]]);
        }
    }
}

#[test]
fn both_formats_say_the_same() {
    let metrics = metrics();
    let samples = |exposition| -> Vec<String> {
        let text = metrics.render(exposition).unwrap();
        let kept = |line: &&str| !line.starts_with('#') && !line.starts_with("process_");
        text.lines().filter(kept).map(str::to_owned).collect()
    };
    assert_eq!(samples(Exposition::OpenMetrics), samples(Exposition::Plain));
}

#[test]
fn without_the_kernel_the_agent_still_tells_of_itself() {
    let metrics = metrics();
    metrics.detach();
    let text = metrics.render(Exposition::Plain).unwrap();
    has(&text, "monitor_events_delivered_total{kind=\"exec\"} 1");
    assert!(!text.contains("monitor_processes_unknown 0"));
}

#[test]
fn formats_are_negotiated() {
    let prometheus = "application/openmetrics-text;version=1.0.0;q=0.6,application/openmetrics-text;version=0.0.1;\
                      q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1";
    for (accept, expected) in [
        (None, Exposition::Plain),
        (Some("*/*"), Exposition::Plain),
        (Some(prometheus), Exposition::OpenMetrics),
        (Some("application/openmetrics-text"), Exposition::OpenMetrics),
        (Some("application/openmetrics-text;q=0"), Exposition::Plain),
        (Some("text/plain, application/openmetrics-text; q=0.3"), Exposition::Plain),
        (Some(";;,,q=,\u{fffd}"), Exposition::Plain),
    ] {
        assert_eq!(Exposition::negotiate(accept), expected, "{accept:?}");
    }
}

#[test]
fn the_document_has_every_metric() {
    let markdown = markdown();
    for metric in METRICS {
        assert!(markdown.contains(&format!("### {}\n", metric.name)), "{}", metric.name);
    }
    assert!(markdown.contains("`queue_full`"));
}
