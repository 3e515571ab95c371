//! Bounds that rules reach together.

use std::collections::HashSet;

use super::Rules;
use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::limits::{MAX_LIMITS_PER_PORT, MAX_PLAIN_PATHS, MAX_PREFIXES};
use crate::config::model::{Pattern, RateLimit, Workload};

impl Rules {
    /// Reports rate limits that are too many for one port, and paths and prefixes that are too many together.
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
        let files = self.execs.iter().flat_map(|exec| &exec.value.files);
        let mut paths = HashSet::new();
        paths.extend(exe.chain(files).filter_map(|pattern| match &pattern.value {
            Pattern::Path(path) => Some(path),
            Pattern::Glob(_) | Pattern::Class(_) => None,
        }));
        let execs = self.execs.iter().map(|rule| (&rule.source, rule.span));
        let databases = self.databases.iter().map(|rule| (&rule.source, rule.span));
        let raw_sockets = self.raw_sockets.iter().map(|rule| (&rule.source, rule.span));
        if let Some((source, span)) = raw_sockets.chain(databases).chain(execs).last()
            && paths.len() > MAX_PLAIN_PATHS
        {
            let message = format!(
                "the rules name {} files by path, at most {MAX_PLAIN_PATHS} are allowed",
                paths.len()
            );
            let diagnostic = Diagnostic::new(Severity::Error, source, span, message);
            diagnostics.push(diagnostic.help("use globs for files that lie together"));
        }
        self.check_prefixes(diagnostics);
    }

    /// Reports the rule with which the prefixes of all become too many.
    fn check_prefixes(&self, diagnostics: &mut Vec<Diagnostic>) {
        let mut count = 0;
        for rule in &self.databases {
            let before = count;
            count += rule.value.addresses.len() + rule.value.sources.as_ref().map_or(0, Vec::len);
            if before <= MAX_PREFIXES && count > MAX_PREFIXES {
                let message =
                    format!("more than {MAX_PREFIXES} prefixes in `addresses` and `sources` together");
                let diagnostic = Diagnostic::new(Severity::Error, &rule.source, rule.span, message);
                diagnostics.push(diagnostic.help("join neighbouring networks: write shorter prefixes"));
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
