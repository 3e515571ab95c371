//! What can be asked of a running agent: requests and answers as lines of JSON over a unix socket.
//!
//! A request is one line; the answer is any number of `{"item":...}` and at last one `{"done":...}` or `{"error":"..."}`. A
//! connection may ask any number of times, one after the other. To add a request: a row in [`Request`], and what answers
//! it in [`answer`].

pub mod bans;
pub mod client;
mod line;
pub mod policy;
pub mod server;
mod socket;

use std::sync::Arc;

use anyhow::{Result, anyhow};
use serde::{Deserialize, Serialize};

use self::line::Out;
use crate::agent::{
    bans::{Bans, BansInForce},
    orders::Orders,
};

/// Name of the socket in the run directory.
pub const SOCKET: &str = "control.sock";
/// The longest line, with its end.
pub const LINE: usize = 64 * 1024;

/// Everything that can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// To ban; items are [`bans::Refused`]; done with [`bans::Added`].
    BanAdd(bans::Add),
    /// To take out bans and penalties; done with [`bans::Deleted`].
    BanDel(bans::Del),
    /// To change the policy in force; done with [`policy::Changed`].
    Policy(policy::Change),
    /// To end; done with [`policy::Changed`].
    Stop(policy::Stop),
    /// To list them: items are [`bans::Ban`]; done with [`bans::Listed`].
    BanList(bans::List),
}

/// What the agent answers with.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Bans.
    pub bans: BansInForce,
    /// Where the policy is changed.
    pub orders: Orders,
}

impl Parts {
    fn bans(&self) -> Result<Arc<Bans>> {
        self.bans.get().ok_or_else(|| {
            anyhow!(
                "the policy in force has no [[rate_limit]], so the agent looks at no packet and a ban would not hold; add a \
                 rate limit and restart the agent"
            )
        })
    }
}

/// Answers a request.
fn answer(parts: &Parts, request: &Request, out: &mut Out) -> Result<()> {
    match request {
        Request::BanAdd(add) => bans::add(&*parts.bans()?, add, out),
        Request::BanDel(del) => bans::del(&*parts.bans()?, del, out),
        Request::Policy(change) => policy::change(&parts.orders, change, out),
        Request::Stop(stop) => policy::stop(&parts.orders, *stop, out),
        Request::BanList(_) => bans::list(&*parts.bans()?, out),
    }
}
