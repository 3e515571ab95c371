//! The kernel as a judge: the packet program as it is attached to drivers, in maps of its own.

use anyhow::{Context as _, Result};
use aya::maps::{Array, MapData, PerCpuArray};
use monitor_common::{
    count::{OUTCOMES, Outcome, PacketCount, UNPARSED_RULE, Unparsed},
    limit::{CAUSES, Cause, RateRule},
    packet::{Parsed, TCP, UDP},
    policy::{Mode, RuleKind, RuleSet, ports::port_index},
    settings::Settings,
};

use super::{Amount, Counts, Frame, Judge, Outcomes, Over, Rule, RuleCounts, Verdict};
use crate::{
    agent::prepare::Ground,
    config::{Config, Rings},
    host::accounts::Accounts,
    kernel::{
        load::{Kernel, KernelLog, Room, Sizes},
        probes::{Needed, PROBES},
        rates::Rates,
    },
    policy::{Compiled, Host, Names, Unenforceable},
};

/// Index of the interface that a test run arrives on: the loopback interface of the network namespace it is started in.
const LOOPBACK: u32 = 1;

/// A policy in the kernel, attached to nothing.
pub struct Simulator {
    kernel: Kernel,
    policy: Compiled,
    clock: Array<MapData, u64>,
    packets: PerCpuArray<MapData, PacketCount>,
    over: PerCpuArray<MapData, u64>,
    unparsed: PerCpuArray<MapData, u64>,
    /// Keeps its maps.
    rates: Rates,
    rules: Vec<Rule>,
    /// By rule, what it dropped and would have dropped so far.
    told: Vec<[u64; 2]>,
    /// What the clock shows.
    now_ns: u64,
    /// Where packets arrive.
    interface: Option<String>,
}

impl Simulator {
    /// Loads the rate limits of a policy. With `real` they go by the kernel's clock, else by that of the frames.
    ///
    /// # Errors
    /// What keeps them from the kernel.
    pub fn new(config: &Config, real: bool) -> Result<Self> {
        let ground = Ground::look()?;
        let names = Names::new(config);
        // The other rules say nothing of packets, and may name what this host hasn't got.
        let (workloads, databases, listens, execs) = Default::default();
        let config = Config {
            workloads,
            databases,
            listens,
            execs,
            raw_sockets: None,
            process_memory: None,
            ..config.clone()
        };
        let accounts = Accounts::read(&ground.tree)?;
        let host = Host { tree: Some(&ground.tree), accounts: &accounts, cannot: Unenforceable::default() };
        let policy = Compiled::new(&config, &host)?;
        let source_sets = policy.source_sets;
        let settings = Settings { source_sets, simulated: u32::from(!real), ..ground.settings };
        let rate_limits = policy.rate_rules.len();
        let sizes = Sizes {
            databases: 0,
            listens: 0,
            rate_limits,
            source_sets,
            rings: Rings::NONE,
            room: Room::USUAL,
        };
        let mut kernel = Kernel::open(&ground.types, &ground.layout, &settings, sizes, KernelLog::Off)?;
        for probe in PROBES.iter().filter(|probe| probe.needed == Needed::RateLimit) {
            kernel.load(probe)?;
        }
        let rates = Rates::new(&mut kernel)?;
        rates.apply(&policy, &[])?;
        be_alone()?;
        let rules = rules(&policy, &names);
        Ok(Self {
            clock: kernel.take("CLOCK")?.try_into()?,
            packets: kernel.take("PACKETS")?.try_into()?,
            over: kernel.take("OVER")?.try_into()?,
            unparsed: kernel.take("UNPARSED")?.try_into()?,
            kernel,
            policy,
            rates,
            told: vec![[0; 2]; rules.len()],
            rules,
            now_ns: 0,
            interface: None,
        })
    }

    /// The packets of a rule with an outcome.
    fn count(&self, rule: usize, outcome: Outcome) -> Result<Amount> {
        let index = counter(rule, self.rules.len()) * OUTCOMES + outcome as u32;
        let mut sum = Amount::default();
        for cpu in self.packets.get(&index, 0).context("can't read the counters of packets")?.iter() {
            sum.add(Amount { packets: cpu.packets, bytes: cpu.bytes });
        }
        Ok(sum)
    }

    fn outcomes(&self, rule: usize) -> Result<Outcomes> {
        Ok(Outcomes {
            passed: self.count(rule, Outcome::Pass)?,
            dropped: self.count(rule, Outcome::Drop)?,
            would_drop: self.count(rule, Outcome::WouldDrop)?,
            protected: self.count(rule, Outcome::Protected)?,
            spared: self.count(rule, Outcome::Spared)?,
        })
    }

    /// Asks a rule whether it dropped the last frame, or would have.
    fn ask(&mut self, rule: usize, dropped: bool, verdict: &mut Verdict) -> Result<()> {
        let asks = [(Outcome::Drop, dropped), (Outcome::WouldDrop, self.rules[rule].mode == Mode::Observe)];
        for (place, (outcome, _)) in asks.into_iter().enumerate().filter(|(_, (_, may))| *may) {
            let now = self.count(rule, outcome)?.packets;
            if now != self.told[rule][place] {
                self.told[rule][place] = now;
                verdict.over.push(Over { rule, dropped: outcome == Outcome::Drop });
            }
        }
        Ok(())
    }

