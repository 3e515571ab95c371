//! Requests about bans.

use anyhow::{Context as _, Result, anyhow, bail};
use serde::{Deserialize, Serialize};

use super::line::Out;
use crate::agent::bans::{self, Bans, Page, prefix::Prefix};

/// To ban.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Add {
    /// Addresses and networks.
    pub bans: Vec<String>,
    /// For how many seconds; for good without.
    pub seconds: Option<u64>,
    /// Why.
    pub reason: String,
    /// Also very short networks.
    pub force: bool,
}

/// A ban that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// As it was asked for.
    pub address: String,
    /// Why not.
    pub why: String,
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Added {
    /// New ones.
    pub added: usize,
    /// Those that have a new end and reason.
    pub renewed: usize,
    /// Those that were not taken: the items before.
    pub refused: usize,
}

/// To take out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Del {
    /// What.
    pub what: What,
}

/// What is to be taken out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The ban of this address or network, and the penalties that it serves.
    Address(String),
    /// All penalties of this rule.
    Rule(String),
    /// Everything.
    All,
}

/// What was taken out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// Bans by hand.
    pub bans: usize,
    /// Penalties.
    pub penalties: usize,
    /// Wider bans that still hold.
    pub covered_by: Vec<String>,
}

/// To list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {}

/// One ban or penalty. Times are seconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    /// Address or network.
    pub address: String,
    /// The rule whose penalty it is; none by hand.
    pub rule: Option<String>,
    /// Why, as it was given.
    pub reason: String,
    /// Since when.
    pub since: Option<i64>,
    /// Until when; none for good.
    pub until: Option<i64>,
    /// How many penalties there were.
    pub strikes: u32,
}

/// How many were listed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Bans and penalties.
    pub count: usize,
}

pub(super) fn add(bans: &Bans, add: &Add, out: &mut Out) -> Result<()> {
    if add.reason.len() > bans::REASON_BYTES {
        bail!("the reason is longer than {} bytes", bans::REASON_BYTES);
    }
    let mut prefixes = Vec::with_capacity(add.bans.len());
    let mut refused = Vec::new();
    for text in &add.bans {
        match text.parse::<Prefix>() {
            Ok(prefix) => prefixes.push(prefix),
            Err(why) => refused.push(Refused { address: text.clone(), why }),
        }
    }
    let done = bans.add(&prefixes, add.seconds, &add.reason, add.force)?;
    let more = done.refused.into_iter();
    refused.extend(more.map(|(prefix, why)| Refused { address: prefix.to_string(), why }));
    refused.iter().try_for_each(|refused| out.item(refused))?;
    out.done(Added { added: done.added, renewed: done.renewed, refused: refused.len() })
}

pub(super) fn del(bans: &Bans, del: &Del, out: &mut Out) -> Result<()> {
    let done = match &del.what {
        What::Address(text) => bans.remove(&text.parse().map_err(|why: String| anyhow!(why))?)?,
        What::Rule(name) => bans
            .remove_rule(name)?
            .with_context(|| format!("the policy in force has no rate limit {name:?} with a penalty"))?,
        What::All => bans.remove_all()?,
    };
    let covered_by = done.covered_by.iter().map(Prefix::to_string).collect();
    out.done(Deleted { bans: done.bans, penalties: done.penalties, covered_by })
}

pub(super) fn list(bans: &Bans, out: &mut Out) -> Result<()> {
    let (mut page, mut count) = (Page::default(), 0);
    loop {
        let listed = bans.next(&mut page)?;
        if listed.is_empty() {
            return out.done(Listed { count });
        }
        count += listed.len();
        for ban in listed {
            out.item(Ban {
                address: ban.prefix.to_string(),
                rule: ban.rule.as_deref().map(str::to_owned),
                reason: ban.reason.to_string(),
                since: ban.since,
                until: ban.until,
                strikes: ban.strikes,
            })?;
        }
    }
}
