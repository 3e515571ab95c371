//! The interfaces whose packets are limited, while they come, go and change.

mod coverage;
mod lifelines;

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use self::{
    coverage::{Coverage, Look},
    lifelines::Lifelines,
};
use crate::{
    config::{self, Config, Spanned, is_glob},
    host::interfaces::{self, Changed, Changes, Interfaces, Link},
    kernel::{attach::remove_leftovers, load::Kernel, rates::Rates},
    metrics::{Change, Metrics},
    policy::{
        Compiled,
        interfaces::{ByInterface, OnInterfaces},
    },
};

/// How soon the follower notices that it shall stop.
const STOP: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
/// How often everything is looked at although nothing was heard.
const LOOK: Duration = Duration::from_secs(10);
/// The same for routes: there may be a million.
const ROUTES: Duration = Duration::from_secs(60);

/// Which interfaces are wanted.
pub(super) enum Selection {
    /// Those with a default route. One that has lost it stays covered for as long as it exists: traffic may still come in.
    Auto,
    /// Those with a name that is listed or fits a glob.
    Named {
        /// The names that are no globs.
        names: Vec<String>,
        /// Names and globs.
        all: Box<ByInterface>,
    },
}

impl Selection {
    fn new(config: &Config) -> Result<Self> {
        let config::Interfaces::Named(list) = &config.agent.interfaces else { return Ok(Self::Auto) };
        let names = list.iter().map(|name| &name.value).filter(|name| !is_glob(name)).cloned().collect();
        let all = ByInterface::new([(0, &list[..])].into_iter())?;
        Ok(Self::Named { names, all: Box::new(all) })
    }

    /// Whether an interface that isn't covered should be.
    fn takes(&self, link: &Link, routed: &BTreeSet<u32>) -> bool {
        match self {
            Self::Auto => routed.contains(&link.index),
            Self::Named { .. } => self.keeps(&link.name),
        }
    }

    /// Whether one that is covered still should be, under this name.
    fn keeps(&self, name: &str) -> bool {
        match self {
            Self::Auto => true,
            Self::Named { all, .. } => !all.look_up(name).is_empty(),
        }
    }

    /// Whether the agent doesn't start without it: a glob may take in what can't be covered.
    fn must_have(&self, name: &str) -> bool {
        match self {
            Self::Auto => true,
            Self::Named { names, .. } => names.iter().any(|other| other == name),
        }
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let names = if let Self::Named { names, .. } = self { &names[..] } else { &[] };
        names.iter().map(String::as_str)
    }
}

/// Says which interfaces that the configuration names aren't there. Names are checked at the start only, against typos.
pub(super) fn check_names(config: &Config) -> Result<()> {
    let config::Interfaces::Named(names) = &config.agent.interfaces else { return Ok(()) };
    let missing =
        names.iter().filter(|name| !is_glob(&name.value) && interfaces::index(&name.value).is_none());
    let error = |name: &Spanned<String>| {
        let message = format!("there is no interface {:?} on this host", name.value);
        let error = config.diagnostic(config::Severity::Error, &name.place, message);
        let letter = name.value.chars().next().unwrap_or('x');
        error.help(format!(
            "`ip link` lists those there are; `interfaces = \"auto\"` takes those with a default route, and a glob \
             (`\"[{letter}]{}\"`) may be for one that is made later",
            name.value.chars().skip(1).collect::<String>()
        ))
    };
    let errors: Vec<_> = missing.map(error).collect();
    if errors.is_empty() { Ok(()) } else { Err(config::Report::new(errors).into()) }
}

/// The kernel programs, and what of them is attached to interfaces. In this order they are dropped.
struct Holding {
    coverage: Coverage,
    kernel: Kernel,
}

/// Holds the kernel programs while the follower covers interfaces with them.
#[derive(Clone)]
pub struct Covering {
    holding: Arc<Mutex<Option<Holding>>>,
}

