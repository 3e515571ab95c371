//! Who sent how much: exact for those who sent a lot, and bounded in memory.

use std::collections::{HashMap, hash_map::Entry};

use crate::agent::simulate::Amount;

/// What came of what a source sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Fate {
    /// All of it.
    pub sent: Amount,
    /// What of it was dropped.
    pub dropped: Amount,
    /// What would have been dropped, if the rules that observe were enforced.
    pub would_drop: Amount,
}

impl Fate {
    /// Adds another one.
    pub fn add(&mut self, other: &Self) {
        self.sent.add(other.sent);
        self.dropped.add(other.dropped);
        self.would_drop.add(other.would_drop);
    }
}

/// Sources, each with its fate. When there are too many, the half that sent least is let go and counted in sum: who sends
/// more than others comes back soon and stays, whatever crowd there is.
#[derive(Debug)]
pub struct Sources {
    rows: HashMap<[u64; 2], Fate>,
    most: usize,
    /// How often a source was let go.
    pub let_go: u64,
    /// What came of those that were let go, while they were known.
    pub rest: Fate,
}

impl Sources {
    /// At most so many, at least 2.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { rows: HashMap::new(), most: most.max(2), let_go: 0, rest: Fate::default() }
    }

    /// Adds what came of a packet of a source ([`monitor_common::addr::Addr::words`]).
    pub fn add(&mut self, source: [u64; 2], fate: &Fate) {
        if self.rows.len() >= self.most && !self.rows.contains_key(&source) {
            self.let_go_of_half();
        }
        match self.rows.entry(source) {
            Entry::Occupied(mut row) => row.get_mut().add(fate),
            Entry::Vacant(row) => drop(row.insert(*fate)),
        }
    }

    fn let_go_of_half(&mut self) {
        let mut sent: Vec<_> = self.rows.iter().map(|(source, fate)| (fate.sent.packets, *source)).collect();
        let half = sent.len() / 2;
        let (less, ..) = sent.select_nth_unstable(half);
        for (_, source) in less {
            if let Some(fate) = self.rows.remove(source) {
                self.rest.add(&fate);
                self.let_go += 1;
            }
        }
    }

    /// How many are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// The first `top` by a weight, heaviest first; none that weigh nothing.
    #[must_use]
    pub fn top(&self, top: usize, weight: impl Fn(&Fate) -> Amount) -> Vec<([u64; 2], Fate)> {
        let weigh = |fate: &Fate| {
            let Amount { packets, bytes } = weight(fate);
            (packets, bytes)
        };
        let mut rows: Vec<_> = self
            .rows
            .iter()
            .map(|(source, fate)| (*source, *fate))
            .filter(|(_, fate)| weigh(fate).0 > 0)
            .collect();
        // By address among equals, so that the same capture gives the same report.
        let order = |a: &([u64; 2], Fate), b: &([u64; 2], Fate)| {
            weigh(&b.1).cmp(&weigh(&a.1)).then_with(|| a.0.map(u64::to_be).cmp(&b.0.map(u64::to_be)))
        };
        if rows.len() > top && top > 0 {
            rows.select_nth_unstable_by(top - 1, order);
        }
        rows.truncate(top);
        rows.sort_by(order);
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: Fate = Fate {
        sent: Amount { packets: 1, bytes: 60 },
        dropped: Amount { packets: 0, bytes: 0 },
        would_drop: Amount { packets: 0, bytes: 0 },
    };

    #[test]
    fn those_who_send_most_are_first() {
        let mut sources = Sources::new(100);
        for source in 1..=10u64 {
            (0..source).for_each(|_| sources.add([0, source], &SENT));
        }
        let top: Vec<u64> = sources.top(3, |fate| fate.sent).iter().map(|(source, _)| source[1]).collect();
        assert_eq!(top, [10, 9, 8]);
        assert_eq!(sources.top(3, |fate| fate.dropped), []);
        assert_eq!(sources.top(0, |fate| fate.sent), []);
    }

    #[test]
    fn a_crowd_of_spoofed_sources_hides_nobody_and_nothing() {
        let mut sources = Sources::new(64);
        let mut sent = 0;
        for index in 0..50_000u64 {
            sources.add([1, index], &SENT);
            sent += 1;
            if index > 20_000 && index % 10 == 0 {
                sources.add([2, 2], &SENT);
                sent += 1;
            }
            assert!(sources.len() <= 64);
        }
        let (first, fate) = sources.top(1, |fate| fate.sent)[0];
        assert_eq!(first, [2, 2]);
        assert!(fate.sent.packets > 2900, "{fate:?}");
        let known: u64 = sources.top(64, |fate| fate.sent).iter().map(|(_, fate)| fate.sent.packets).sum();
        assert_eq!(known + sources.rest.sent.packets, sent);
    }
}
