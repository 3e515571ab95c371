//! Which counters a rate limit has: they are its own for as long as the agent runs, whatever policies come and go, and so
//! is the bucket of a rule that counts everybody together.

use std::sync::Arc;

use anyhow::{Result, bail};
use monitor_common::{count::UNPARSED_RULE, limit::RateRule};

use crate::config::Config;

/// The names of rate limits, by their counters. One that has gone keeps its own.
#[derive(Clone, Debug, Default)]
pub struct RateCounters {
    names: Vec<Arc<str>>,
}

impl RateCounters {
    /// Those that there were, by counter.
    #[must_use]
    pub fn of(names: Vec<String>) -> Self {
        Self { names: names.into_iter().map(Arc::from).collect() }
    }

    /// Gives the compiled rate limits of a configuration their counters.
    ///
    /// # Errors
    /// When there were too many different ones since the agent started.
    pub fn assign(&mut self, config: &Config, rules: &mut [RateRule]) -> Result<()> {
        let mut counters = Vec::with_capacity(config.rate_limits.len());
        for limit in &config.rate_limits {
            let known = self.names.iter().position(|name| **name == *limit.name);
            let counter = known.unwrap_or(self.names.len());
            if counter >= UNPARSED_RULE as usize {
                bail!(
                    "rate limit {:?}: there were {UNPARSED_RULE} rate limits of different names since the agent started, and no \
                     more can be counted; restart it",
                    limit.name
                );
            }
            if known.is_none() {
                self.names.push(Arc::from(&*limit.name));
            }
            counters.push(counter as u32);
        }
        for rule in rules {
            // As it is compiled, a rule bears its place in the file.
            rule.counter = counters.get(rule.counter as usize).copied().unwrap_or(rule.counter);
        }
        Ok(())
    }

    /// The names, by counter.
    #[must_use]
    pub fn names(&self) -> &[Arc<str>] {
        &self.names
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Compiled, Host, Unenforceable, ask::AnyAccounts};

    fn assigned(counters: &mut RateCounters, names: &[&str]) -> Result<Vec<u32>> {
        let limit =
            |name: &&str| format!("[[rate_limit]]\nname = {name:?}\nports = [80]\npackets = \"9/s\"\n");
        let text: String = names.iter().map(limit).collect();
        let config = Config::from_text(&text)?;
        let accounts = AnyAccounts::new(None);
        let host = Host { tree: None, accounts: &accounts, cannot: Unenforceable::default() };
        let mut policy = Compiled::new(&config, &host)?;
        counters.assign(&config, &mut policy.rate_rules)?;
        Ok(policy.rate_rules.iter().map(|rule| rule.counter).collect())
    }

    #[test]
    fn a_rule_keeps_its_counter_and_nobody_else_gets_it() {
        let mut counters = RateCounters::default();
        assert_eq!(assigned(&mut counters, &["a", "b"]).unwrap(), [0, 1]);
        assert_eq!(assigned(&mut counters, &["c", "b"]).unwrap(), [2, 1]);
        assert_eq!(assigned(&mut counters, &["a", "c"]).unwrap(), [0, 2]);
        let names: Vec<&str> = counters.names().iter().map(|name| &**name).collect();
        assert_eq!(names, ["a", "b", "c"]);
    }

    #[test]
    fn when_all_are_taken_it_says_so() {
        let mut counters =
            RateCounters { names: (0..UNPARSED_RULE).map(|n| format!("r{n}").into()).collect() };
        assert_eq!(assigned(&mut counters, &["r7"]).unwrap(), [7]);
        assert!(assigned(&mut counters, &["one more"]).unwrap_err().to_string().contains("restart"));
    }
}
