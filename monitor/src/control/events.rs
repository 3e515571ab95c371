//! Requests about the last events and those to come.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use monitor_common::event::Kind;
use serde::{Deserialize, Serialize};

use super::line::Out;
use crate::{
    event::{Detail, Event},
    overview::Parts,
    recent::{Found, Ring},
    render::Style,
};

/// How often it is looked whether something came. Nobody on the event path wakes anybody for this.
const LOOK: Duration = Duration::from_millis(50);

/// Which events, and how they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Events {
    /// Kinds of events; all if empty.
    pub kinds: Vec<String>,
    /// Names of rules, of whose findings one is wanted; all events if empty.
    pub rules: Vec<String>,
    /// A path or a part of one: of the program that did it or was started.
    pub exe: Option<String>,
    /// Not older than this, seconds since the epoch.
    pub since: Option<i64>,
    /// Findings alone. They are kept for longer than other events.
    pub findings: bool,
    /// Goes on with what happens from then on, until the asker goes.
    pub follow: bool,
    /// As JSON, rather than for people.
    pub json: bool,
    /// With terminal colours.
    pub colour: bool,
}

/// A line of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// An event, without an end of line.
    Line(String),
    /// So many are missing here: the reader was too slow, or asked too late.
    Missed(u64),
}

/// How many lines there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Events told.
    pub told: u64,
    /// Events missed.
    pub missed: u64,
}

/// The same, checked.
struct Filter<'a> {
    kinds: Vec<Kind>,
    asked: &'a Events,
}

impl<'a> Filter<'a> {
    fn new(asked: &'a Events) -> Result<Self> {
        let mut kinds = Vec::new();
        for name in &asked.kinds {
            let Some(kind) = Kind::ALL.iter().find(|kind| kind.name() == name) else {
                let all: Vec<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
                bail!("there is no kind of event {name:?}; there are {}", all.join(", "));
            };
            kinds.push(*kind);
        }
        Ok(Self { kinds, asked })
    }

    fn wants(&self, event: &Event) -> bool {
        let asked = self.asked;
        let rule = |name: &String| event.finding.as_ref().is_some_and(|finding| *finding.rule == **name);
        (self.kinds.is_empty() || self.kinds.contains(&event.kind))
            && (!asked.findings || event.finding.is_some())
            && (asked.rules.is_empty() || asked.rules.iter().any(rule))
            && asked.since.is_none_or(|since| event.time.as_second() >= since)
            && asked.exe.as_deref().is_none_or(|exe| runs(event, exe.as_bytes()))
    }
}

/// Whether the path of one of an event's programs contains this.
fn runs(event: &Event, part: &[u8]) -> bool {
    let has = |path: &[u8]| part.is_empty() || path.windows(part.len()).any(|window| window == part);
    let started = match &event.detail {
        Detail::Exec { program, .. } => has(program.path.bytes()),
        _ => false,
    };
    started || event.actor.as_ref().is_some_and(|who| has(who.program.path.bytes()))
}

pub(super) fn events(parts: Option<&Parts>, asked: &Events, stop: &AtomicBool, out: &mut Out) -> Result<()> {
    let recent = &parts.context("the agent is still starting")?.recent;
    let filter = Filter::new(asked)?;
    let style = if asked.json { Style::Json } else { Style::Text { colour: asked.colour } };
    let only_findings = asked.findings || !asked.rules.is_empty();
    let ring = if only_findings { &recent.findings } else { &recent.events };
    let mut telling = Telling { filter, style, ended: Ended::default(), line: Vec::new() };
    let mut cursor = ring.start();
    let end = ring.end();
    loop {
        telling.catch_up(ring, &mut cursor, (!asked.follow).then_some(end), out)?;
        if !asked.follow || stop.load(Relaxed) {
            return out.done(telling.ended);
        }
        out.flush()?;
        if out.is_gone() {
            return Ok(());
        }
        std::thread::sleep(LOOK);
    }
}

struct Telling<'a> {
    filter: Filter<'a>,
    style: Style,
    ended: Ended,
    line: Vec<u8>,
}

impl Telling<'_> {
    /// Tells what there is, up to the event with the number `end` if there is one.
    fn catch_up(&mut self, ring: &Ring, cursor: &mut u64, end: Option<u64>, out: &mut Out) -> Result<()> {
        while end.is_none_or(|end| *cursor < end) {
            match ring.read(cursor) {
                None => break,
                Some(Found::Event(event)) => self.tell(&event, out)?,
                Some(Found::Missed(missed)) => {
                    self.ended.missed += missed;
                    out.item(Told::Missed(missed))?;
                }
            }
        }
        Ok(())
    }

    fn tell(&mut self, event: &Arc<Event>, out: &mut Out) -> Result<()> {
        if !self.filter.wants(event) {
            return Ok(());
        }
        self.line.clear();
        self.style.line(event, &mut self.line);
        self.ended.told += 1;
        // Both ways of writing make valid UTF-8.
        let line = String::from_utf8_lossy(&self.line);
        out.item(Told::Line(line.trim_end_matches('\n').to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples;

    fn wants(asked: &Events, event: &Event) -> bool {
        Filter::new(asked).unwrap().wants(event)
    }

    #[test]
    fn each_filter_leaves_out_what_it_does_not_name() {
        let (exec, denied) = (samples::exec(), samples::denied_connect());
        let rule = denied.finding.as_ref().unwrap().rule.to_string();
        let kinds = |kind: &str| Events { kinds: vec![kind.into()], ..Events::default() };
        let cases = [
            (Events::default(), true, true),
            (kinds("exec"), true, false),
            (kinds("connect"), false, true),
            (Events { findings: true, ..Events::default() }, false, true),
            (Events { rules: vec![rule], ..Events::default() }, false, true),
            (Events { rules: vec!["other".into()], ..Events::default() }, false, false),
            (Events { exe: Some("/bash".into()), ..Events::default() }, true, true),
            (Events { exe: Some("/nowhere".into()), ..Events::default() }, false, false),
            (Events { since: Some(exec.time.as_second()), ..Events::default() }, true, true),
            (Events { since: Some(exec.time.as_second() + 1), ..Events::default() }, false, false),
        ];
        for (asked, of_exec, of_denied) in cases {
            assert_eq!((wants(&asked, &exec), wants(&asked, &denied)), (of_exec, of_denied), "{asked:?}");
        }
        let error = Filter::new(&kinds("exce")).err().unwrap().to_string();
        assert!(error.contains("exec, "), "{error}");
    }
}
