//! Rules that an earlier one hides in whole or in part, and bounds that rules reach together.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;

use super::{Checked, Rules};
use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::limits::{MAX_LIMITS_PER_PORT, MAX_PLAIN_PATHS};
use crate::config::model::{Database, Exec, Pattern, RateLimit, Workload};
use crate::config::source::quoted;

type Ports = Vec<RangeInclusive<u16>>;

impl Rules {
    /// Warns about every later rule of a kind that an earlier one hides.
    pub(super) fn check_overlaps(&self, diagnostics: &mut Vec<Diagnostic>) {
        for (index, later) in self.databases.iter().enumerate() {
            for earlier in self.databases.iter().take(index) {
                let ports = common(&earlier.value.ports, &later.value.ports);
                if !ports.is_empty() {
                    diagnostics.push(warn_ports(earlier, later, &ports));
                }
            }
        }
        self.check_execs(diagnostics);
    }

    /// Reports rate limits that are too many for one port, and paths that are too many together.
    pub(super) fn check_bounds(&self, workloads: &[Workload], diagnostics: &mut Vec<Diagnostic>) {
        if self.rate_limits.len() > MAX_LIMITS_PER_PORT {
            let mut counts = vec![[0_usize; 2]; 1 << 16];
            for rule in &self.rate_limits {
                if let Some(port) = crowded(&rule.value, &mut counts) {
                    let message = format!("more than {MAX_LIMITS_PER_PORT} rate limits speak of port {port}");
                    let diagnostic = Diagnostic::new(Severity::Error, &rule.source, rule.span, message);
                    diagnostics.push(
                        diagnostic
                            .help("join some of them: one rule can limit packets, connections and bytes"),
                    );
                }
            }
        }
        let exe = workloads.iter().flat_map(|workload| &workload.exe);
        let deny = self.execs.iter().flat_map(|exec| &exec.value.deny);
        let mut paths = HashSet::new();
        paths.extend(exe.chain(deny).filter_map(|pattern| match &pattern.value {
            Pattern::Path(path) => Some(path),
            Pattern::Glob(_) | Pattern::Class(_) => None,
        }));
        if let Some(last) = self.execs.last()
            && paths.len() > MAX_PLAIN_PATHS
        {
            let message = format!(
                "the rules name {} files by path, at most {MAX_PLAIN_PATHS} are allowed",
                paths.len()
            );
            let diagnostic = Diagnostic::new(Severity::Error, &last.source, last.span, message);
            diagnostics.push(diagnostic.help("use globs for files that lie together"));
        }
    }

    /// An exec pattern is hidden if an earlier rule has the same one for at least the same workloads.
    fn check_execs(&self, diagnostics: &mut Vec<Diagnostic>) {
        let mut seen: HashMap<&Pattern, Vec<&Checked<Exec>>> = HashMap::new();
        for later in &self.execs {
            for pattern in &later.value.deny {
                let earlier = seen.entry(&pattern.value).or_default();
                if let Some(earlier) = earlier.iter().find(|earlier| covers(&earlier.value, &later.value)) {
                    diagnostics.push(warn_pattern(earlier, later, &pattern.value));
                }
                earlier.push(later);
            }
        }
    }
}

/// Counts a rate limit at its ports of TCP and UDP; the first port that has too many.
fn crowded(rule: &RateLimit, counts: &mut [[usize; 2]]) -> Option<u16> {
    let mut crowded = None;
    for port in rule.ports.iter().cloned().flatten() {
        let Some(count) = counts.get_mut(usize::from(port)) else { continue };
        count[0] += usize::from(rule.protocol.has_tcp());
        count[1] += usize::from(rule.protocol.has_udp());
        if crowded.is_none() && count.iter().any(|count| *count > MAX_LIMITS_PER_PORT) {
            crowded = Some(port);
        }
    }
    crowded
}

/// The ports in both of two sorted lists.
fn common(a: &Ports, b: &Ports) -> Ports {
    let (mut i, mut j) = (0, 0);
    let mut found = Vec::new();
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        let (first, last) = ((*x.start()).max(*y.start()), (*x.end()).min(*y.end()));
        if first <= last {
            found.push(first..=last);
        }
        if x.end() < y.end() { i += 1 } else { j += 1 }
    }
    found
}

fn warn_ports(earlier: &Checked<Database>, later: &Checked<Database>, ports: &Ports) -> Diagnostic {
    let (first, second) = (quoted(&earlier.value.name), quoted(&later.value.name));
    let message = format!("{first} hides {second} for {}: it comes first", show(ports));
    Diagnostic::new(Severity::Warning, &later.source, later.span, message)
        .related(&earlier.source, earlier.span, "this rule decides")
        .help("the first rule with a port decides: remove the port from one of them")
}

fn warn_pattern(earlier: &Checked<Exec>, later: &Checked<Exec>, pattern: &Pattern) -> Diagnostic {
    let text = match pattern {
        Pattern::Path(text) | Pattern::Glob(text) => text,
        Pattern::Class(class) => class.name(),
    };
    let (first, second) = (quoted(&earlier.value.name), quoted(&later.value.name));
    let message = format!("{first} hides {second} for {}: it comes first", quoted(text));
    Diagnostic::new(Severity::Warning, &later.source, later.span, message)
        .related(&earlier.source, earlier.span, "this rule decides")
        .help("the first rule that matches decides: remove the entry from one of them")
}

/// Whether `earlier` applies to everybody to whom `later` does.
fn covers(earlier: &Exec, later: &Exec) -> bool {
    match (&earlier.by, &later.by) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(earlier), Some(later)) => later.iter().all(|workload| earlier.contains(workload)),
    }
}

/// Sorts ranges of ports and joins those that touch or overlap.
pub(super) fn merge(mut ports: Ports) -> Ports {
    ports.sort_unstable_by_key(|range| *range.start());
    let mut merged: Ports = Vec::with_capacity(ports.len());
    for range in ports {
        match merged.last_mut() {
            Some(last) if u32::from(*range.start()) <= u32::from(*last.end()) + 1 => {
                *last = *last.start()..=(*last.end()).max(*range.end());
            }
            _ => merged.push(range),
        }
    }
    merged
}

/// `port 5432` or `ports 5432, 6000-6010`, cut after eight.
pub(super) fn show(ports: &[RangeInclusive<u16>]) -> String {
    let one = |range: &RangeInclusive<u16>| match range.start() == range.end() {
        true => range.start().to_string(),
        false => format!("{}-{}", range.start(), range.end()),
    };
    let mut shown: Vec<_> = ports.iter().take(8).map(one).collect();
    if ports.len() > shown.len() {
        shown.push("...".into());
    }
    let single = matches!(ports, [range] if range.start() == range.end());
    format!("port{} {}", if single { "" } else { "s" }, shown.join(", "))
}
