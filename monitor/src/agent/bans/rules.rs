//! The rules that give penalties, as far as bans need to know them.

use std::sync::Arc;

use monitor_common::{
    addr::Addr,
    limit::{Ban, BanKey, Penalty, RateRule, penalty_ns},
    policy::RuleKind,
};

use super::prefix::Prefix;
use crate::policy::Names;

/// A rule with a penalty.
#[derive(Clone, Debug)]
pub struct PenaltyRule {
    /// Its name.
    pub name: Arc<str>,
    /// [`RateRule::id`].
    pub id: u64,
    penalty: Penalty,
    v4_length: u8,
    v6_length: u8,
}

/// The rules that give penalties, by the names of their counters.
#[must_use]
pub fn penalty_rules(rules: &[RateRule], names: &Names) -> Vec<PenaltyRule> {
    let named = names.rules(RuleKind::RateLimit);
    let each = rules.iter().filter_map(|rule| {
        let (name, _) = named.get(rule.counter as usize)?;
        PenaltyRule::new(name, rule)
    });
    each.collect()
}

impl PenaltyRule {
    /// Of a compiled rule; none if it gives no penalty.
    #[must_use]
    pub fn new(name: &Arc<str>, rule: &RateRule) -> Option<Self> {
        (rule.penalty.for_ns > 0).then(|| Self {
            name: Arc::clone(name),
            id: rule.id,
            penalty: rule.penalty,
            v4_length: 96 + rule.prefix_v4 as u8,
            v6_length: rule.prefix_v6 as u8,
        })
    }

    /// Who serves the penalty with this key.
    #[must_use]
    pub fn source(&self, addr: &Addr) -> Prefix {
        Prefix::around(addr, if addr.is_v4() { self.v4_length } else { self.v6_length })
    }

    /// The key of the penalty that an address or network would serve; none if it is wider than a source.
    #[must_use]
    pub fn key(&self, prefix: &Prefix) -> Option<BanKey> {
        let source = self.source(&prefix.addr());
        source.contains(prefix).then(|| BanKey { addr: source.addr(), rule: self.id })
    }

    /// When a penalty began, nanoseconds of the monotonic clock.
    #[must_use]
    pub fn since_ns(&self, ban: &Ban) -> u64 {
        ban.until_ns.saturating_sub(penalty_ns(&self.penalty, ban.strikes.saturating_sub(1)))
    }

    /// Until when it must be remembered how many penalties there were: where they get longer, as long after the end as the
    /// longest of them.
    #[must_use]
    pub fn remembered_until_ns(&self, ban: &Ban) -> u64 {
        const SAME: u32 = 100;
        let grows = self.penalty.factor > SAME;
        ban.until_ns.saturating_add(if grows { self.penalty.max_ns } else { 0 })
    }
}
