//! Bounds that rules reach together.

use std::collections::HashSet;

use super::Rules;
use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::limits::{MAX_PLAIN_PATHS, MAX_PREFIXES};
use crate::config::model::{Pattern, Workload};

impl Rules {
    /// Reports rate limits that are too many for one packet, and paths and prefixes that are too many together.
    pub(super) fn check_bounds(&self, workloads: &[Workload], diagnostics: &mut Vec<Diagnostic>) {
        self.check_packets(diagnostics);
        let exe = workloads.iter().flat_map(|workload| &workload.exe);
        let files = self.execs.iter().flat_map(|exec| &exec.value.files);
        let mut paths = HashSet::new();
        paths.extend(exe.chain(files).filter_map(|pattern| match &pattern.value {
            Pattern::Path(path) => Some(path),
            Pattern::Glob(_) | Pattern::Class(_) => None,
        }));
        let execs = self.execs.iter().map(|rule| (&rule.source, rule.span));
        let databases = self.databases.iter().chain(&self.listens).map(|rule| (&rule.source, rule.span));
        let raw_sockets =
            self.raw_sockets.iter().chain(&self.process_memory).map(|rule| (&rule.source, rule.span));
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
        let length = |list: &Option<Vec<_>>| list.as_ref().map_or(0, Vec::len);
        let databases = self.databases.iter().chain(&self.listens).map(|rule| {
            let count = rule.value.addresses.len() + length(&rule.value.sources);
            (count, &rule.source, rule.span)
        });
        let rate_limits = self.rate_limits.iter().map(|rule| {
            let count = rule.value.except.len() + length(&rule.value.sources);
            (count, &rule.source, rule.span)
        });
        let mut count = 0;
        for (more, source, span) in databases.chain(rate_limits) {
            let before = count;
            count += more;
            if before <= MAX_PREFIXES && count > MAX_PREFIXES {
                let message = format!(
                    "more than {MAX_PREFIXES} prefixes in `addresses`, `sources` and `except` together"
                );
                let diagnostic = Diagnostic::new(Severity::Error, source, span, message);
                diagnostics.push(diagnostic.help("join neighbouring networks: write shorter prefixes"));
            }
        }
    }
}
