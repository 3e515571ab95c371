//! The bans by hand, as the agent keeps them.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use monitor_common::limits;

use super::prefix::{Kind, Prefix};

/// The most bans by hand of single addresses and IPv6 networks of 64 bits: a quarter of the table stays for penalties.
pub const MOST_HOSTS: usize = limits::BANS as usize / 4 * 3;
/// The most bans by hand of other networks; one entry of the table stands for all IPv4 addresses.
pub const MOST_NETS: usize = limits::BAN_NETS as usize - 1;

/// One ban by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When it ends, nanoseconds of the monotonic clock; `u64::MAX` never.
    pub until_ns: u64,
    /// When it was made, seconds since the epoch.
    pub since: i64,
    /// Why, in somebody's words; may be empty.
    pub reason: Arc<str>,
}

/// All bans by hand.
#[derive(Debug, Default)]
pub struct Book {
    hosts: BTreeMap<Prefix, Entry>,
    /// How many of those are networks of 64 bits.
    nets_64: usize,
    nets: BTreeMap<Prefix, Entry>,
    /// How many networks there are of each length.
    lengths: BTreeMap<u8, usize>,
    /// Texts that many entries share.
    reasons: HashSet<Arc<str>>,
    /// How many texts there were after the unused ones were last thrown away.
    used_reasons: usize,
    /// The earliest end of any of them, or earlier.
    next_end_ns: u64,
}

