//! What is the matter, in words, with what to do.

use std::{
    sync::Mutex,
    sync::PoisonError,
    time::{Duration, Instant},
};

use super::{Overview, Remark};

/// How long a loss counts as a problem. After that it is a note for as long as the agent runs.
const FRESH: Duration = Duration::from_secs(600);

/// When something was last lost.
#[derive(Debug, Default)]
pub struct Losses(Mutex<(u64, Option<Instant>)>);

impl Losses {
    /// Notes the total as it is now; how long ago it last grew.
    pub fn note(&self, total: u64) -> Option<Duration> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if total > state.0 {
            *state = (total, Some(Instant::now()));
        }
        state.1.map(|grew| grew.elapsed())
    }
}

/// Fills in what is the matter with the rest. `dead` says why the event loop isn't at work; `lost` how long ago
/// something was last lost.
pub(super) fn judge(overview: &mut Overview, dead: Option<String>, lost: Option<Duration>) {
    let mut problems = Vec::new();
    let mut notes = Vec::new();
    if let Some(detail) = dead {
        let remedy = "look into its log; restart it if it doesn't recover";
        problems.push(remark("event_loop", detail, remedy));
    }
    for canary in overview.canaries.iter().filter(|canary| !canary.live) {
        let detail = format!("what {} rules refuse isn't refused: the last trial of it passed", canary.path);
        let remedy = "see whether somebody detached the agent's programs (`bpftool link`), then restart it";
        problems.push(remark("canary", detail, remedy));
    }
    for uncovered in &overview.uncovered {
        let detail = format!("{} interfaces are not watched: {}", uncovered.count, uncovered.reason);
        let remedy = "the log names them and says why; `monitor doctor` says how each could be watched";
        problems.push(remark("interfaces", detail, remedy));
    }
    for capability in &overview.capabilities {
        if !matches!(&*capability.state, "enforced" | "available") {
            let Capable { detail, remedy } = capable(capability);
            notes.push(remark("capability", detail, remedy));
        }
    }
    let lost_of = |kind: &str, count: u64| format!("{count} records of {kind} events were lost");
    for book in overview.books.iter().filter(|book| book.lost > 0) {
        let remedy = "`monitor_events_lost_total` says why; fewer sinks with `events = true` help most";
        losses(
            lost,
            remark("events_lost", lost_of(&book.kind, book.lost), remedy),
            &mut problems,
            &mut notes,
        );
    }
    for sink in &overview.sinks {
        for lost_by in &sink.lost {
            let detail = format!("sink {} lost {} ({})", sink.name, lost_by.count, lost_by.reason);
            let remedy = "see whether what it writes to is there, has room and is read";
            losses(lost, remark("sink", detail, remedy), &mut problems, &mut notes);
        }
    }
    overview.healthy = problems.is_empty();
    (overview.problems, overview.notes) = (problems, notes);
}

fn losses(lost: Option<Duration>, remark: Remark, problems: &mut Vec<Remark>, notes: &mut Vec<Remark>) {
    let fresh = lost.is_some_and(|ago| ago < FRESH);
    if fresh { problems.push(remark) } else { notes.push(remark) }
}

struct Capable {
    detail: String,
    remedy: &'static str,
}

fn capable(capability: &super::Capability) -> Capable {
    let super::Capability { feature, state, reason } = capability;
    let reason = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
    Capable {
        detail: format!("{feature}: {state}{reason}"),
        remedy: "`monitor doctor` says what it means and how to get it",
    }
}

fn remark(what: &str, detail: String, remedy: &str) -> Remark {
    Remark { what: what.to_owned(), detail, remedy: remedy.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::{Book, Canary, Capability, Reason, Sink};
    use super::*;

    fn words(remarks: &[Remark]) -> Vec<&str> {
        remarks.iter().map(|remark| &*remark.what).collect()
    }

    #[test]
    fn an_agent_with_nothing_the_matter_is_healthy() {
        let mut overview = Overview {
            canaries: vec![Canary { path: "exec".into(), live: true, last_success: Some(1.0) }],
            capabilities: vec![Capability { state: "enforced".into(), ..Capability::default() }],
            books: vec![Book { kind: "exec".into(), seen: 5, delivered: 5, ..Book::default() }],
            ..Overview::default()
        };
        judge(&mut overview, None, None);
        assert!(
            overview.healthy && overview.problems.is_empty() && overview.notes.is_empty(),
            "{overview:?}"
        );
    }

    #[test]
    fn what_is_the_matter_is_said() {
        let mut overview = Overview {
            canaries: vec![Canary { path: "connect".into(), ..Canary::default() }],
            capabilities: vec![Capability { state: "fallback".into(), ..Capability::default() }],
            uncovered: vec![Reason { reason: "held".into(), count: 1 }],
            ..Overview::default()
        };
        judge(&mut overview, Some("it hangs".into()), None);
        assert!(!overview.healthy);
        assert_eq!(words(&overview.problems), ["event_loop", "canary", "interfaces"]);
        assert_eq!(words(&overview.notes), ["capability"]);
    }

    #[test]
    fn a_loss_is_a_problem_while_it_is_fresh_and_a_note_for_good() {
        let mut overview = Overview {
            books: vec![Book { kind: "exec".into(), lost: 3, ..Book::default() }],
            sinks: vec![Sink {
                name: "file".into(),
                lost: vec![Reason { reason: "disk_full".into(), count: 2 }],
                ..Sink::default()
            }],
            ..Overview::default()
        };
        judge(&mut overview, None, Some(Duration::from_secs(5)));
        assert_eq!(words(&overview.problems), ["events_lost", "sink"]);
        judge(&mut overview, None, Some(FRESH));
        assert!(overview.healthy);
        assert_eq!(words(&overview.notes), ["events_lost", "sink"]);
    }

    #[test]
    fn a_total_that_grows_is_noticed_and_one_that_stays_is_old() {
        let losses = Losses::default();
        assert_eq!(losses.note(0), None);
        assert!(losses.note(2).is_some());
        let first = losses.note(2).unwrap();
        std::thread::sleep(Duration::from_millis(2));
        assert!(losses.note(2).unwrap() > first);
    }
}
