//! A run of the agent, from start to end.

use std::{
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use monitor_common::event::{Record, held::Held};
use sd_notify::NotifyState;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc::Receiver,
};

use super::{
    counters::KernelCounters,
    interfaces::{self, Follower},
    lock::Lock,
    notify::notify,
    prepare::Ground,
    reload::{self, Reloader, State},
    start,
};
use crate::{
    config::{Config, Sink},
    control::{Parts, server as control},
    host::cgroup::Groups,
    http::{self, Health, Web},
    kernel::{load::KernelLog, object, support},
    metrics::{Counters, Facts, Metrics},
    pipeline::{detect, enrich::Enricher, redact::Redactor, source::Source},
    policy::Names,
    sink::{Sinks, Spec},
};

/// How often the event loop shows that it is alive, at least.
const BEAT: Duration = Duration::from_secs(1);

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
    /// How much the kernel programs log.
    pub kernel_log: KernelLog,
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
    let state = http::State { metrics: Arc::clone(&metrics), health: Arc::clone(&health), web };
    let server = http::start(listener, state, stopped)?;

    let redactor = Redactor::new(&config.agent.redact)?;
    let ground = Ground::look()?;
    let mut engine = start::start(config, &ground, &metrics, options.kernel_log, &options.state_dir)?;
    let on_interfaces = (Arc::clone(&engine.rates), Arc::clone(&engine.watcher.policy().interfaces));
    let follower = Follower::new(config, engine.kernel, on_interfaces, Arc::clone(&metrics))?;
    let covering = follower.covering();
    metrics.attach(Arc::clone(&engine.counters) as Arc<_>);

    let stop = Arc::new(AtomicBool::new(false));
    let bans = engine.bans.take();
    let keeping = bans.as_ref().map(|bans| bans.keep_up(Arc::clone(&stop))).transpose()?;
    let reloader = Arc::new(Reloader {
        path: options.config_path.clone(),
        covering: covering.clone(),
        bans: bans.clone(),
        counters: Arc::clone(&engine.counters),
        metrics: Arc::clone(&metrics),
        cannot: engine.cannot,
        state: Mutex::new(State {
            config: config.clone(),
            source_sets: engine.watcher.policy().source_sets,
            rate_counters: std::mem::take(&mut engine.rate_counters),
            generation: 1,
        }),
    });
    let parts = Parts { bans };
    let serving = control::serve(&options.run_dir, parts, Arc::clone(&counters), Arc::clone(&stop))?;
    let enricher = Enricher::new(ground.tree, Groups::open()?, redactor, std::mem::take(&mut engine.found));
    let watching = engine.watcher.start(Arc::clone(&engine.counters), Arc::clone(&stop))?;
    let following = follower.start(Arc::clone(&stop))?;
    let proving = engine.canaries.start(Arc::clone(&stop))?;
    health.beat();
    health.set_ready();
    announce(config, address);
    let mut telling = Telling { enricher, names: engine.names, counters, kernel: engine.counters, sinks };
    let outcome = follow(&mut engine.source, &mut engine.held, &mut telling, &health, &reloader).await;

    tracing::info!("stopping: taking all programs out of the kernel");
    health.set_unready("stopping");
    notify(&[NotifyState::Stopping]);
    // Nothing is to be refused from here on, and that is no failure.
    stop.store(true, Relaxed);
    drop(proving.join());
    covering.end();
    // What was under way when the programs went is told as well.
    engine.source.rest(|record| telling.tell(record));
    telling.sinks.shutdown().await;
    metrics.detach();
    let _ = stop_http.send(());
    let threads = [Some(watching), following, Some(serving), keeping, Some(server)];
    threads.into_iter().flatten().for_each(|thread| drop(thread.join()));
    outcome
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

/// What the event loop works with.
struct Telling {
    enricher: Enricher,
    names: Names,
    counters: Arc<Counters>,
    kernel: Arc<KernelCounters>,
    sinks: Sinks,
}

impl Telling {
    fn tell(&mut self, record: Result<Record<'_>, monitor_common::event::Unreadable>) {
        match record {
            Ok(record) => {
                self.counters.delivered(record.kind());
                let mut event = self.enricher.complete(&record, &self.names);
                event.finding = detect::finding(record.header(), &event, &self.names);
                self.enricher.add_ancestry(&mut event);
                self.sinks.send(&Arc::new(event));
            }
            Err(error) => {
                tracing::error!("a record could not be read: {error:?}; agent and kernel programs don't fit");
                self.kernel.unreadable[0].fetch_add(1, Relaxed);
            }
        }
    }
}

/// A policy that is being read; the names of its rules come of it, if it is in force then.
type Reloading = Pin<Box<dyn Future<Output = Result<Option<Names>>>>>;

/// Reads the policy when the reading before has ended.
async fn reload_after(before: Option<Reloading>, reloader: Arc<Reloader>) -> Result<Option<Names>> {
    let earlier = match before {
        Some(before) => before.await?,
        None => None,
    };
    Ok(reload::on_a_thread(reloader).await?.or(earlier))
}

/// What comes of a policy that is being read; `None` if there is none.
async fn next(reloading: &mut Option<Reloading>) -> Option<Result<Option<Names>>> {
    Some(reloading.as_mut()?.await)
}

/// Follows the ring until a signal ends it.
async fn follow(
    source: &mut Source,
    held: &mut Receiver<Held>,
    telling: &mut Telling,
    health: &Health,
    reloader: &Arc<Reloader>,
) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("can't watch for signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("can't watch for signals")?;
    let mut hangup = signal(SignalKind::hangup()).context("can't watch for signals")?;
    // By default these would end the agent, and enforcement with it.
    let _user = [SignalKind::user_defined1(), SignalKind::user_defined2()].map(signal);
    let mut beat = tokio::time::interval(BEAT);
    let mut reloading: Option<Reloading> = None;
    loop {
        tokio::select! {
            batch = source.batch(|record| telling.tell(record)) => batch?,
            Some(found) = held.recv() => telling.tell(Ok(Record::Held(found, &[]))),
            _ = beat.tick() => telling.sinks.tick(),
            _ = hangup.recv() => {
                tracing::info!("SIGHUP: reading the policy, and opening the files of the sinks, anew");
                notify(&[
                    NotifyState::Reloading,
                    NotifyState::monotonic_usec_now().context("can't read the clock")?,
                ]);
                telling.sinks.reopen();
                // One after the other: the last one read is the newest.
                let before = reloading.take();
                reloading = Some(Box::pin(reload_after(before, Arc::clone(reloader))));
            }
            Some(names) = next(&mut reloading) => {
                reloading = None;
                if let Some(names) = names? {
                    telling.names = names;
                }
                notify(&[NotifyState::Ready]);
            }
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
        }
        health.beat();
    }
}