impl Book {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self { next_end_ns: u64::MAX, ..Self::default() }
    }

    /// A text to be shared.
    pub fn reason(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.reasons.get(text) {
            return Arc::clone(known);
        }
        const FEW: usize = 1024;
        if self.reasons.len() >= 2 * self.used_reasons.max(FEW) {
            self.reasons.retain(|reason| Arc::strong_count(reason) > 1);
            self.used_reasons = self.reasons.len();
        }
        let new: Arc<str> = text.into();
        self.reasons.insert(Arc::clone(&new));
        new
    }

    /// Whether there is room for another one.
    #[must_use]
    pub fn has_room(&self, prefix: &Prefix) -> bool {
        match prefix.kind() {
            Kind::Net => self.nets.len() < MOST_NETS || self.nets.contains_key(prefix),
            _ => self.hosts.len() < MOST_HOSTS || self.hosts.contains_key(prefix),
        }
    }

    /// Enters a ban; the one that it takes the place of.
    pub fn insert(&mut self, prefix: Prefix, entry: Entry) -> Option<Entry> {
        self.next_end_ns = self.next_end_ns.min(entry.until_ns);
        if prefix.kind() != Kind::Net {
            let before = self.hosts.insert(prefix, entry);
            self.nets_64 += usize::from(before.is_none() && prefix.kind() == Kind::Net64);
            return before;
        }
        let before = self.nets.insert(prefix, entry);
        if before.is_none() {
            *self.lengths.entry(prefix.length()).or_default() += 1;
        }
        before
    }

    /// Takes a ban out.
    pub fn remove(&mut self, prefix: &Prefix) -> Option<Entry> {
        if prefix.kind() != Kind::Net {
            let removed = self.hosts.remove(prefix);
            self.nets_64 -= usize::from(removed.is_some() && prefix.kind() == Kind::Net64);
            return removed;
        }
        let removed = self.nets.remove(prefix)?;
        if let Some(count) = self.lengths.get_mut(&prefix.length()) {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&prefix.length());
            }
        }
        Some(removed)
    }

    /// When the last of the networks ends that a network is in, itself included: what its entry in a table of
    /// longest prefixes must say. `None` if it is in none.
    #[must_use]
    pub fn net_until(&self, prefix: &Prefix) -> Option<u64> {
        let around = self.lengths.range(..=prefix.length()).filter_map(|(length, _)| {
            let around = Prefix::around(&prefix.addr(), *length);
            around.contains(prefix).then(|| self.nets.get(&around)).flatten()
        });
        around.map(|entry| entry.until_ns).max()
    }

    /// The networks inside of a network, itself included.
    pub fn nets_in(&self, outer: Prefix) -> impl Iterator<Item = Prefix> {
        self.nets.range(outer..=outer.last()).map(|(net, _)| *net).filter(move |net| outer.contains(net))
    }

    /// The bans that cover an address or network, itself included, widest first.
    #[must_use]
    pub fn covering(&self, prefix: &Prefix) -> Vec<Prefix> {
        let lengths = self.lengths.keys().copied().chain([64, 128]);
        let around = lengths.filter(|length| *length <= prefix.length());
        let around = around.map(|length| Prefix::around(&prefix.addr(), length));
        let mut found: Vec<Prefix> =
            around.filter(|around| around.contains(prefix) && self.get(around).is_some()).collect();
        found.sort_by_key(Prefix::length);
        found
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, prefix: &Prefix) -> Option<&Entry> {
        match prefix.kind() {
            Kind::Net => self.nets.get(prefix),
            _ => self.hosts.get(prefix),
        }
    }

    /// All, single addresses first.
    pub fn iter(&self) -> impl Iterator<Item = (&Prefix, &Entry)> {
        self.hosts.iter().chain(&self.nets)
    }

    /// At most `count` of them that come after another one; from the first on without one.
    #[must_use]
    pub fn after(&self, last: Option<&Prefix>, count: usize) -> Vec<(Prefix, Entry)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let hosts_done = last.is_some_and(|last| last.kind() == Kind::Net);
        let from = last.map_or(Unbounded, |last| Excluded(*last));
        let hosts = (!hosts_done).then(|| self.hosts.range((from, Unbounded)));
        let nets = self.nets.range((if hosts_done { from } else { Unbounded }, Unbounded));
        let found = hosts.into_iter().flatten().chain(nets).take(count);
        found.map(|(prefix, entry)| (*prefix, entry.clone())).collect()
    }

    /// Those that have ended at `now_ns`.
    pub fn ended(&mut self, now_ns: u64) -> Vec<Prefix> {
        if now_ns < self.next_end_ns {
            return Vec::new();
        }
        let (mut ended, mut next) = (Vec::new(), u64::MAX);
        for (prefix, entry) in self.hosts.iter().chain(&self.nets) {
            if entry.until_ns <= now_ns {
                ended.push(*prefix);
            } else {
                next = next.min(entry.until_ns);
            }
        }
        self.next_end_ns = next;
        ended
    }

    /// The kinds of which there are any.
    #[must_use]
    pub fn kinds(&self) -> Vec<Kind> {
        let has_host = self.hosts.len() > self.nets_64;
        let has_net_64 = self.nets_64 > 0;
        let kinds = [(Kind::Host, has_host), (Kind::Net64, has_net_64), (Kind::Net, !self.nets.is_empty())];
        kinds.into_iter().filter(|(_, any)| *any).map(|(kind, _)| kind).collect()
    }

    /// How many there are of single addresses and IPv6 networks of 64 bits, and of other networks.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.hosts.len(), self.nets.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(until_ns: u64) -> Entry {
        Entry { until_ns, since: 0, reason: "".into() }
    }

    fn book(bans: &[(&str, u64)]) -> Book {
        let mut book = Book::new();
        bans.iter().for_each(|(text, until)| drop(book.insert(text.parse().unwrap(), entry(*until))));
        book
    }

    #[test]
    fn an_inner_network_ends_with_the_last_around_it() {
        let mut book = book(&[("10.0.0.0/8", 100), ("10.1.0.0/16", 50), ("10.1.2.0/24", 200), ("::/0", 900)]);
        let until = |book: &Book, text: &str| book.net_until(&text.parse().unwrap());
        assert_eq!(until(&book, "10.1.0.0/16"), Some(100));
        assert_eq!(until(&book, "10.1.2.0/24"), Some(200));
        assert_eq!(until(&book, "11.0.0.0/24"), None);
        let inside: Vec<String> =
            book.nets_in("10.1.0.0/16".parse().unwrap()).map(|net| net.to_string()).collect();
        assert_eq!(inside, ["10.1.0.0/16", "10.1.2.0/24"]);
        book.remove(&"10.0.0.0/8".parse().unwrap());
        assert_eq!(until(&book, "10.1.0.0/16"), Some(50));
    }

    #[test]
    fn what_covers_an_address_is_found_widest_first() {
        let book = book(&[("10.1.2.3", 1), ("10.0.0.0/8", 1), ("2001:db8::/64", 1), ("2001:db8::/32", 1)]);
        let covering = |text: &str| {
            let found = book.covering(&text.parse().unwrap());
            found.iter().map(Prefix::to_string).collect::<Vec<_>>()
        };
        assert_eq!(covering("10.1.2.3"), ["10.0.0.0/8", "10.1.2.3"]);
        assert_eq!(covering("2001:db8::9"), ["2001:db8::/32", "2001:db8::/64"]);
        assert!(covering("11.0.0.0/8").is_empty());
    }

    #[test]
    fn pages_show_everything_once() {
        let bans: Vec<String> = (0..50).map(|n| format!("10.0.0.{n}")).collect();
        let mut book = Book::new();
        bans.iter().chain([&"10.0.0.0/9".to_owned(), &"fd00::/48".to_owned()]).for_each(|text| {
            book.insert(text.parse().unwrap(), entry(1));
        });
        let (mut seen, mut last) = (Vec::new(), None);
        loop {
            let page = book.after(last.as_ref(), 7);
            let Some((end, _)) = page.last() else { break };
            last = Some(*end);
            seen.extend(page.into_iter().map(|(prefix, _)| prefix));
        }
        assert_eq!(seen, book.iter().map(|(prefix, _)| *prefix).collect::<Vec<_>>());
        assert_eq!(seen.len(), 52);
    }

    #[test]
    fn what_has_ended_is_found_once_it_has() {
        let mut book = book(&[("10.0.0.1", 10), ("10.0.0.2", 20), ("10.0.0.3", u64::MAX)]);
        assert!(book.ended(9).is_empty());
        let ended = book.ended(10);
        assert_eq!(ended, ["10.0.0.1".parse().unwrap()]);
        ended.iter().for_each(|prefix| drop(book.remove(prefix)));
        assert!(book.ended(19).is_empty());
        assert_eq!(book.ended(30).len(), 1);
    }

    #[test]
    fn texts_are_shared_and_forgotten() {
        let mut book = Book::new();
        let first = book.reason("scan");
        assert!(Arc::ptr_eq(&first, &book.reason("scan")));
        (0..10_000).for_each(|n| drop(book.reason(&n.to_string())));
        assert!(book.reasons.len() < 3000, "{}", book.reasons.len());
        assert!(Arc::ptr_eq(&first, &book.reason("scan")));
    }
}
