//! A new policy while the agent runs: it comes into force as a whole, or not at all.
//!
//! What it says of packets is changed in the tables of the generation in force, by one switch, with every bucket, penalty and
//! ban as it was. If it says anything else, the next generation is begun beside it ([`Next`]).

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context as _, Result, bail};

use super::{
    bans::{Bans, rules::penalty_rules},
    counters::{InForce, KernelCounters},
    generation::Next,
    interfaces::{self, Covering},
    orders::Wish,
    start::Surroundings,
    succession::Kept,
};
use crate::{
    config::Config,
    host::{accounts::Accounts, file::Tree, memory},
    metrics::{self, Reload},
    policy::{
        Compiled, Host, Names, RateCounters, Unenforceable,
        lockout::{self, Ways},
    },
};

/// What a new policy has to be told to.
pub(super) struct Reloader {
    /// What stays the same.
    pub(super) around: Surroundings,
    /// The generation in force.
    pub(super) generation: u64,
    /// What is attached to interfaces.
    pub(super) covering: Covering,
    /// Bans; none without a rate limit.
    pub(super) bans: Option<Arc<Bans>>,
    /// Who reads the counters of rate limits.
    pub(super) counters: Arc<KernelCounters>,
    /// What this kernel can't carry out.
    pub(super) cannot: Unenforceable,
    /// What is in force.
    pub(super) state: Mutex<State>,
}

/// The policy in force.
pub(super) struct State {
    /// As it was read.
    pub(super) config: Config,
    /// Sets in the table of sources, which can't grow.
    pub(super) source_sets: u32,
    /// How many workloads there are, those without a name included.
    pub(super) workloads: usize,
    /// The counters of its rate limits, and of those before.
    pub(super) rate_counters: RateCounters,
    /// How many policies were in force, this one included.
    pub(super) policies: u64,
    /// The policy before.
    pub(super) before: Option<Box<Config>>,
}

/// What came of a wish.
pub(super) enum Reloaded {
    /// It says what is in force.
    Unchanged,
    /// It can't be in force, of which the log and the metrics tell; so does this.
    Refused(anyhow::Error),
    /// Its rate limits are in force; these are the names of its rules.
    Packets(Box<Names>),
    /// The next generation judges.
    Next(Box<Next>),
}

impl Reloader {
    /// Reads a policy and puts it in force.
    pub(super) fn fulfil(&self, wish: &Wish) -> Reloaded {
        let mut state = self.state();
        let (outcome, reloaded) = match self.try_to(&mut state, wish) {
            Ok(Reloaded::Unchanged) => (Reload::Unchanged, Reloaded::Unchanged),
            Ok(reloaded) => (Reload::Applied, reloaded),
            Err((outcome, error)) => {
                tracing::error!("the new policy is not in force, the old one still is: {error:#}");
                (outcome, Reloaded::Refused(error))
            }
        };
        self.around.metrics.counters().reload(outcome);
        reloaded
    }

    fn wished(&self, state: &State, wish: &Wish) -> Result<Config> {
        let read = |path: Option<&Path>| -> Result<Config> {
            let (config, warnings) = Config::load(path)?;
            for warning in &warnings {
                tracing::warn!("{}: {}", warning.place(), warning.message());
            }
            Ok(config)
        };
        match wish {
            Wish::Files => read(self.around.config_path.as_deref()),
            Wish::Apply { path, .. } => read(Some(path)),
            Wish::Mode { rule, mode } => {
                let mut config = state.config.clone();
                if !config.set_mode(rule.as_deref(), *mode) {
                    let names: Vec<String> = config.rule_names().map(|name| format!("{name:?}")).collect();
                    bail!(
                        "there is no rule {:?}; there are {}",
                        rule.as_deref().unwrap_or_default(),
                        names.join(", ")
                    );
                }
                Ok(config)
            }
            Wish::Again => Ok(state.config.clone()),
            Wish::Before => match &state.before {
                Some(before) => Ok((**before).clone()),
                None => bail!("there was no policy before this one since the agent started"),
            },
        }
    }

