//! Who reads the metrics: whoever watches over this host mustn't lose sight of it by a rule.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Most addresses that are remembered. Those that came first stay: nobody can crowd them out.
const ROOM: usize = 16;
/// How long one that reads no more is remembered: several times what people wait between two scrapes.
const KEPT: Duration = Duration::from_secs(600);

/// The addresses that metrics were read from lately.
#[derive(Debug, Default)]
pub struct Readers {
    seen: Mutex<Vec<(IpAddr, Instant)>>,
}

impl Readers {
    /// Somebody was given what they asked for. The host itself needs no protection from itself.
    pub fn saw(&self, reader: IpAddr) {
        self.saw_at(reader, Instant::now());
    }

    fn saw_at(&self, reader: IpAddr, now: Instant) {
        let reader = reader.to_canonical();
        if reader.is_loopback() {
            return;
        }
        let mut seen = self.seen();
        seen.retain(|(known, at)| *known != reader && now.duration_since(*at) < KEPT);
        if seen.len() < ROOM {
            seen.push((reader, now));
        }
    }

    /// Those that read lately.
    #[must_use]
    pub fn lately(&self) -> BTreeSet<IpAddr> {
        self.lately_at(Instant::now())
    }

    fn lately_at(&self, now: Instant) -> BTreeSet<IpAddr> {
        let seen = self.seen();
        let lately = seen.iter().filter(|(_, at)| now.saturating_duration_since(*at) < KEPT);
        lately.map(|(reader, _)| *reader).collect()
    }

    fn seen(&self) -> MutexGuard<'_, Vec<(IpAddr, Instant)>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn readers_are_remembered_for_a_while_and_the_first_stay() {
        let (readers, begin) = (Readers::default(), Instant::now());
        readers.saw_at("127.0.0.1".parse().unwrap(), begin);
        readers.saw_at("::1".parse().unwrap(), begin);
        assert!(readers.lately_at(begin).is_empty(), "the host itself");
        readers.saw_at("::ffff:10.0.0.0".parse().unwrap(), begin);
        (0..100).for_each(|last| readers.saw_at(v4(last), begin));
        let first: BTreeSet<IpAddr> = (0..ROOM as u8).map(v4).collect();
        assert_eq!(readers.lately_at(begin), first);
        readers.saw_at(v4(3), begin + KEPT / 2);
        assert_eq!(readers.lately_at(begin + KEPT / 2), first);
        assert_eq!(readers.lately_at(begin + KEPT), BTreeSet::from([v4(3)]));
        readers.saw_at(v4(99), begin + KEPT);
        assert_eq!(readers.lately_at(begin + KEPT), BTreeSet::from([v4(3), v4(99)]), "there is room again");
    }
}
