//! Sources that were over a limit of late, out of the findings that are kept, with the penalties they serve.

use std::{cmp::Reverse, collections::HashMap, sync::Arc};

use super::Source;
use crate::{
    agent::bans::{Bans, Page},
    event::{Detail, Event, source_name},
};

/// The most that are shown.
pub(super) const SHOWN: usize = 100;
/// Bans that are looked through for penalties: there may be a million.
const LOOKED_AT: usize = 10_000;

/// The newest first.
pub(super) fn sources(findings: &[Arc<Event>], bans: Option<&Bans>) -> Vec<Source> {
    let mut found: HashMap<(String, Arc<str>), Source> = HashMap::new();
    for event in findings {
        let (Detail::Limit { source, prefix, over, .. }, Some(finding)) = (&event.detail, &event.finding)
        else {
            continue;
        };
        let name = source_name(&source.addr, *prefix);
        let entry = found.entry((name.clone(), Arc::clone(&finding.rule))).or_insert_with(|| Source {
            source: name,
            rule: finding.rule.to_string(),
            ..Source::default()
        });
        entry.limit.clone_from(&finding.why);
        entry.over = u64::from(*over);
        entry.reports += 1;
        entry.last = event.time.as_second();
    }
    if let Some(bans) = bans {
        penalties(bans, &mut found);
    }
    let mut sources: Vec<_> = found.into_values().collect();
    sources.sort_by(|a, b| (Reverse(a.last), &a.source, &a.rule).cmp(&(Reverse(b.last), &b.source, &b.rule)));
    sources.truncate(SHOWN);
    sources
}

fn penalties(bans: &Bans, found: &mut HashMap<(String, Arc<str>), Source>) {
    let (mut page, mut looked) = (Page::default(), 0);
    while looked < LOOKED_AT {
        let Ok(listed) = bans.next(&mut page) else { return };
        if listed.is_empty() {
            return;
        }
        looked += listed.len();
        for ban in listed {
            let Some(rule) = ban.rule else { continue };
            let name = ban.prefix.to_string();
            let entry = found.entry((name.clone(), Arc::clone(&rule))).or_insert_with(|| Source {
                source: name,
                rule: rule.to_string(),
                last: ban.since.unwrap_or_default(),
                ..Source::default()
            });
            entry.penalty_until = ban.until;
            entry.strikes = ban.strikes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples;

    #[test]
    fn reports_of_one_source_and_rule_are_one_row_and_the_last_counts() {
        let mut later = samples::limited();
        later.time = "2026-11-23T17:40:42Z".parse().unwrap();
        let Detail::Limit { over, .. } = &mut later.detail else { panic!() };
        *over = 99;
        let findings = [samples::limited(), samples::denied_connect(), later].map(Arc::new);
        let sources = sources(&findings, None);
        assert_eq!(sources.len(), 1, "{sources:?}");
        let source = &sources[0];
        assert_eq!((source.reports, source.over, source.penalty_until), (2, 99, None));
        assert_eq!(source.last, findings[2].time.as_second());
        assert!(!source.limit.is_empty());
    }
}