    fn try_to(&self, state: &mut State, wish: &Wish) -> Result<Reloaded, (Reload, anyhow::Error)> {
        let config = self.wished(state, wish).map_err(|error| (Reload::Invalid, error))?;
        let trial = if let Wish::Apply { trial, .. } = wish { *trial } else { None };
        let difference = state.config.difference(&config);
        let again = matches!(wish, Wish::Again);
        if !again && !difference.packets && difference.elsewhere.is_empty() {
            tracing::info!("the policy says what it said before");
            return Ok(Reloaded::Unchanged);
        }
        needs_no_restart(&difference.elsewhere).map_err(|error| (Reload::NeedsRestart, error))?;
        interfaces::check_names(&config).map_err(|error| (Reload::Invalid, error))?;
        let policy = self.compile(&config).map_err(|error| (Reload::Invalid, error))?;
        if trial.is_none() && !again && difference.elsewhere.is_empty() && fits(state, &config, &policy) {
            return self
                .change_packets(state, config, policy)
                .map(|names| Reloaded::Packets(Box::new(names)));
        }
        let outcome = if self.around.pins.is_some() { Reload::Failed } else { Reload::NeedsRestart };
        let before = if again { state.before.clone() } else { Some(Box::new(state.config.clone())) };
        let policies = state.policies + u64::from(!again);
        let next = Next::begin(config, self, policies, trial).map_err(|error| (outcome, error))?;
        next.generation.reloader.state().before = before;
        if !again {
            tracing::info!(policies, "the new policy is in force");
        }
        Ok(Reloaded::Next(Box::new(next)))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has people see that this policy is in force, and what it counts.
    pub(super) fn tell_in_force(&self) {
        let state = self.state();
        self.tell(&state.config, state.policies);
        self.around.metrics.attach(Arc::clone(&self.counters) as Arc<_>);
    }

    /// Keeps what is in force for the next agent.
    pub(super) fn write_down(&self) -> Result<()> {
        self.write_down_as(&self.state())
    }

    /// The same for what is in force already, whatever becomes of it.
    pub(super) fn keep_up(&self, state: &State) {
        if let Err(error) = self.write_down_as(state) {
            tracing::warn!(
                "if the agent is killed, the next will not know all of what is in force: {error:#}"
            );
        }
    }

    fn write_down_as(&self, state: &State) -> Result<()> {
        if self.around.pins.is_none() {
            return Ok(());
        }
        let number = (self.generation, state.policies);
        let carried = self.counters.carried();
        let kept = Kept::new(number, &state.config, state.workloads, &state.rate_counters, &carried);
        kept?.write(&self.around.run_dir)
    }

    /// Changes the rate limits of the generation in force.
    fn change_packets(
        &self,
        state: &mut State,
        config: Config,
        mut policy: Compiled,
    ) -> Result<Names, (Reload, anyhow::Error)> {
        let mut rate_counters = state.rate_counters.clone();
        let counted = rate_counters.assign(&config, &mut policy.rate_rules);
        counted.map_err(|error| (Reload::NeedsRestart, error))?;
        // Before, so that nothing is counted under a name that isn't known.
        let mut names = Names::counted(&config, &rate_counters);
        names.generation = state.policies + 1;
        let before = self.counters.in_force();
        let rate_rules = policy.rate_rules.clone();
        self.counters.set_in_force(InForce { names: names.clone(), rate_rules });
        if let Err(error) = self.covering.adopt(&policy) {
            self.counters.set_in_force(InForce::clone(&before));
            return Err((Reload::Failed, error));
        }
        if let Some(bans) = &self.bans {
            bans.set_rules(penalty_rules(&policy.rate_rules, &names));
        }
        state.policies += 1;
        self.tell(&config, state.policies);
        let before = std::mem::replace(&mut state.config, config);
        (state.before, state.rate_counters) = (Some(Box::new(before)), rate_counters);
        self.keep_up(state);
        Ok(names)
    }

    fn compile(&self, config: &Config) -> Result<Compiled> {
        let tree = Tree::open()?;
        let accounts = Accounts::read(&tree)?;
        let policy =
            Compiled::new(config, &Host { tree: Some(&tree), accounts: &accounts, cannot: self.cannot })?;
        let readers = self.around.metrics.readers().lately();
        lockout::refuse(
            config,
            &policy,
            &Ways { tree: &tree, administrators: accounts.administrators(), readers },
        )?;
        Ok(policy)
    }

    fn tell(&self, config: &Config, policies: u64) {
        tracing::info!(policies, "the new policy is in force: {} rate limits", config.rate_limits.len());
        self.around.metrics.update_facts(|facts| {
            facts.policy = Some(metrics::Policy::new(config, policies));
        });
    }
}

/// What can't be changed while the agent runs.
fn needs_no_restart(differs: &[&str]) -> Result<()> {
    const FIXED: [&str; 5] = ["[metrics]", "[web]", "[control]", "[[sink]]", "[agent] redact"];
    let fixed: Vec<&str> = differs.iter().copied().filter(|part| FIXED.contains(part)).collect();
    if !fixed.is_empty() {
        bail!(
            "it says something else in {}, which is opened at the start; restart the agent",
            fixed.join(" and ")
        );
    }
    Ok(())
}

/// Whether the generation in force has room for these rate limits.
fn fits(state: &State, config: &Config, policy: &Compiled) -> bool {
    // The packet program is put in place when the generation begins, and so is the table of sources.
    state.config.rate_limits.is_empty() == config.rate_limits.is_empty()
        && state.source_sets == policy.source_sets
}

/// Fulfils a wish on a thread that may block.
///
/// # Errors
/// Only if that thread panics.
pub(super) async fn on_a_thread(reloader: Arc<Reloader>, wish: Wish) -> Result<Reloaded> {
    let fulfil = move || {
        let reloaded = reloader.fulfil(&wish);
        memory::give_back();
        reloaded
    };
    tokio::task::spawn_blocking(fulfil).await.context("reading the new policy failed")
}
