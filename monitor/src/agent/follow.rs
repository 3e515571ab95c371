//! The event loop: records, signals, orders.

use std::{pin::Pin, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, anyhow};
use monitor_common::event::Record;
use sd_notify::NotifyState;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc::Receiver,
    time::{Instant, sleep_until},
};

use super::{
    generation::{Generation, Next, Relieved},
    notify::notify,
    orders::{Order, Reply, Wish},
    reload::{self, Reloaded},
    telling::Telling,
};
use crate::http::Health;

/// How often the event loop shows that it is alive, at least.
const BEAT: Duration = Duration::from_secs(1);

/// A wish that is being fulfilled.
struct Fulfilling {
    outcome: Pin<Box<dyn Future<Output = Result<Reloaded>>>>,
    /// Who waits for it.
    reply: Option<Reply>,
}

/// The generation that comes back if the one in force isn't confirmed.
struct Trial {
    before: Generation,
    relieved: Relieved,
    ends: Instant,
}

/// How the loop ended.
pub(super) struct Ended {
    /// What is in force.
    pub(super) generation: Generation,
    /// Whether it shall stay so, if somebody said.
    pub(super) keep: Option<bool>,
    /// Whether that was by an error.
    pub(super) outcome: Result<()>,
}

/// What the loop works with.
pub(super) struct Loop<'a> {
    generation: Generation,
    telling: &'a mut Telling,
    health: &'a Health,
    orders: Receiver<(Order, Reply)>,
    fulfilling: Option<Fulfilling>,
    trial: Option<Trial>,
    /// Whether SIGHUP came while a wish was being fulfilled: the last files that are read are the newest.
    again: bool,
}

/// What is next to be done.
enum Turn {
    Nothing,
    Beat,
    Reload,
    Reloaded(Result<Reloaded>),
    Ordered(Order, Reply),
    TrialEnds,
    End,
}

impl<'a> Loop<'a> {
    pub(super) fn new(
        generation: Generation,
        telling: &'a mut Telling,
        health: &'a Health,
        orders: Receiver<(Order, Reply)>,
    ) -> Self {
        Self { generation, telling, health, orders, fulfilling: None, trial: None, again: false }
    }

    /// Follows the ring until a signal or an order ends it.
    pub(super) async fn run(mut self) -> Ended {
        let mut keep = None;
        let mut outcome = self.follow(&mut keep).await;
        // One that is under way is waited for: what it has begun must be ended.
        if let Some(fulfilling) = self.fulfilling.take() {
            let reloaded = fulfilling.outcome.await;
            outcome = outcome.and(self.reloaded(reloaded, fulfilling.reply));
        }
        if let Some(trial) = self.trial.take() {
            if keep == Some(true) {
                // The kernel goes back to it by itself if nobody confirms.
                trial.before.leave(trial.relieved);
            } else {
                outcome = outcome.and(self.roll_back(trial).await);
            }
        }
        Ended { generation: self.generation, keep, outcome }
    }

    async fn follow(&mut self, keep: &mut Option<bool>) -> Result<()> {
        let mut interrupt = signal(SignalKind::interrupt()).context("can't watch for signals")?;
        let mut terminate = signal(SignalKind::terminate()).context("can't watch for signals")?;
        let mut hangup = signal(SignalKind::hangup()).context("can't watch for signals")?;
        // By default these would end the agent, and enforcement with it.
        let _user = [SignalKind::user_defined1(), SignalKind::user_defined2()].map(signal);
        let mut beat = tokio::time::interval(BEAT);
        loop {
            let ends = self.trial.as_ref().map(|trial| trial.ends);
            let Self { generation, telling, fulfilling, orders, .. } = self;
            let Generation { source, held, .. } = generation;
            let turn = tokio::select! {
                batch = source.batch(|record| telling.tell(record)) => batch.map(|()| Turn::Nothing)?,
                Some(found) = held.recv() => {
                    telling.tell(Ok(Record::Held(found, &[])));
                    Turn::Nothing
                }
                _ = beat.tick() => Turn::Beat,
                _ = hangup.recv() => Turn::Reload,
                reloaded = fulfilled(fulfilling) => Turn::Reloaded(reloaded),
                Some((order, reply)) = orders.recv() => Turn::Ordered(order, reply),
                () = until(ends) => Turn::TrialEnds,
                _ = interrupt.recv() => Turn::End,
                _ = terminate.recv() => Turn::End,
            };
            match turn {
                Turn::Nothing => {}
                Turn::Beat => {
                    self.telling.sinks.tick();
                    self.generation.beat();
                }
                Turn::End => return Ok(()),
                Turn::Reload => self.hang_up()?,
                Turn::Reloaded(reloaded) => {
                    let reply = self.fulfilling.take().and_then(|fulfilling| fulfilling.reply);
                    self.reloaded(reloaded, reply)?;
                    if !self.again {
                        notify(&[NotifyState::Ready]);
                    }
                }
                Turn::Ordered(Order::Stop { keep: wanted }, reply) => {
                    *keep = wanted;
                    let _ = reply.send(Ok("stopping".to_owned()));
                    return Ok(());
                }
                Turn::Ordered(order, reply) => self.ordered(order, reply).await,
                Turn::TrialEnds => {
                    tracing::warn!("nobody confirmed the policy in time: the one before is in force again");
                    if let Some(trial) = self.trial.take() {
                        self.roll_back(trial).await?;
                    }
                }
            }
            if self.again && self.fulfilling.is_none() {
                self.again = false;
                self.fulfil(Wish::Files, None);
            }
            self.health.beat();
        }
    }

