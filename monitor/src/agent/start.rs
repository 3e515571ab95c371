//! Brings the kernel programs up: what is loaded, in which order it is attached, and the proof that it acts.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use anyhow::{Context as _, Result, bail};
use aya_log::EbpfLogger;
use monitor_common::{
    event::{Ring, held::Held},
    limit::Limit,
    settings::Settings,
    sources::{Set, WAYS, all_sets},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::mpsc,
};

use super::{
    bans::{Bans, rules::penalty_rules, store::Store},
    canaries::{self, Canaries},
    counters::{InForce, KernelCounters},
    held,
    orders::Orders,
    prepare::Ground,
    succession::Predecessor,
    trial,
    watch::Watcher,
};
use crate::{
    config::{self, Config},
    host::{accounts::Accounts, cgroup::Scope, processes::Found},
    kernel::{
        canary,
        control::Control,
        load::{Kernel, KernelLog, Room, Sizes},
        object,
        pins::Pins,
        probes::{Attach, Needed, PROBES, Probe},
        rates::Rates,
        support::{self, Capability},
        words::Words,
    },
    metrics::{self, Build, Metrics},
    pipeline::source::Source,
    policy::{
        Compiled, Heirs, Host, Names, RateCounters, Unenforceable,
        lockout::{self, Ways},
    },
};

/// What stays the same from one generation to the next.
#[derive(Clone)]
pub(super) struct Surroundings {
    /// Where people see what is in force.
    pub(super) metrics: Arc<Metrics>,
    /// How much the kernel programs log.
    pub(super) log: KernelLog,
    /// How large tables are that grow with what the host does.
    pub(super) room: Room,
    /// Where the policy is read; `None` for the default place.
    pub(super) config_path: Option<PathBuf>,
    /// Keeps the bans between runs.
    pub(super) state_dir: PathBuf,
    /// Holds the lock, and what is kept of the generation in force.
    pub(super) run_dir: PathBuf,
    /// Holds what outlives the agent, if anything can.
    pub(super) pins: Option<Arc<Pins>>,
    /// Where the policy is changed.
    pub(super) orders: Orders,
}

/// Everything that is in the kernel and watches it.
pub(super) struct Engine {
    pub(super) kernel: Kernel,
    /// Its number.
    pub(super) generation: u64,
    /// Says who judges; none where nothing outlives the agent.
    pub(super) control: Option<Arc<Control>>,
    /// What this kernel can enforce, as far as it is known before anything judges.
    pub(super) capabilities: Vec<Capability>,
    /// Whether execs are refused by an LSM program.
    pub(super) exec_lsm: bool,
    /// The tables of rate limits.
    pub(super) rates: Arc<Rates>,
    /// Bans; none without a rate limit, for then no packet is looked at.
    pub(super) bans: Option<Arc<Bans>>,
    pub(super) watcher: Watcher,
    pub(super) source: Source,
    /// What the watcher finds.
    pub(super) held: mpsc::Receiver<Held>,
    pub(super) counters: Arc<KernelCounters>,
    pub(super) found: Vec<Found>,
    pub(super) names: Names,
    /// The counters of rate limits.
    pub(super) rate_counters: RateCounters,
    /// What this kernel can't carry out.
    pub(super) cannot: Unenforceable,
    /// What is looked at for as long as the agent runs.
    pub(super) canaries: Canaries,
}

