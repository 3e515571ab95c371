//! Sets of rules by the name of an interface.

use std::collections::HashMap;

use anyhow::Result;
use monitor_common::policy::{Membership, RuleSet};

use super::globs::{self, Globs, Text};
use crate::config::{Spanned, is_glob};

/// What names and globs of interfaces stand for.
#[derive(Default)]
pub struct ByInterface {
    names: HashMap<String, RuleSet>,
    globs: Option<Globs>,
}

impl ByInterface {
    /// Collects the names and globs of rules.
    ///
    /// # Errors
    /// The globs are too complex.
    pub(super) fn new<'a>(lists: impl Iterator<Item = (usize, &'a [Spanned<String>])>) -> Result<Self> {
        let mut names: HashMap<String, RuleSet> = HashMap::new();
        let mut globs = Vec::new();
        for (rule, list) in lists {
            for text in list.iter().map(|entry| &entry.value) {
                if is_glob(text) {
                    let mut member = Membership::NONE;
                    member.rules.insert(rule);
                    globs.push((Text::Interface(text.clone()), member));
                } else {
                    names.entry(text.clone()).or_insert(RuleSet::EMPTY).insert(rule);
                }
            }
        }
        let globs = if globs.is_empty() { None } else { Some(globs::compile(&globs)?) };
        Ok(Self { names, globs })
    }

    /// The rules that name an interface.
    #[must_use]
    pub fn look_up(&self, name: &str) -> RuleSet {
        let by_glob =
            self.globs.as_ref().map_or(RuleSet::EMPTY, |globs| globs.matches(name.as_bytes()).rules);
        self.names.get(name).map_or(by_glob, |by_name| by_name.or(&by_glob))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Place;

    #[test]
    fn names_and_globs_are_found() {
        let list = |texts: &[&str]| -> Vec<Spanned<String>> {
            let one = |text: &&str| Spanned { value: (*text).to_owned(), place: Place::default() };
            texts.iter().map(one).collect()
        };
        let lists = [list(&["eth0", "wg*"]), list(&["eth[0-2]", "{lo,br?}"]), list(&["*"])];
        let found = ByInterface::new(lists.iter().enumerate().map(|(rule, list)| (rule, &list[..]))).unwrap();
        let bits = |name: &str| found.look_up(name).bits[0];
        assert_eq!([bits("eth0"), bits("eth2"), bits("eth3"), bits("eth01")], [0b111, 0b110, 0b100, 0b100]);
        assert_eq!(
            [bits("wg"), bits("wg-office"), bits("lo"), bits("br"), bits("br0")],
            [0b101, 0b101, 0b110, 0b100, 0b110]
        );
        assert!(ByInterface::default().look_up("eth0").is_empty());
    }
}
