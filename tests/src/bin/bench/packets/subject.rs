//! What is measured: our packet program under several policies, what it is compared with, and the floor below both.

use std::{fmt::Write as _, fs};

use anyhow::{Result, ensure};
use tests::{
    agent::{Agent, Mode, Setup},
    cgroup::Cgroup,
    place::Place,
    program::Program as Process,
    wait::deadline,
};

use super::{
    program::{DROP, Link, PASS, Program},
    stage::{CLIENT, FAR, From, PORT, Stage, To},
};

/// Something that works where frames arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// An XDP program that drops, and does nothing else.
    Drop,
    /// One that passes.
    Pass,
    /// No rule for the port: every packet is looked at and passed.
    NoRule,
    /// A limit for everybody together, never reached.
    WholeUnlimited,
    /// A limit for each source, never reached.
    Unlimited,
    /// A limit for everybody together.
    WholeOver,
    /// A limit for each source.
    Over,
    /// The same, whose burst is so short that it asks the exact clock.
    OverExact,
    /// 64 rules, of which this one applies.
    Rules,
    /// 64 rules, of which six apply, and the last of them refuses.
    RulesApply,
    /// 10,000 prefixes in 40 rules.
    Prefixes,
    /// A million addresses are banned; the sender is not one of them.
    Bans,
    /// The sender is banned.
    Banned,
    /// nftables, a dynamic set with a limit, where frames enter.
    NftIngress,
    /// The same where packets for this host arrive.
    NftInput,
    /// iptables with `hashlimit`.
    Hashlimit,
}

/// Prefixes in [`Subject::Prefixes`], and in one rule.
const PREFIXES: usize = 10_000;
const PREFIXES_EACH: usize = 250;
/// Rules in [`Subject::Rules`].
const RULES: usize = 64;
/// Addresses in [`Subject::Bans`].
const BANS: u32 = 1_000_000;

const UNLIMITED: &str = "packets = \"100000000/s\"\nburst = 100000000";
/// Far below what comes, so that the few that pass don't count.
const LIMITED: &str = "packets = \"100/s\"\nburst = 100";

impl Subject {
    /// All.
    pub const ALL: [Self; 16] = [
        Self::Drop,
        Self::Pass,
        Self::NoRule,
        Self::WholeUnlimited,
        Self::Unlimited,
        Self::WholeOver,
        Self::Over,
        Self::OverExact,
        Self::Rules,
        Self::RulesApply,
        Self::Prefixes,
        Self::Bans,
        Self::Banned,
        Self::NftIngress,
        Self::NftInput,
        Self::Hashlimit,
    ];

