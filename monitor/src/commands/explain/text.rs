//! An answer as text.

use std::fmt::Write as _;

use crate::{event::Text, policy::ask::Story};

/// The workloads, the rules, and last the verdict.
pub fn tell(story: &Story) -> String {
    let mut out = String::new();
    let show = |text: &str| Text::from(text).to_string();
    let width =
        |names: &mut dyn Iterator<Item = &String>| names.map(|name| show(name).len()).max().unwrap_or(0);
    if !story.workloads.is_empty() {
        out.push_str("workloads\n");
        let wide = width(&mut story.workloads.iter().map(|row| &row.workload));
        for row in &story.workloads {
            let fails: Vec<_> = row.fails.iter().map(|fail| format!("{}: {}", fail.key, fail.why)).collect();
            let what = match (row.member, row.as_descendant) {
                (true, false) => "member".to_owned(),
                (true, true) => "member, as a descendant of one".to_owned(),
                (false, _) => format!("no member; {}", fails.join("; ")),
            };
            let _ = writeln!(out, "  {:<wide$}  {what}", show(&row.workload));
        }
        out.push('\n');
    }
    if !story.rules.is_empty() {
        let _ = writeln!(out, "{} rules", story.rule_kind);
        let wide = width(&mut story.rules.iter().map(|step| &step.rule));
        for (number, step) in story.rules.iter().enumerate() {
            let what = match &step.why_not {
                Some(reason) => format!("doesn't apply; {}: {}", reason.key, reason.why),
                None => format!("decides: {}", story.verdict),
            };
            let _ = writeln!(out, "  {} {:<wide$}  {what}", number + 1, show(&step.rule));
        }
        match story.rules_left {
            0 => {}
            1 => out.push_str("  1 more rule is not asked\n"),
            more => drop(writeln!(out, "  {more} more rules are not asked")),
        }
        out.push('\n');
    }
    let mode = story.mode.map(|mode| format!(" ({mode})")).unwrap_or_default();
    let _ = writeln!(out, "{}{mode}: {}", story.verdict, story.sentence);
    out
}