    /// The rules that may have judged a frame: those of its port, by their bits.
    fn candidates(&self, frame: &Frame<'_>) -> RuleSet {
        let packet = frame.packet;
        if !matches!(packet.protocol, TCP | UDP) {
            return RuleSet::EMPTY;
        }
        let index = port_index(packet.protocol, packet.port);
        self.policy.rate_ports.get(&index).copied().unwrap_or(RuleSet::EMPTY)
    }
}

impl Judge for Simulator {
    fn rules(&self) -> &[Rule] {
        &self.rules
    }

    fn set_interface(&mut self, name: Option<&str>) -> Result<()> {
        if self.interface.as_deref() == name {
            return Ok(());
        }
        self.interface = name.map(str::to_owned);
        // Without a name, it is an interface that the program doesn't know.
        match name {
            Some(name) => self.rates.know_interface(LOOPBACK, true, self.policy.interfaces.rules_on(name)),
            None => self.rates.forget_interface(LOOPBACK),
        }
    }

    fn judge(&mut self, frame: &Frame<'_>, verdict: &mut Verdict) -> Result<()> {
        verdict.over.clear();
        if frame.now_ns != self.now_ns {
            self.now_ns = frame.now_ns;
            self.clock.set(0, self.now_ns, 0).context("can't set the clock of the packet program")?;
        }
        verdict.dropped = self.kernel.drops(frame.bytes)?;
        let mut candidates = self.candidates(frame);
        verdict.no_rule = frame.parsed == Parsed::Ip && candidates.is_empty();
        match frame.parsed {
            Parsed::Other => {}
            Parsed::Unparsed(_) => self.ask(self.rules.len() - 1, verdict.dropped, verdict)?,
            Parsed::Ip => {
                while let Some(bit) = candidates.take_first() {
                    let counter = self.policy.rate_rules.get(bit as usize).map(|rule| rule.counter as usize);
                    if let Some(rule) = counter.filter(|rule| *rule + 1 < self.rules.len()) {
                        self.ask(rule, verdict.dropped, verdict)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn counts(&self) -> Result<Counts> {
        let mut counts = Counts::default();
        for rule in 0..self.rules.len() {
            let mut row = RuleCounts { outcomes: self.outcomes(rule)?, ..RuleCounts::default() };
            for cause in Cause::ALL {
                let index = counter(rule, self.rules.len()) * CAUSES + *cause as u32;
                row.over[*cause as usize] = sum(&self.over, index)?;
            }
            counts.rules.push(row);
        }
        for reason in Unparsed::ALL {
            let packets = |outcome| {
                let packets = sum(&self.unparsed, reason as u32 * OUTCOMES + outcome as u32)?;
                Ok::<_, anyhow::Error>(Amount { packets, bytes: 0 })
            };
            counts.unparsed[reason as usize] = Outcomes {
                passed: packets(Outcome::Pass)?,
                dropped: packets(Outcome::Drop)?,
                would_drop: packets(Outcome::WouldDrop)?,
                protected: packets(Outcome::Protected)?,
                spared: packets(Outcome::Spared)?,
            };
        }
        Ok(counts)
    }
}

fn sum(map: &PerCpuArray<MapData, u64>, index: u32) -> Result<u64> {
    Ok(map.get(&index, 0).context("can't read the counters of the packet program")?.iter().sum())
}

/// Index of a rule's counters: the last rule is the one for packets whose ports can't be told.
fn counter(rule: usize, rules: usize) -> u32 {
    if rule + 1 == rules { UNPARSED_RULE } else { rule as u32 }
}

/// The rate limits in file order, and last the one for packets whose ports can't be told.
fn rules(policy: &Compiled, names: &Names) -> Vec<Rule> {
    let compiled = |counter: usize| policy.rate_rules.iter().find(|rule| rule.counter as usize == counter);
    let rows = names.rules(RuleKind::RateLimit).iter().enumerate();
    let named = rows.map(|(index, (name, _))| (name.clone(), compiled(index)));
    let unparsed = names.rule(RuleKind::RateLimit, UNPARSED_RULE as u16).cloned();
    let unparsed = (unparsed.unwrap_or_else(|| "unparsed".into()), Some(&policy.unparsed_rule));
    named
        .chain([unparsed])
        .map(|(name, rule)| {
            let rule = rule.unwrap_or(&policy.unparsed_rule);
            // Where all are counted together, they are still told apart in the report.
            let whole = rule.flags & RateRule::WHOLE != 0;
            let (mask_v4, mask_v6) =
                if whole { ([u64::MAX; 2], [u64::MAX, 0]) } else { (rule.mask_v4, rule.mask_v6) };
            Rule { name, mode: Mode::from_code(rule.mode as u8), mask_v4, mask_v6 }
        })
        .collect()
}

/// Leaves for a network namespace of one's own, in which there is no connection: a captured packet mustn't be taken for one of
/// this host's connections because it bears the same addresses.
fn be_alone() -> Result<()> {
    // SAFETY: takes no pointers; only the calling thread leaves, and all test runs are started by it.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } == -1 {
        return Err(std::io::Error::last_os_error()).context("can't make a network namespace of our own");
    }
    Ok(())
}