    /// Its name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Drop => "only drops",
            Self::Pass => "only passes",
            Self::NoRule => "monitor: no rule for the port",
            Self::WholeUnlimited => "monitor: a limit for all, not reached",
            Self::Unlimited => "monitor: a limit per source, not reached",
            Self::WholeOver => "monitor: over a limit for all",
            Self::Over => "monitor: over a limit per source",
            Self::OverExact => "monitor: the same, by the exact clock",
            Self::Rules => "monitor: over, 64 rules",
            Self::RulesApply => "monitor: over the last of six, 64 rules",
            Self::Prefixes => "monitor: over, 10,000 prefixes",
            Self::Bans => "monitor: over, 1 million others banned",
            Self::Banned => "monitor: banned",
            Self::NftIngress => "nftables: over a limit, netdev ingress",
            Self::NftInput => "nftables: over a limit, input",
            Self::Hashlimit => "iptables: over a hashlimit, INPUT",
        }
    }

    /// Whether it lets nearly everything pass. The stack throws these frames away at once, as they are for another host: what is
    /// measured is not the stack.
    pub fn passes(self) -> bool {
        matches!(self, Self::Pass | Self::NoRule | Self::WholeUnlimited | Self::Unlimited)
    }

    /// Whether it isn't ours, and may be missing.
    pub fn is_peer(self) -> bool {
        matches!(self, Self::NftIngress | Self::NftInput | Self::Hashlimit)
    }

    /// What ends the same way and does nothing else.
    pub fn floor(self) -> Self {
        if self.passes() { Self::Pass } else { Self::Drop }
    }

    /// Whom the frames are for.
    pub fn to(self) -> To {
        if self.passes() { To::AnotherHost } else { To::Server }
    }

    /// With which senders it is measured.
    pub fn sources(self) -> &'static [From] {
        match self {
            Self::Drop | Self::Pass | Self::Unlimited | Self::Over | Self::NftIngress => {
                &[From::One, From::Million]
            }
            _ => &[From::One],
        }
    }

    /// At most this many times the bare floor.
    pub fn goal(self, from: From) -> Option<f64> {
        match (self, from) {
            (Self::Over, From::One) => Some(1.8),
            (Self::Over, From::Million) => Some(4.0),
            _ => None,
        }
    }

    /// Starts it.
    pub fn start<'a>(self, stage: &'a Stage, scope: &Cgroup) -> Result<At<'a>> {
        let ours = |rules: &str| agent(stage, scope, rules);
        Ok(match self {
            Self::Drop => At::Bare(stage.attach(&Program::always(DROP)?)?),
            Self::Pass => At::Bare(stage.attach(&Program::always(PASS)?)?),
            Self::NoRule => ours(&rule("another port", PORT + 1, LIMITED))?,
            Self::WholeUnlimited => ours(&rule("all", PORT, &format!("per = \"rule\"\n{UNLIMITED}")))?,
            Self::Unlimited => ours(&(room() + &rule("each", PORT, &newcomers(UNLIMITED))))?,
            Self::WholeOver => ours(&rule("all", PORT, &format!("per = \"rule\"\n{LIMITED}")))?,
            // One an hour: each of a million is over it until the end.
            Self::Over => ours(&(room() + &rule("each", PORT, &newcomers("packets = \"1/h\"\nburst = 1"))))?,
            Self::OverExact => ours(&rule("each", PORT, "packets = \"1000/s\"\nburst = 10"))?,
            Self::Rules => ours(&rules(1))?,
            Self::RulesApply => ours(&rules(6))?,
            Self::Prefixes => ours(&prefixes())?,
            Self::Bans => {
                let at = ours(&rule("each", PORT, LIMITED))?;
                let many: String = (0..BANS).fold(String::new(), |mut text, number| {
                    let _ = writeln!(text, "{}", std::net::Ipv4Addr::from(0x0b00_0000 + number));
                    text
                });
                ban(&at, &many)?;
                at
            }
            Self::Banned => {
                let at = ours(&rule("each", PORT, UNLIMITED))?;
                ban(&at, &format!("{CLIENT}\n"))?;
                at
            }
            Self::NftIngress => nft(
                stage,
                &format!(
                    "netdev b {{\n{SET}chain c {{ type filter hook ingress device {} {CHAIN} }}\n}}",
                    FAR[0]
                ),
            )?,
            Self::NftInput => {
                nft(stage, &format!("ip b {{\n{SET}chain c {{ type filter hook input {CHAIN} }}\n}}"))?
            }
            Self::Hashlimit => hashlimit(stage)?,
        })
    }
}

const SET: &str = "set s { type ipv4_addr; size 2097152; flags dynamic; }\n";
const CHAIN: &str = "priority 0; policy accept; udp dport 7000 add @s { ip saddr limit rate over 100/second burst 100 packets } drop;";

/// It, at work.
#[derive(Debug)]
pub enum At<'a> {
    /// A program of a few instructions.
    Bare(#[expect(dead_code, reason = "held for its end")] Link),
    /// Our agent.
    Agent(Box<Agent<'a>>),
    /// Rules of the kernel: they end with the namespace.
    Kernel,
}

impl At<'_> {
    /// Ends it.
    pub fn stop(self) -> Result<()> {
        if let Self::Agent(agent) = self {
            agent.stop()?;
        }
        Ok(())
    }
}