/// Loads and attaches everything but the packet program. Nothing judges yet, unless nothing outlives the agent.
pub(super) fn start(
    config: &Config,
    ground: &Ground,
    around: &Surroundings,
    before: Option<&Predecessor>,
) -> Result<Engine> {
    let Surroundings { metrics, log, .. } = around;
    let log = *log;
    let scope = Scope::open(&config.agent.cgroup.value).map_err(|error| {
        let error =
            config.diagnostic(config::Severity::Error, &config.agent.cgroup.place, format!("{error:#}"));
        config::Report::new(vec![error])
    })?;
    // Also where nothing is refused: only the security hook sees scripts.
    let execs = !config.execs.is_empty() || config.workloads.iter().any(|workload| !workload.exe.is_empty());
    let sockets = config.databases.iter().any(|rule| !rule.sockets.is_empty());
    let mut capabilities = Vec::new();
    if execs || sockets || config.alone().next().is_some() {
        capabilities.push(trial::exec_deny(ground, &scope)?);
    }
    let lsm = capabilities.iter().any(|capability| capability.state == "enforced");
    let exec_lsm = lsm && execs;
    let late = "it runs in real time, so a program may run before the signal that kills it arrives";
    let blind = "nothing is seen of unix sockets without BPF LSM (`monitor doctor` says how to get it)";
    let cannot = Unenforceable {
        exec: (support::is_realtime() && !exec_lsm).then_some(late),
        kill: support::is_realtime().then_some(late),
        unix: (!lsm).then_some(blind),
    };
    let accounts = Accounts::read(&ground.tree)?;
    let host = Host { tree: Some(&ground.tree), accounts: &accounts, cannot };
    let mut policy = Compiled::new(config, &host)?;
    let readers = metrics.readers().lately();
    lockout::refuse(
        config,
        &policy,
        &Ways { tree: &ground.tree, administrators: accounts.administrators(), readers },
    )?;
    for (rule, reason) in &policy.degraded {
        tracing::warn!("rule {rule:?} doesn't hold as a whole here: {reason}");
    }
    if config.raw_sockets.is_some() && !lsm {
        tracing::warn!(
            "[raw_sockets]: packet sockets (AF_PACKET) are not seen without BPF LSM; raw IP sockets are"
        );
    }
    let known = before.and_then(|before| before.known.as_ref());
    let mut rate_counters = known.map(|known| known.rate_counters.clone()).unwrap_or_default();
    rate_counters.assign(config, &mut policy.rate_rules)?;
    let names = Names::counted(config, &rate_counters);

    let source_sets = policy.source_sets;
    let wanted = config.sinks.iter().any(|sink| sink.events);
    let events = config.agent.events_per_cgroup.map_or(Ok(Limit::NONE), |limit| {
        Limit::new(limit.rate.count, limit.rate.per_ns, limit.burst)
            .context("`events_per_cgroup` is out of range")
    })?;
    let settings = Settings { source_sets, events, ..ground.settings(&scope, exec_lsm, wanted) };
    let generation = next_generation(around, before);
    let settings = Settings { generation, stale_after_ns: config.agent.stale_after_ns, ..settings };
    let (databases, rate_limits) = (config.databases.len(), config.rate_limits.len());
    let (listens, rings) = (config.listens.len(), config.agent.rings);
    let sizes = Sizes { databases, listens, rate_limits, source_sets, rings, room: around.room };
    let (mut kernel, control, settings) = open(ground, settings, sizes, around, known.is_some())?;
    if let Some(pins) = &around.pins
        && let Some(map) = pins.shared_map("DELIVERED")
    {
        metrics.counters().count_deliveries_in(Words::new(&aya::maps::Map::Array(map))?);
    }
    if log != KernelLog::Off {
        tokio::spawn(kernel_log(kernel.logger()?));
    }
    let wanted = |probe: &Probe| probe.needed.by(config, exec_lsm, lsm);
    let mut loaded = Vec::new();
    let probes: Vec<&'static Probe> = PROBES.iter().filter(|probe| wanted(probe)).collect();
    for (probe, outcome) in kernel.load_all(&probes)? {
        match outcome {
            Ok(_) => loaded.push(probe),
            // Nothing depends on it.
            Err(error) if probe.needed == Needed::Handover => {
                tracing::info!(
                    "connections that are handed over are found by looking each ten seconds: {error:#}"
                );
            }
            Err(error) if probe.needed == Needed::MemorySeen => unwatched(config, &error)?,
            Err(error) => return Err(error),
        }
    }
    kernel.forget_types();
    let source_capacity = if rate_limits == 0 { 0 } else { u64::from(source_sets) * WAYS as u64 };
    let limits_packets = rate_limits > 0;
    if limits_packets {
        let bytes = u64::from(all_sets(source_sets)) * size_of::<Set>() as u64;
        tracing::info!("the table of sources has {source_capacity} places and takes {bytes} bytes");
    }
    kernel.apply(&policy)?;
    let rates = Arc::new(Rates::new(&mut kernel)?);
    rates.apply(&policy, &[])?;
    let store = Store::new(&around.state_dir);
    let bans = if rate_limits == 0 {
        if store.path().exists() {
            tracing::warn!(
                "there is no [[rate_limit]], so the bans in {} don't hold",
                store.path().display()
            );
        }
        None
    } else {
        let counters = Arc::clone(metrics.counters());
        let bans = Bans::new(&mut kernel, settings.source_key, Arc::clone(&rates), store, counters)?;
        bans.set_rules(penalty_rules(&policy.rate_rules, &names));
        bans.load(kernel.inherited("BANS"));
        Some(Arc::new(bans))
    };
    let source = Source::new(Ring::ALL.iter().map(|ring| Ok((*ring, kernel.take(ring.map())?))))?;
    let in_force = InForce { names: names.clone(), rate_rules: policy.rate_rules.clone() };
    let counters =
        Arc::new(KernelCounters::new(&mut kernel, in_force, policy.workload_count, source_capacity)?);
    let tree = crate::host::file::Tree::open()?;
    let mut watcher = Watcher::new(&mut kernel, policy, tree, settings.source_key)?;

    // First what keeps the table of processes, then those that are older, then what asks the table.
    let keeps = |probe: &Probe| matches!(probe.program, "fork" | "exec" | "exit" | "cgroup_made");
    for probe in loaded.iter().copied().filter(|probe| keeps(probe)) {
        kernel.attach(probe, &scope)?;
    }
    watcher.update_cgroups()?;
    let mut found = Vec::new();
    if let (Some(before), Some(known)) = (before, known) {
        match before.processes() {
            Ok(processes) => found = watcher.inherit(&processes, &Heirs::new(&known.config, config)),
            Err(error) => tracing::warn!("who is who is found out anew: {error:#}"),
        }
    }
    let (scanned, unknown) = watcher.scan();
    found.extend(scanned);
    counters.gauges.processes_unknown.store(unknown, Relaxed);
    let (tell, held) = mpsc::channel(held::QUEUE);
    watcher.watch_connections(config, &mut kernel, &counters.held, tell)?;
    let later = |probe: &Probe| !keeps(probe) && probe.attach != Attach::Xdp;
    for probe in loaded.iter().copied().filter(|probe| later(probe)) {
        kernel.attach(probe, &scope)?;
    }
    let canaries = Canaries {
        exec: (!config.execs.is_empty()).then(|| canaries::expected(exec_lsm)),
        counters: Arc::clone(metrics.counters()),
        orders: around.pins.is_some().then(|| around.orders.clone()),
    };
    Ok(Engine {
        generation: settings.generation,
        control,
        capabilities,
        exec_lsm,
        rates,
        bans,
        kernel,
        watcher,
        source,
        held,
        counters,
        found,
        names,
        rate_counters,
        cannot,
        canaries,
    })
}

