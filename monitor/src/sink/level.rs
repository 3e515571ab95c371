//! How bad a finding is, on the scales of others.

use monitor_common::policy::{Mode, verdict};

use crate::event::Event;

/// A level of syslog (RFC 5424, table 2), which is the journal's too: 2 critical, 3 error, 4 warning, 5 notice, 6 information.
/// What the rule says counts; else what was stopped is a warning, what would have been a notice.
pub(super) fn syslog(event: &Event) -> u8 {
    let Some(finding) = &event.finding else { return 6 };
    match finding.tags.severity {
        Some("critical") => 2,
        Some("high") => 3,
        Some("medium") => 4,
        Some("low") => 5,
        Some(_) => 6,
        None if finding.mode == Mode::Enforce && finding.verdict > verdict::ALERT => 4,
        None => 5,
    }
}

/// A severity number of OpenTelemetry (9 INFO, 10 INFO2, 13 WARN, 17 ERROR, 21 FATAL), and its name.
pub(super) fn otel(event: &Event) -> (i32, &'static str) {
    match syslog(event) {
        2 => (21, "FATAL"),
        3 => (17, "ERROR"),
        4 => (13, "WARN"),
        5 => (10, "INFO2"),
        _ => (9, "INFO"),
    }
}