fn rule(name: &str, port: u16, limit: &str) -> String {
    format!("[[rate_limit]]\nname = \"{name}\"\nports = [{port}]\nprotocol = \"udp\"\n{limit}\n\n")
}

/// Two million places.
fn room() -> String {
    "[packets]\nmemory = \"200MB\"\n\n".into()
}

fn newcomers(limit: &str) -> String {
    format!("{limit}\nnewcomers = \"100000000/s\"")
}

/// 64 rules: so many for the port, the last of which refuses.
fn rules(here: usize) -> String {
    let mut text = String::new();
    for number in 0..RULES {
        let rest = RULES - number;
        let port = if rest <= here { PORT } else { PORT + 1 + number as u16 };
        let limit = if rest == 1 { LIMITED } else { UNLIMITED };
        text += &rule(&format!("rule {number}"), port, limit);
    }
    text
}

/// 10,000 networks, the last of which the sender is in.
fn prefixes() -> String {
    let mut text = String::new();
    for first in (0..PREFIXES).step_by(PREFIXES_EACH) {
        let last = first + PREFIXES_EACH == PREFIXES;
        let mut networks: Vec<String> = (first..first + PREFIXES_EACH)
            .map(|number| format!("\"172.{}.{}.0/25\"", number >> 8, number & 255))
            .collect();
        if last {
            networks.pop();
            networks.push(format!("\"{CLIENT}/32\""));
        }
        let limit = format!("sources = [{}]\n{LIMITED}", networks.join(", "));
        text += &rule(&format!("networks from {first}"), PORT, &limit);
    }
    text
}

/// Our agent with one limit for each source.
pub fn limited<'a>(stage: &'a Stage, scope: &Cgroup, per_second: f64, burst: f64) -> Result<At<'a>> {
    agent(stage, scope, &rule("each", PORT, &format!("packets = \"{per_second}/s\"\nburst = {burst}")))
}

fn agent<'a>(stage: &'a Stage, scope: &Cgroup, rules: &str) -> Result<At<'a>> {
    let setup = Setup::new(Mode::Enforce, scope).without_events().within(&stage.server);
    let agent = setup.interfaces(&FAR).rules(rules).start_beside(None)?;
    ensure!(stage.server.xdp(FAR[0])?.as_deref() == Some("Driver"), "the agent isn't in the driver");
    Ok(At::Agent(Box::new(agent)))
}

fn ban(at: &At<'_>, list: &str) -> Result<()> {
    let At::Agent(agent) = at else { return Ok(()) };
    let place = Place::new()?;
    let file = place.join("list");
    fs::write(&file, list)?;
    let command = Process::monitor()?.args(["ban", "add", "--run-dir"]).arg(agent.run_directory());
    done(command.arg("--file").arg(file))
}

fn nft<'a>(stage: &Stage, table: &str) -> Result<At<'a>> {
    let place = Place::new()?;
    let file = place.join("table");
    fs::write(&file, format!("table {table}\n"))?;
    done(Process::new("/usr/sbin/nft").arg("-f").arg(file).within(&stage.server)?)?;
    Ok(At::Kernel)
}

fn hashlimit<'a>(stage: &Stage) -> Result<At<'a>> {
    let command = Process::new("/usr/sbin/iptables").args(["-A", "INPUT", "-p", "udp", "--dport", "7000"]);
    let command =
        command.args(["-m", "hashlimit", "--hashlimit-above", "100/sec", "--hashlimit-burst", "100"]);
    let command = command.args(["--hashlimit-mode", "srcip", "--hashlimit-name", "b", "-j", "DROP"]);
    done(command.within(&stage.server)?)?;
    Ok(At::Kernel)
}

fn done(command: Process) -> Result<()> {
    let finished = command.finish(deadline(60.0))?;
    ensure!(
        finished.status.success(),
        "{}: {}{}",
        finished.status,
        finished.stdout.join("\n"),
        finished.stderr
    );
    Ok(())
}
