//! Findings that say the same are told once, and then counted.
//!
//! The first is told at once. Those like it are gathered, and told as one summary when the window is over: how many, when the
//! first was and when the last. As long as they go on there is one summary for each window.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use crate::event::{Event, Repeats};

/// Kinds of findings that are gathered at one time. Each keeps its last event, a few kilobytes at most. When there are more,
/// what comes is told as it comes.
pub(super) const MOST: usize = 2048;

/// Gathers findings for one sink.
#[derive(Debug)]
pub(super) struct Folder {
    window: Duration,
    open: HashMap<u64, Open>,
}

/// Findings of one kind.
#[derive(Debug)]
struct Open {
    until: Instant,
    count: u64,
    first: Timestamp,
    /// What the summary looks like.
    last: Arc<Event>,
}

impl Folder {
    pub fn new(window: Duration) -> Self {
        Self { window, open: HashMap::new() }
    }

    /// Whether a finding is to be told by itself; else it was taken for the summary.
    pub fn is_new(&mut self, likeness: u64, event: &Arc<Event>) -> bool {
        if let Some(open) = self.open.get_mut(&likeness) {
            if open.count == 0 {
                open.first = event.time;
            }
            open.count += 1;
            open.last = Arc::clone(event);
            return false;
        }
        if self.open.len() < MOST {
            let until = Instant::now() + self.window;
            self.open.insert(likeness, Open { until, count: 0, first: event.time, last: Arc::clone(event) });
        }
        true
    }

    /// The summaries that are due.
    pub fn due(&mut self, now: Instant) -> Vec<Arc<Event>> {
        let window = self.window;
        let mut due = Vec::new();
        self.open.retain(|_, open| {
            if open.until > now {
                return true;
            }
            due.extend(open.summary());
            let goes_on = open.count > 0;
            (open.count, open.until) = (0, now + window);
            goes_on
        });
        due
    }

    /// All summaries: nothing more will come.
    pub fn rest(&mut self) -> Vec<Arc<Event>> {
        self.open.drain().filter_map(|(_, open)| open.summary()).collect()
    }
}

impl Open {
    fn summary(&self) -> Option<Arc<Event>> {
        let repeats = Repeats { count: self.count, first: self.first, last: self.last.time };
        let mut event = Event::clone(&self.last);
        event.finding.as_mut()?.repeats = Some(repeats);
        (self.count > 0).then(|| Arc::new(event))
    }
}

#[cfg(test)]
mod tests {
    use std::hash::RandomState;

    use jiff::SignedDuration;

    use super::*;
    use crate::render::samples;

    fn at(second: i64) -> Arc<Event> {
        let mut event = samples::denied_connect();
        event.time += SignedDuration::from_secs(second);
        Arc::new(event)
    }

    #[test]
    fn the_first_is_told_and_the_rest_is_one_summary_a_window() {
        let window = Duration::from_secs(60);
        let mut folder = Folder::new(window);
        let began = Instant::now();
        assert!(folder.is_new(7, &at(0)));
        for second in 1..=5 {
            assert!(!folder.is_new(7, &at(second)));
        }
        assert!(folder.is_new(8, &at(0)));
        assert!(folder.due(began).is_empty());
        let due = folder.due(began + 2 * window);
        assert_eq!(due.len(), 1, "what came once has no summary");
        let found = due[0].finding.as_ref().unwrap();
        assert_eq!(found.repeats, Some(Repeats { count: 5, first: at(1).time, last: at(5).time }));
        assert_eq!(found.count(), 5);
        // It goes on: gathered from the start.
        assert!(!folder.is_new(7, &at(6)));
        assert!(folder.is_new(8, &at(6)), "it was quiet for a window");
        assert_eq!(folder.rest()[0].finding.as_ref().unwrap().count(), 1);
        assert!(folder.rest().is_empty());
    }

    #[test]
    fn what_finds_no_room_is_told() {
        let mut folder = Folder::new(Duration::from_secs(60));
        let event = at(0);
        for likeness in 0..3 * MOST as u64 {
            assert!(folder.is_new(likeness, &event));
        }
        assert_eq!(folder.open.len(), MOST);
        assert!(folder.is_new(2 * MOST as u64, &event));
        assert!(!folder.is_new(0, &event));
    }

    #[test]
    fn only_what_says_the_same_is_alike() {
        let keyed = RandomState::new();
        let one = samples::denied_connect();
        let mut later = one.clone();
        later.time += SignedDuration::from_secs(9);
        later.actor.as_mut().unwrap().process.pid += 1;
        assert_eq!(one.likeness(&keyed), later.likeness(&keyed));
        let mut other = one.clone();
        other.finding.as_mut().unwrap().verdict += 1;
        let mut elsewhere = one.clone();
        elsewhere.detail =
            crate::event::Detail::Connect { remote: samples::end([10, 0, 0, 2], 5432, 6), datagram: false };
        let mut user = one.clone();
        user.actor.as_mut().unwrap().process.uid += 1;
        for different in [other, elsewhere, user] {
            assert_ne!(one.likeness(&keyed), different.likeness(&keyed));
        }
        assert_eq!(samples::exec().likeness(&keyed), None);
    }
}