    fn hang_up(&mut self) -> Result<()> {
        tracing::info!("SIGHUP: reading the policy, and opening the files of the sinks, anew");
        self.telling.sinks.reopen();
        if self.trial.is_some() {
            tracing::error!("{ON_TRIAL}; the policy is not read");
            return Ok(());
        }
        notify(&[NotifyState::Reloading, NotifyState::monotonic_usec_now().context("can't read the clock")?]);
        self.again = true;
        Ok(())
    }

    fn fulfil(&mut self, wish: Wish, reply: Option<Reply>) {
        let outcome = Box::pin(reload::on_a_thread(Arc::clone(&self.generation.reloader), wish));
        self.fulfilling = Some(Fulfilling { outcome, reply });
    }

    async fn ordered(&mut self, order: Order, reply: Reply) {
        let answer = match order {
            Order::RollBack if self.trial.is_none() => {
                return self.ordered_change(Wish::Before, reply);
            }
            Order::Change(wish) => {
                if matches!(wish, Wish::Files) {
                    // As SIGHUP does: whoever rotated files wants them opened anew, whatever becomes of the policy.
                    self.telling.sinks.reopen();
                }
                return self.ordered_change(wish, reply);
            }
            Order::RollBack => match self.trial.take() {
                Some(trial) => {
                    self.roll_back(trial).await.map(|()| "the policy before is in force again".to_owned())
                }
                None => Err(anyhow!("no policy is on trial")),
            },
            Order::Confirm => self.confirm(),
            // Handled by the loop itself.
            Order::Stop { .. } => Ok(String::new()),
        };
        let _ = reply.send(answer);
    }

    fn ordered_change(&mut self, wish: Wish, reply: Reply) {
        let refusal = if self.trial.is_some() {
            ON_TRIAL
        } else if self.fulfilling.is_some() {
            "another policy is being read right now; ask again"
        } else {
            return self.fulfil(wish, Some(reply));
        };
        let _ = reply.send(Err(anyhow!(refusal)));
    }

    /// Turns to what came of a wish.
    fn reloaded(&mut self, reloaded: Result<Reloaded>, reply: Option<Reply>) -> Result<()> {
        let answer = match reloaded? {
            Reloaded::Unchanged => Ok("the policy says what is in force already".to_owned()),
            Reloaded::Refused(error) => Err(error),
            Reloaded::Packets(names) => {
                self.telling.names = *names;
                Ok("the policy is in force".to_owned())
            }
            Reloaded::Next(next) => {
                let Next { generation, relieved, trial } = *next;
                let mut before = std::mem::replace(&mut self.generation, generation);
                self.telling.turn_to(&mut before, &self.generation);
                match trial {
                    Some(trial) => {
                        self.trial = Some(Trial { before, relieved, ends: Instant::now() + trial });
                        let seconds = trial.as_secs();
                        Ok(format!(
                            "the policy is in force for {seconds} s; `monitor confirm` keeps it, else the one before comes back"
                        ))
                    }
                    None => {
                        tokio::task::spawn_blocking(move || before.relieve(relieved));
                        Ok("the policy is in force".to_owned())
                    }
                }
            }
        };
        if let Some(reply) = reply {
            let _ = reply.send(answer);
        }
        Ok(())
    }

    fn confirm(&mut self) -> Result<String> {
        self.generation.settle()?;
        if let Some(Trial { before, relieved, .. }) = self.trial.take() {
            tokio::task::spawn_blocking(move || before.relieve(relieved));
        }
        tracing::info!("the policy is confirmed");
        Ok("the policy stays in force".to_owned())
    }

    /// The generation before judges again.
    async fn roll_back(&mut self, trial: Trial) -> Result<()> {
        let Trial { before, relieved, .. } = trial;
        let mut given_up = std::mem::replace(&mut self.generation, before);
        let back = Arc::clone(&self.generation.reloader);
        let given_up = tokio::task::spawn_blocking(move || {
            let outcome = given_up.give_up(&back, relieved);
            outcome.map(|()| given_up)
        });
        let mut given_up = given_up.await.context("going back to the policy before failed")??;
        self.telling.turn_to(&mut given_up, &self.generation);
        Ok(())
    }
}

const ON_TRIAL: &str = "a policy is on trial: `monitor confirm` keeps it, `monitor rollback` takes it back";

/// What comes of a wish; nothing, and never, if there is none.
async fn fulfilled(fulfilling: &mut Option<Fulfilling>) -> Result<Reloaded> {
    match fulfilling {
        Some(fulfilling) => fulfilling.outcome.as_mut().await,
        None => std::future::pending().await,
    }
}

async fn until(ends: Option<Instant>) {
    match ends {
        Some(ends) => sleep_until(ends).await,
        None => std::future::pending().await,
    }
}
