//! A simulation with a judge that needs no kernel.

use std::path::PathBuf;

use super::*;
use crate::agent::simulate::{Amount, Counts, Over, Rule, RuleCounts, Verdict};
use crate::commands::simulate::capture::{self, tests::pcap};
use monitor_common::policy::Mode;

/// Drops every second packet to port 443, and would drop each to 53.
struct Every2nd {
    rules: Vec<Rule>,
    counts: Counts,
    clocks: Vec<u64>,
}

impl Every2nd {
    fn new() -> Self {
        let rule = |name: &str, mode| Rule {
            name: name.into(),
            mode,
            mask_v4: [u64::MAX; 2],
            mask_v6: [u64::MAX, 0],
        };
        let rules = vec![
            rule("https", Mode::Enforce),
            rule("dns\u{1b}[2J", Mode::Observe),
            rule("unparsed", Mode::Enforce),
        ];
        let counts = Counts { rules: vec![RuleCounts::default(); 3], ..Counts::default() };
        Self { rules, counts, clocks: Vec::new() }
    }
}

impl Judge for Every2nd {
    fn rules(&self) -> &[Rule] {
        &self.rules
    }

    fn set_interface(&mut self, _: Option<&str>) -> Result<()> {
        Ok(())
    }

    fn judge(&mut self, frame: &Frame<'_>, verdict: &mut Verdict) -> Result<()> {
        self.clocks.push(frame.now_ns);
        let amount = Amount::one(frame.bytes.len());
        *verdict = Verdict::default();
        let rule = match frame.packet.port {
            443 => 0,
            53 => 1,
            _ => {
                verdict.no_rule = true;
                return Ok(());
            }
        };
        let outcomes = &mut self.counts.rules[rule].outcomes;
        if rule == 0 && outcomes.passed.packets <= outcomes.dropped.packets {
            outcomes.passed.add(amount);
        } else {
            verdict.dropped = rule == 0;
            verdict.over.push(Over { rule, dropped: rule == 0 });
            if rule == 0 {
                outcomes.dropped.add(amount)
            } else {
                outcomes.would_drop.add(amount)
            }
            self.counts.rules[rule].over[0] += 1;
        }
        Ok(())
    }

    fn counts(&self) -> Result<Counts> {
        Ok(self.counts.clone())
    }
}

fn udp(source: u8, port: u16) -> Vec<u8> {
    let mut frame = vec![0; 12];
    frame.extend([8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, source, 192, 0, 2, 1, 0, 9]);
    frame.extend(port.to_be_bytes());
    frame.extend([0, 8, 0, 0]);
    frame
}

fn args() -> Args {
    Args {
        policy: PathBuf::new(),
        pcap: PathBuf::new(),
        speed: Speed::Max,
        interface: None,
        to: Vec::new(),
        mtu: 1500,
        top: 3,
        json: false,
    }
}

fn simulate(args: &Args, file: &[u8]) -> (Report, Vec<u64>) {
    let mut drive = Drive::new(args, Every2nd::new());
    let end = capture::read(file, |record| drive.take(&record)).unwrap();
    (drive.report("test\n.pcap".into(), end).unwrap(), drive.judge.clocks)
}

fn file(link: u32) -> Vec<u8> {
    let frames: Vec<Vec<u8>> =
        (0..40).map(|index| udp(index % 4, [443, 53, 443, 80][usize::from(index % 4)])).collect();
    let mut packets: Vec<_> = frames
        .iter()
        .enumerate()
        .map(|(index, frame)| (100 + index as u32, 0, &frame[..], frame.len() as u32))
        .collect();
    packets.push((99, 500_000, &[0xff; 60], 60));
    pcap(link, false, &packets)
}

#[test]
fn the_books_balance() {
    let (report, clocks) = simulate(&args(), &file(1));
    let total = &report.total;
    assert_eq!(total.fate.sent, Amount { packets: 41, bytes: 40 * 42 + 60 });
    assert_eq!(
        (total.passed.packets, total.fate.dropped.packets, total.fate.would_drop.packets),
        (31, 10, 10)
    );
    assert_eq!((total.no_rule.packets, total.not_ip.packets), (10, 1));
    assert_eq!(report.rules.len(), 2);
    assert_eq!(report.rules[0].outcomes.dropped.packets, 10);
    assert_eq!((report.capture.packets, report.capture.leaps, report.capture.reordered), (41, 1, 0));
    assert_eq!(clocks[1] - clocks[0], 1_000_000_000);
    let timeline = &report.timeline;
    let arrived: u64 = timeline.intervals.iter().map(|interval| interval.arrived.packets).sum();
    assert_eq!((timeline.interval_ms, arrived), (2000, 41));
}

#[test]
fn sources_are_ranked_for_all_and_by_rule() {
    let (report, _) = simulate(&args(), &file(1));
    let dropped: Vec<_> = report.sources.dropped_most.iter().map(|row| &row.source[..]).collect();
    assert_eq!(dropped, ["10.0.0.1", "10.0.0.2"]);
    assert_eq!(report.rules[0].sources[0].source, "10.0.0.2");
    assert_eq!(report.rules[1].sources[0].fate.would_drop.packets, 10);
}

#[test]
fn only_packets_to_the_host_count_if_it_is_named() {
    for (to, packets) in [("192.0.2.0/24", 40), ("192.0.2.2", 0), ("2001:db8::/32", 0), ("0.0.0.0/0", 40)] {
        let to = vec![crate::commands::simulate::network(to).unwrap()];
        let (report, _) = simulate(&Args { to, ..args() }, &file(1));
        assert_eq!(report.total.fate.sent.packets, packets);
        let skipped: u64 = report.capture.skipped.iter().map(|row| row.packets).sum();
        assert_eq!(skipped, 41 - packets);
    }
}

#[test]
fn people_read_tables_that_nobody_can_forge() {
    let (report, _) = simulate(&args(), &file(1));
    let text = report.tell();
    println!("{text}");
    for line in [
        "test\\n.pcap: 41 packets",
        "1 times the clock of the capture leapt",
        "over \"https\": packets 10",
        "rule          mode     passed  dropped",
        "dns\\u{1b}[2J",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    assert!(!text.replace('\n', "").chars().any(char::is_control));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["rules"][0]["dropped"]["packets"], 10);
    assert_eq!(json["total"]["sent"]["packets"], 41);
}
