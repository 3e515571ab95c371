//! Who is never dropped although no policy names them: without them nobody could mend a policy that drops too much.
//!
//! The SSH sessions of now, the host's default gateways, and who reads the metrics. The kernel's tables keep them when the agent
//! has gone; who comes after that isn't in there.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use monitor_common::limits;

use crate::{
    host::ssh::Ssh,
    kernel::rates::Rates,
    metrics::{Lifeline, Metrics},
};

/// How often is looked for SSH sessions: all processes are asked for it.
const SSH: Duration = Duration::from_secs(30);
/// Most gateways: there are seldom more than two.
const GATEWAYS: usize = 32;
/// Most peers of SSH. Its ports are never dropped, whoever comes to them.
const PEERS: usize = 192;
// With the most that are remembered of those who read the metrics, all have room.
const _: () = assert!(GATEWAYS + PEERS + 16 < limits::LIFELINES as usize);

/// Those that are known.
pub(super) struct Lifelines {
    metrics: Arc<Metrics>,
    ssh: Ssh,
    looked: Option<Instant>,
    gateways: BTreeSet<IpAddr>,
    readers: BTreeSet<IpAddr>,
    /// Whether the kernel's tables are to be told.
    stale: bool,
}

impl Lifelines {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        let (ssh, gateways, readers) = Default::default();
        Self { metrics, ssh, looked: None, gateways, readers, stale: true }
    }

    /// The gateways of all default routes are these.
    pub fn set_gateways(&mut self, gateways: &BTreeSet<IpAddr>) {
        let gateways: BTreeSet<IpAddr> = gateways.iter().copied().take(GATEWAYS).collect();
        if gateways != self.gateways {
            tracing::info!("never dropped: the default gateways {}", shown(&gateways));
            (self.gateways, self.stale) = (gateways, true);
        }
    }

    /// Looks for SSH sessions now.
    pub fn look_for_ssh(&mut self) {
        self.looked = Some(Instant::now());
        let mut ssh = Ssh::now();
        ssh.ports = ssh.ports.into_iter().take(PEERS).collect();
        ssh.peers = ssh.peers.into_iter().take(PEERS).collect();
        if ssh != self.ssh || self.stale {
            tracing::info!("{ssh}");
            (self.ssh, self.stale) = (ssh, true);
        }
    }

    /// Looks at what changes by itself, and has the kernel spare whom it should.
    pub fn keep(&mut self, rates: &Rates) {
        if self.looked.is_none_or(|looked| looked.elapsed() >= SSH) {
            self.look_for_ssh();
        }
        let readers = self.metrics.readers().lately();
        if readers != self.readers {
            tracing::info!("never dropped: who reads the metrics, {}", shown(&readers));
            (self.readers, self.stale) = (readers, true);
        }
        if !self.stale {
            return;
        }
        let all: BTreeSet<IpAddr> =
            self.ssh.peers.iter().chain(&self.gateways).chain(&self.readers).copied().collect();
        match rates.spare(&all, &self.ssh.ports) {
            Ok(left_out) => {
                self.stale = left_out > 0;
                if left_out > 0 {
                    tracing::warn!(left_out, "not all who should never be dropped have room in the kernel");
                }
                let counts = Lifeline::ALL.map(|lifeline| match lifeline {
                    Lifeline::Ssh => self.ssh.peers.len(),
                    Lifeline::Gateway => self.gateways.len(),
                    Lifeline::Reader => self.readers.len(),
                    Lifeline::LeftOut => left_out,
                });
                self.metrics.update_facts(|facts| facts.lifelines = counts.map(|count| count as u64));
            }
            Err(error) => tracing::warn!("{error:#}"),
        }
    }
}

fn shown(addresses: &BTreeSet<IpAddr>) -> String {
    if addresses.is_empty() {
        return "(none any more)".to_owned();
    }
    addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
}
