//! A run of the agent, from start to end.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use anyhow::{Context as _, Result};
use sd_notify::NotifyState;

use super::{
    bans::BansInForce,
    follow::{Ended, Loop},
    generation::Generation,
    interfaces,
    lock::Lock,
    notify::notify,
    orders::Orders,
    start::Surroundings,
    succession::Kept,
    telling::Telling,
};
use crate::{
    config::{Config, Sink},
    control::{Parts, access::Access, server as control},
    host::{cgroup::Groups, file::Tree, memory},
    http::{self, Health, Web},
    kernel::{
        load::{KernelLog, Room},
        object,
        pins::{InUse, Pins},
        support,
    },
    metrics::{Counters, Facts, Metrics},
    overview,
    pipeline::{enrich::Enricher, redact::Redactor},
    sink::{Sinks, Spec},
};

/// What a run needs besides the host.
pub struct Options {
    /// The checked configuration.
    pub config: Config,
    /// Where it was read, to read it again; `None` for the default place.
    pub config_path: Option<PathBuf>,
    /// Holds the lock.
    pub run_dir: PathBuf,
    /// Keeps the bans between runs.
    pub state_dir: PathBuf,
    /// Holds what outlives the agent.
    pub pin_dir: PathBuf,
    /// Whether what is in force stays so when the agent is told to stop.
    pub keep: bool,
    /// How much the kernel programs log.
    pub kernel_log: KernelLog,
    /// How large tables are that grow with what the host does.
    pub room: Room,
}

/// Runs the agent until it is told to stop.
pub async fn run(options: Options) -> Result<()> {
    support::require_root()?;
    object::bytes()?;
    let _lock = Lock::take(&options.run_dir)?;
    let config = &options.config;
    let listener = http::bind(config.metrics.listen)?;
    interfaces::check_names(config)?;
    let counters = Arc::new(Counters::default());
    let metrics = Arc::new(Metrics::new(Arc::clone(&counters), Facts::default()));
    let health = Arc::new(Health::default());
    let sinks = Sinks::open(config.sinks.iter().map(|sink: &Sink| Spec::from(sink)), &counters)?;
    let (stop_http, stopped) = tokio::sync::oneshot::channel::<()>();
    let address = listener.local_addr().context("can't tell the address of the metrics endpoint")?;
    let web = config.metrics.web_config.as_ref().map(|web| Web::open(&web.value)).transpose()?.map(Arc::new);
    let views = overview::Parts {
        metrics: Arc::clone(&metrics),
        health: Arc::clone(&health),
        recent: Arc::default(),
        bans: Arc::default(),
        losses: Arc::default(),
    };
    let page = config.web.then(|| views.clone());
    let state = http::State { metrics: Arc::clone(&metrics), health: Arc::clone(&health), web, page };
    let server = http::start(listener, state, stopped)?;

    let redactor = Redactor::new(&config.agent.redact)?;
    let pins = pins(&options.pin_dir)?;
    let (orders, taken) = Orders::new();
    let around = Surroundings {
        metrics: Arc::clone(&metrics),
        log: options.kernel_log,
        room: options.room,
        config_path: options.config_path.clone(),
        state_dir: options.state_dir.clone(),
        run_dir: options.run_dir.clone(),
        pins: pins.clone(),
        orders: orders.clone(),
    };
    let mut generation = match Generation::begin(config.clone(), &around, None, 1, None) {
        Ok(generation) => generation,
        Err(error) => {
            // What was in force before goes on; without that, nothing is left behind.
            if let Some(pins) = pins.filter(|pins| pins.generations().is_empty()) {
                pins.remove_all();
            }
            return Err(error);
        }
    };

    let stop = Arc::new(AtomicBool::new(false));
    let bans = BansInForce::new(generation.reloader.bans.clone());
    let _ = views.bans.set(bans.clone());
    let recent = Arc::clone(&views.recent);
    let parts = Parts { bans: bans.clone(), orders, overview: Some(views) };
    let access = Access::new(&config.control)?;
    let serving = control::serve(&options.run_dir, parts, access, Arc::clone(&counters), Arc::clone(&stop))?;
    let enricher =
        Enricher::new(Tree::open()?, Groups::open()?, redactor, std::mem::take(&mut generation.found));
    let names = generation.names.clone();
    let kernel = Arc::clone(generation.counters());
    let mut telling = Telling { recent, enricher, names, counters, kernel, sinks, bans };
    if let Some(left) = generation.left.take() {
        telling.tell_left(left);
    }
    memory::give_back();
    health.beat();
    health.set_ready();
    announce(config, address);
    let Ended { mut generation, keep, outcome } =
        Loop::new(generation, &mut telling, &health, taken).run().await;

    health.set_unready("stopping");
    notify(&[NotifyState::Stopping]);
    if keep.unwrap_or(options.keep)
        && let Some(pins) = &pins
    {
        tracing::info!(
            "stopping: what is in force stays in force without an agent; `monitor stop` takes it off"
        );
        pins.keep(true);
    } else {
        tracing::info!("stopping: taking all programs out of the kernel");
    }
    stop.store(true, Relaxed);
    generation.end();
    // What was under way when the programs went is told as well.
    generation.source.rest(|record| telling.tell(record));
    telling.sinks.shutdown().await;
    metrics.detach();
    let _ = stop_http.send(());
    [serving, server].into_iter().for_each(|thread| drop(thread.join()));
    outcome
}

/// Forgets what was written down of generations in a run directory.
pub fn forget_generations(run_dir: &Path) {
    Kept::remove_all(run_dir);
}

/// The directory of what outlives the agent; none where nothing can.
///
/// # Errors
/// When another agent holds it.
fn pins(directory: &Path) -> Result<Option<Arc<Pins>>> {
    match Pins::open(directory) {
        Ok(pins) => Ok(Some(Arc::new(pins))),
        Err(error) if error.is::<InUse>() => Err(error),
        Err(error) => {
            tracing::warn!(
                "enforcement ends with the agent, and only rate limits can be reloaded: {error:#}"
            );
            Ok(None)
        }
    }
}

/// Says that the agent is ready, to people and to the service manager.
fn announce(config: &Config, address: std::net::SocketAddr) {
    let status = format!(
        "{} mode, {} exec, {} database and {} rate limit rules, metrics at http://{address}/metrics",
        config.mode.name(),
        config.execs.len(),
        config.databases.len(),
        config.rate_limits.len()
    );
    tracing::info!("ready: {status}");
    let metrics = format!("X_METRICS={address}");
    notify(&[NotifyState::Ready, NotifyState::Status(&status), NotifyState::Custom(&metrics)]);
}
