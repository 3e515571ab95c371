//! A new policy while the agent runs: what it says of packets comes into force at once and as a whole, with every bucket,
//! penalty and ban as it was. What it says of anything else takes a restart; then nothing of it comes into force.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result, bail};

use super::{
    bans::{Bans, rules::penalty_rules},
    counters::{InForce, KernelCounters},
    interfaces::Covering,
};
use crate::{
    config::Config,
    host::{accounts::Accounts, file::Tree, ssh::Ssh},
    kernel::object,
    metrics::{self, Metrics, Reload},
    policy::{Compiled, Host, Names, RateCounters, Unenforceable},
};

/// What a new policy has to be told to.
pub struct Reloader {
    /// Where it is read; `None` for the default place.
    pub path: Option<PathBuf>,
    /// What is attached to interfaces.
    pub covering: Covering,
    /// Bans; none without a rate limit.
    pub bans: Option<Arc<Bans>>,
    /// Who reads the counters of rate limits.
    pub counters: Arc<KernelCounters>,
    /// Where people see what is in force.
    pub metrics: Arc<Metrics>,
    /// What this kernel can't carry out.
    pub cannot: Unenforceable,
    /// What is in force.
    pub state: Mutex<State>,
}

/// The policy in force.
pub struct State {
    /// As it was read.
    pub config: Config,
    /// Sets in the table of sources, which can't grow.
    pub source_sets: u32,
    /// The counters of its rate limits, and of those before.
    pub rate_counters: RateCounters,
    /// How many policies were in force, this one included.
    pub generation: u64,
}

impl Reloader {
    /// Reads the policy and puts it in force. Returns the names of its rules; `None` where the old one stays, of which the
    /// log and the metrics tell.
    pub fn reload(&self) -> Option<Names> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (outcome, names) = match self.try_reload(&mut state) {
            Ok(Some(names)) => (Reload::Applied, Some(names)),
            Ok(None) => (Reload::Unchanged, None),
            Err((outcome, error)) => {
                tracing::error!("the new policy is not in force, the old one still is: {error:#}");
                (outcome, None)
            }
        };
        self.metrics.counters().reload(outcome);
        names
    }

    fn try_reload(&self, state: &mut State) -> Result<Option<Names>, (Reload, anyhow::Error)> {
        let (config, warnings) =
            Config::load(self.path.as_deref()).map_err(|report| (Reload::Invalid, report.into()))?;
        for warning in &warnings {
            tracing::warn!("{}: {}", warning.place(), warning.message());
        }
        let difference = state.config.difference(&config);
        if !difference.packets && difference.elsewhere.is_empty() {
            tracing::info!("the policy says what it said before");
            return Ok(None);
        }
        let mut policy = self.compile(&config).map_err(|error| (Reload::Invalid, error))?;
        needs_no_restart(state, &config, &policy, &difference.elsewhere)
            .map_err(|error| (Reload::NeedsRestart, error))?;
        let mut rate_counters = state.rate_counters.clone();
        let counted = rate_counters.assign(&config, &mut policy.rate_rules);
        counted.map_err(|error| (Reload::NeedsRestart, error))?;
        // Before, so that nothing is counted under a name that isn't known.
        let mut names = Names::counted(&config, &rate_counters);
        names.generation = state.generation + 1;
        let before = self.counters.in_force();
        let rate_rules = policy.rate_rules.clone();
        self.counters.set_in_force(InForce { names: names.clone(), rate_rules });
        if let Err(error) = self.covering.adopt(&policy) {
            self.counters.set_in_force(InForce::clone(&before));
            return Err((Reload::Failed, error));
        }
        if let Some(bans) = &self.bans {
            bans.set_rules(penalty_rules(&policy.rate_rules, &names));
            bans.set_protected(&policy.protected);
        }
        state.generation += 1;
        self.tell(&config, state.generation);
        (state.config, state.rate_counters) = (config, rate_counters);
        Ok(Some(names))
    }

    fn compile(&self, config: &Config) -> Result<Compiled> {
        let tree = Tree::open()?;
        let accounts = Accounts::read(&tree)?;
        let mut policy =
            Compiled::new(config, &Host { tree: Some(&tree), accounts: &accounts, cannot: self.cannot })?;
        let ssh = Ssh::now();
        tracing::info!("{ssh}");
        policy.protect(&ssh);
        Ok(policy)
    }

    fn tell(&self, config: &Config, generation: u64) {
        let sha256 = object::hex(&config.sha256);
        tracing::info!(generation, "the new policy is in force: {} rate limits", config.rate_limits.len());
        self.metrics.update_facts(|facts| {
            facts.policy = Some(metrics::Policy { sha256, generation, mode: config.mode.name() });
        });
    }
}

/// What can't be changed while the agent runs.
fn needs_no_restart(state: &State, config: &Config, policy: &Compiled, differs: &[&str]) -> Result<()> {
    if !differs.is_empty() {
        bail!(
            "it says something else in {}, and only what is said of packets ([[rate_limit]], [packets] and [agent] protect) \
             can change while the agent runs; restart it",
            differs.join(", ")
        );
    }
    if state.config.rate_limits.is_empty() != config.rate_limits.is_empty() {
        bail!(
            "it has the first rate limit, or no longer any, and the packet program is put in place at the start; restart it"
        );
    }
    if state.source_sets != policy.source_sets {
        bail!(
            "it gives the table of sources another `memory`, which is taken at the start; restart the agent"
        );
    }
    Ok(())
}

/// Reads a policy on a thread that may block.
///
/// # Errors
/// Only if that thread panics.
pub async fn on_a_thread(reloader: Arc<Reloader>) -> Result<Option<Names>> {
    tokio::task::spawn_blocking(move || reloader.reload()).await.context("reading the new policy failed")
}
