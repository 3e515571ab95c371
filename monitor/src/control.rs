//! What can be asked of a running agent: requests and answers as lines of JSON over a unix socket.
//!
//! A request is one line, `{"version":1,"request":{"NAME":{...}}}`; the answer is any number of `{"item":...}` and at last one
//! `{"done":...}` or `{"error":"..."}`. A connection may ask any number of times, one after the other. Lines, connections and
//! the time for each are bounded. To add a request: a row in [`Request`], whether it changes anything
//! ([`Request::changes`]), and what answers it ([`answer`]).

pub mod access;
pub mod bans;
pub mod client;
pub mod events;
mod line;
pub mod policy;
pub mod server;
mod socket;
pub mod status;

use std::sync::{Arc, atomic::AtomicBool};

use anyhow::{Result, anyhow};
use serde::{Deserialize, Serialize};

use self::line::Out;
use crate::{
    agent::{
        bans::{Bans, BansInForce},
        orders::Orders,
    },
    overview,
};

/// Name of the socket in the run directory.
pub const SOCKET: &str = "control.sock";
/// The longest line of a request, with its end.
pub const LINE: usize = 64 * 1024;
/// The longest line of an answer: how the agent is, with hundreds of rules and sources.
pub const ANSWER: usize = 4 << 20;
/// The version of this protocol. It changes when an old request or answer would be misunderstood, not with additions.
pub const VERSION: u32 = 1;

/// Everything that can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
    /// How the agent is: items are [`status::Finding`]; done with [`crate::overview::Overview`].
    Status(status::Status),
    /// The last events and those to come: items are [`events::Told`]; done with [`events::Ended`].
    Events(events::Events),
}

impl Request {
    /// Whether it changes what the agent does, rather than only looking. Who may only look is refused.
    #[must_use]
    pub const fn changes(&self) -> bool {
        match self {
            Self::BanAdd(_) | Self::BanDel(_) | Self::Policy(_) | Self::Stop(_) => true,
            Self::BanList(_) | Self::Status(_) | Self::Events(_) => false,
        }
    }
}

/// What the agent answers with.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Bans.
    pub bans: BansInForce,
    /// Where the policy is changed.
    pub orders: Orders,
    /// What views are made of.
    pub overview: Option<overview::Parts>,
}

impl Parts {
    fn bans(&self) -> Result<Arc<Bans>> {
        self.bans.get().ok_or_else(|| {
            anyhow!(
                "the policy in force has no [[rate_limit]], so the agent looks at no packet and a ban would not hold; add a \
                 rate limit and `monitor reload`"
            )
        })
    }
}

/// Answers a request.
fn answer(parts: &Parts, request: &Request, stop: &AtomicBool, out: &mut Out) -> Result<()> {
    let views = parts.overview.as_ref();
    match request {
        Request::BanAdd(add) => bans::add(&*parts.bans()?, add, out),
        Request::BanDel(del) => bans::del(&*parts.bans()?, del, out),
        Request::Policy(change) => policy::change(&parts.orders, change, out),
        Request::Stop(stop) => policy::stop(&parts.orders, *stop, out),
        Request::BanList(_) => bans::list(&*parts.bans()?, out),
        Request::Status(status) => status::status(views, status, out),
        Request::Events(asked) => events::events(views, asked, stop, out),
    }
}