impl Covering {
    /// Puts the rate limits of a new policy in force, for the interfaces that are covered and those that will be. How they are
    /// attached stays as it is.
    ///
    /// # Errors
    /// When an interface would need a place that another has, or the kernel refuses; then what was in force still is.
    pub fn adopt(&self, policy: &Compiled) -> Result<()> {
        // Nothing is covered meanwhile.
        match &mut *self.lock() {
            Some(Holding { coverage, .. }) => coverage.adopt(policy),
            // The agent is stopping: no program is left that a policy could be for.
            None => Ok(()),
        }
    }

    /// Lets go of the kernel programs, and takes them out unless they shall be kept. What comes after covers nothing.
    pub fn end(&self) {
        drop(self.lock().take());
    }

    /// Covers nothing, and watches over nothing, until it is told to go on. What is attached stays.
    pub(super) fn suspend(&self) -> Option<Suspended> {
        self.lock().take().map(Suspended)
    }

    /// Goes on.
    pub(super) fn resume(&self, Suspended(mut holding): Suspended) {
        let Holding { coverage, kernel } = &mut holding;
        coverage.take_back(kernel);
        *self.lock() = Some(holding);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Holding>> {
        self.holding.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is attached, while another generation takes it over.
pub(super) struct Suspended(Holding);

impl Suspended {
    /// Lets go of what the other has taken over.
    pub(super) fn hand_over(self) {
        let Holding { coverage, kernel } = self.0;
        coverage.hand_over();
        drop(kernel);
    }
}

/// Follows the interfaces of the agent's network namespace.
pub(super) struct Follower {
    covering: Covering,
    interfaces: Interfaces,
    changes: Changes,
    wants_any: bool,
    /// Whether it depends on default routes what is covered.
    asks_routes: bool,
    routed: BTreeSet<u32>,
    /// Whether default routes are still to be looked at.
    routes_due: bool,
    looked: Instant,
    looked_at_routes: Instant,
    metrics: Arc<Metrics>,
}

impl Follower {
    /// Covers the interfaces that there are. Without a rate limit none, then or later.
    ///
    /// # Errors
    /// Names the interfaces that can't be covered and must be, with the reasons.
    pub fn new(
        config: &Config,
        kernel: Kernel,
        (rates, policy): (Arc<Rates>, Arc<OnInterfaces>),
        metrics: Arc<Metrics>,
    ) -> Result<Self> {
        let limits_packets = !config.rate_limits.is_empty();
        let none_named =
            matches!(&config.agent.interfaces, config::Interfaces::Named(names) if names.is_empty());
        if limits_packets && none_named {
            tracing::warn!(
                "there are rate limits, but [agent] interfaces names none: no packet is looked at"
            );
        }
        let wants_any = limits_packets && !none_named;
        let none = Selection::Named { names: Vec::new(), all: Box::default() };
        let selection = if wants_any { Selection::new(config)? } else { none };
        let asks_routes = matches!(selection, Selection::Auto);
        // First hear, then look: what happens in between is heard.
        let changes = Changes::open()?;
        let lifelines = Lifelines::new(Arc::clone(&metrics));
        let coverage = Coverage::new(selection, policy, rates, lifelines, Arc::clone(metrics.counters()));
        let holding = Arc::new(Mutex::new(Some(Holding { coverage, kernel })));
        let now = Instant::now();
        let mut follower = Self {
            covering: Covering { holding },
            interfaces: Interfaces::open()?,
            changes,
            wants_any,
            asks_routes,
            routed: BTreeSet::new(),
            routes_due: wants_any,
            looked: now,
            looked_at_routes: now,
            metrics,
        };
        if let Err(error) = follower.begin() {
            // What the generation before had may be in our hands by now: it takes that back, or goes on through it.
            if let Some(suspended) = follower.covering.suspend() {
                suspended.hand_over();
            }
            return Err(error);
        }
        Ok(follower)
    }

    /// The first look.
    fn begin(&mut self) -> Result<()> {
        self.look(Changed { links: true, routes: true, lost: false }, true)?;
        let covering = self.covering.clone();
        let guard = covering.lock();
        let Some(Holding { coverage, kernel }) = &*guard else { return Ok(()) };
        let failures: Vec<&str> = coverage.failures().collect();
        if !failures.is_empty() {
            bail!("{}", failures.join("\n"));
        }
        if self.asks_routes && coverage.count() == 0 {
            bail!(
                "no interface has a default route, so [agent] interfaces = \"auto\" finds none to hold the rate limits \
                 on; name them: interfaces = [\"eth0\"]"
            );
        }
        // What others left goes last, so that nothing is open meanwhile.
        let programs: Vec<u32> = coverage.programs().collect();
        for link in self.interfaces.list()? {
            match remove_leftovers(&mut self.interfaces, link.index, &programs) {
                Ok(0) => {}
                Ok(count) => tracing::info!(
                    interface = link.name,
                    count,
                    "removed filters of traffic control that an agent before left"
                ),
                Err(error) => tracing::warn!(interface = link.name, "{error:#}"),
            }
        }
        if let Some(pins) = kernel.pins() {
            let paths: Vec<_> = coverage.pins().collect();
            pins.take_off_interfaces(&paths);
        }
        Ok(())
    }

    /// Holds the kernel programs from now on.
    pub fn covering(&self) -> Covering {
        self.covering.clone()
    }

    /// Starts the thread; none where nothing is to be covered, whatever comes.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub fn start(mut self, stop: Arc<AtomicBool>) -> Result<Option<JoinHandle<()>>> {
        if !self.wants_any {
            return Ok(None);
        }
        let run = move || {
            if let Some(Holding { kernel, .. }) = &mut *self.covering.lock()
                && let Err(error) = kernel.prepare_attach()
            {
                tracing::warn!("interfaces without XDP can't be covered: {error:#}");
            }
            while !stop.load(Relaxed) {
                if let Err(error) = self.wait() {
                    tracing::warn!("can't follow the interfaces: {error:#}");
                }
            }
        };
        let builder = std::thread::Builder::new().name("interfaces".to_owned());
        builder.spawn(run).context("can't start the thread that follows interfaces").map(Some)
    }

    /// Waits for a change, but not for long, and does what it asks for.
    fn wait(&mut self) -> Result<()> {
        // An interrupted wait is a short one.
        let _ = poll(&mut [PollFd::new(&self.changes, PollFlags::IN)], Some(&STOP));
        let mut changed = self.changes.drain();
        let closely = self.looked.elapsed() >= LOOK;
        changed.routes |= self.asks_routes && self.looked_at_routes.elapsed() >= ROUTES;
        // Routes of IPv4 that go with their interface are not told of.
        self.routes_due |= changed.routes || changed.links;
        if changed.lost {
            self.metrics.counters().interfaces.changed(Change::Unheard);
        }
        if changed.links || changed.routes || closely {
            return self.look(changed, closely);
        }
        self.spare(None);
        Ok(())
    }

    /// Keeps whom no rule may drop, before anything is done that could.
    fn spare(&self, gateways: Option<&BTreeSet<IpAddr>>) {
        if let Some(Holding { coverage, .. }) = self.covering.lock().as_mut().filter(|_| self.wants_any) {
            coverage.spare(gateways);
        }
    }

    fn look(&mut self, changed: Changed, closely: bool) -> Result<()> {
        // Before the looks: after one that fails there is time for something else.
        if closely {
            self.looked = Instant::now();
        }
        let mut gateways = None;
        if self.routes_due && (changed.routes || closely) {
            self.looked_at_routes = Instant::now();
            let routes = self.interfaces.default_routes()?;
            self.routes_due = false;
            self.routed = routes.interfaces;
            gateways = Some(routes.gateways);
        }
        self.spare(gateways.as_ref());
        let look = Look { links: self.interfaces.list()?, routed: self.routed.clone(), closely };
        let mut guard = self.covering.lock();
        let Some(Holding { coverage, kernel }) = &mut *guard else { return Ok(()) };
        if coverage.reconcile(kernel, &mut self.interfaces, &look) {
            let facts = coverage.facts();
            self.metrics.update_facts(|all| all.interfaces = facts);
        }
        Ok(())
    }
}