/// The number after all that there were.
fn next_generation(around: &Surroundings, before: Option<&Predecessor>) -> u64 {
    let pinned = around.pins.iter().flat_map(|pins| pins.generations()).max();
    pinned.max(before.map(|before| before.generation)).unwrap_or(0) + 1
}

/// Creates the maps: of a generation among others, if anything outlives the agent. `known` is whether the names of those before
/// are known.
fn open(
    ground: &Ground,
    settings: Settings,
    sizes: Sizes,
    around: &Surroundings,
    known: bool,
) -> Result<(Kernel, Option<Arc<Control>>, Settings)> {
    let Some(pins) = &around.pins else {
        return Ok((
            Kernel::open(&ground.types, &ground.layout, &settings, sizes, around.log)?,
            None,
            settings,
        ));
    };
    if !known {
        // Counters of rate limits, whose names nobody knows.
        ["PACKETS", "OVER"].into_iter().try_for_each(|map| pins.give_up(map))?;
    }
    // One of another version can't be read.
    let entry = pins.control().ok().flatten().and_then(|control| control.read().ok());
    // What is in the tables of sources and bans lies where the key says.
    let source_key = entry.map(|entry| entry.source_key).filter(|key| *key != [0; 2]);
    let settings =
        Settings { governed: 1, source_key: source_key.unwrap_or(settings.source_key), ..settings };
    let kernel = Kernel::open_next(&ground.types, &ground.layout, &settings, sizes, around.log, pins)?;
    let control = pins.control()?.context("CONTROL is not pinned")?;
    control.change(|entry| {
        entry.source_key = settings.source_key;
        entry.agent_pid = std::process::id();
    })?;
    Ok((kernel, Some(control), settings))
}

