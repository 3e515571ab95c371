//! Who a process descends from.

use super::{Enricher, Known, same_start};
use crate::{
    event::{Ancestor, Event},
    host::processes,
};

/// Ancestors that are told at most.
pub(super) const LEVELS: usize = 8;

/// How long what `/proc` said of an ancestor is believed, nanoseconds. A flood of findings shall not read it for each.
const BELIEVED_NS: u64 = 1_000_000_000;

/// Most processes of which it is remembered that nothing could be read.
const UNTOLD: usize = 1024;

impl Enricher {
    /// Tells a finding who its subject descends from: its parent at the time of the event first.
    ///
    /// Processes in the scope of the policy are known by their own events. Others tell of none, so `/proc` is asked about
    /// an ancestor once a second at most: it may have become another program, or its id may have gone to another process.
    pub fn add_ancestry(&mut self, event: &mut Event) {
        let (Some(finding), Some(who)) = (&mut event.finding, &event.actor) else { return };
        let mut pid = who.process.ppid;
        while pid != 0 && finding.ancestry.len() < LEVELS {
            let Some(known) = self.current(pid, event.boot_ns) else { return };
            finding.ancestry.push(Ancestor { pid, start_ns: known.start_ns, program: known.program.clone() });
            pid = known.ppid;
        }
    }

    /// What is known of a process that was there a moment ago.
    fn current(&mut self, pid: u32, now_ns: u64) -> Option<&Known> {
        let fresh = |known: &Known| now_ns.saturating_sub(known.asked_ns) < BELIEVED_NS;
        if !self.programs.get(&pid).is_some_and(fresh) {
            // A thread of the kernel, or one that this agent may not look at: it is the ancestor of many.
            let asked = self.untold.get(&pid);
            if asked.is_some_and(|asked| now_ns.saturating_sub(*asked) < BELIEVED_NS) {
                return None;
            }
            let known = match (processes::read(&self.tree, pid), self.programs.get(&pid)) {
                // Of the same process, what its own exec told says more than `/proc` does.
                (Some(found), Some(known))
                    if same_start(found.process.start_ns, known.start_ns)
                        && found.program.path == known.program.path =>
                {
                    Known { ppid: found.process.ppid, ..known.clone() }
                }
                (Some(found), _) => Known::found(found, &self.redactor),
                // Gone by now; it was there when the event happened.
                (None, Some(known)) => known.clone(),
                (None, None) => {
                    if self.untold.len() >= UNTOLD {
                        self.untold.clear();
                    }
                    self.untold.insert(pid, now_ns);
                    return None;
                }
            };
            self.learn(pid, Known { asked_ns: now_ns, ..known });
        }
        self.programs.get(&pid)
    }
}