/// Passes on what the kernel programs log.
async fn kernel_log(logger: EbpfLogger<&'static dyn log::Log>) {
    // SAFETY: the logger keeps its descriptor open, and the same, for as long as it lives.
    let Ok(mut logger) = (unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) }) else {
        return;
    };
    while let Ok(mut ready) = logger.readable_mut().await {
        ready.get_inner_mut().flush();
        ready.clear_ready();
    }
}

/// Where neither a security hook nor a function of the kernel can be had, nothing is seen of who gets at the memory of others.
fn unwatched(config: &Config, error: &anyhow::Error) -> Result<()> {
    let Some(rule) = &config.process_memory else { return Ok(()) };
    let message = format!("[process_memory] can't be watched on this kernel: {error:#}");
    if rule.degrade {
        tracing::warn!("{message}");
        return Ok(());
    }
    let help = "write `degrade = \"observe\"` in the table to do without it";
    let diagnostic = config.diagnostic(config::Severity::Error, &rule.place, message);
    Err(config::Report::new(vec![diagnostic.help(help)]).into())
}

/// Sees for itself that what is attached acts.
pub(super) fn prove(config: &Config, exec_lsm: bool, metrics: &Metrics) -> Result<Vec<Capability>> {
    let mut proven = Vec::new();
    if !config.execs.is_empty() {
        let outcome = canary::exec()?;
        let (path, expected) = canaries::expected(exec_lsm);
        let live = outcome == expected;
        metrics.counters().canary(path, live, jiff::Timestamp::now());
        if !exec_lsm {
            proven.push(trial::kill(outcome));
        }
        let relies = |rule: &config::Exec| {
            rule.when_stale.may_enforce(rule.mode) && rule.action != config::Action::Alert && !rule.degrade
        };
        if let Some(rule) = config.execs.iter().find(|rule| relies(rule) && !live) {
            bail!(
                "rule {:?} would not hold: the kernel doesn't stop programs (a program of ours that must be stopped was \
                 not: {outcome:?}); write `degrade = \"observe\"` in such rules to have them report only",
                rule.name
            );
        }
    }
    let refused = canary::connect();
    metrics.counters().canary("connect", refused, jiff::Timestamp::now());
    proven.push(trial::connect(refused));
    let enforced = |rule: &config::Database| rule.when_stale.may_enforce(rule.mode);
    if !refused && config.databases.iter().any(enforced) {
        bail!(
            "the kernel doesn't carry out refusals of connects: a connect that must be refused was not; no rule would hold"
        );
    }
    Ok(proven)
}

pub(super) fn tell_capabilities(
    config: &Config,
    policies: u64,
    capabilities: &[Capability],
    metrics: &Metrics,
) {
    for capability in capabilities {
        if capability.state != "enforced" {
            tracing::warn!("{}: {}", capability.feature, capability.detail);
        }
    }
    metrics.update_facts(|facts| {
        facts.build = Build::of_this_agent(object::sha256());
        let fact = |capability: &Capability| metrics::Capability {
            feature: capability.feature,
            state: capability.state,
            reason: capability.reason,
        };
        facts.capabilities = capabilities.iter().map(fact).collect();
        facts.policy = Some(metrics::Policy::new(config, policies));
    });
}
