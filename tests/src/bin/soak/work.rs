//! The stage, and what happens on it again and again.

use std::{
    cell::Cell,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use anyhow::{Result, ensure};
use serde_json::Value;
use tests::{
    agent::{Agent, Mode, Setup},
    cgroup::Cgroup,
    netns::Netns,
    place::Place,
    program::Program,
    server::Server,
    wait::deadline,
};

const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 78, 0, 1));
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 78, 0, 2));
/// The port that is limited.
const LIMITED: u16 = 7000;

/// Seconds that each part may take on a busy machine.
const PATIENCE: f64 = 120.0;

/// Namespaces, servers and programs. The fields are dropped in this order.
pub struct World {
    server: Server,
    group: Cgroup,
    client: Netns,
    host: Netns,
    allowed: PathBuf,
    denied: PathBuf,
    _place: Place,
    /// Execs in the scope so far.
    execs: Cell<u64>,
}

impl World {
    pub fn new() -> Result<Self> {
        let (host, client, place) = (Netns::new()?, Netns::new()?, Place::new()?);
        host.link("s0", &client, "c0")?;
        host.address("s0", SERVER, 24)?;
        client.address("c0", CLIENT, 24)?;
        let tcp = [SocketAddr::new(SERVER, 5432), SocketAddr::new(SERVER, 8080)].map(|at| at.to_string());
        let udp = SocketAddr::new(SERVER, LIMITED).to_string();
        let server = Server::start(&place, Some(&host), &tcp.each_ref().map(String::as_str), &[&udp])?;
        let (allowed, denied) = (place.copy("exit0", "allowed")?, place.copy("exit0", "denied")?);
        let execs = Cell::new(0);
        Ok(Self { server, group: Cgroup::new()?, client, host, allowed, denied, _place: place, execs })
    }

    pub fn agent(&self) -> Result<Agent<'_>> {
        let rules = format!(
            "[[workload]]\nname = \"service\"\nexe = [{:?}]\n\n\
             [[database]]\nname = \"orders\"\nports = [5432]\nclients = []\n\n\
             [[exec]]\nname = \"denied\"\ndeny = [{:?}]\n\n\
             [[rate_limit]]\nname = \"few\"\nports = [{LIMITED}]\nprotocol = \"udp\"\npackets = \"100/s\"\n",
            self.allowed, self.denied
        );
        let setup = Setup::new(Mode::Enforce, &self.group).within(&self.host).interfaces(&["s0"]);
        // A file of every event would say more of the disk than of the agent.
        setup.without_events().keeping().rules(&rules).start()
    }

    /// Programs that run and programs that don't, connections that are made and that are refused, packets over a limit.
    pub fn work(&self) -> Result<()> {
        const SPAWNED: u64 = 400;
        for (program, runs) in [(&self.allowed, true), (&self.denied, false)] {
            let spawn = Program::probe()?.arg("spawn").with("program", program);
            let said = self.carry_out(spawn.with("count", SPAWNED.to_string()).with("threads", "2"))?;
            let well = said["ended"]["code 0"].as_u64().unwrap_or(0);
            ensure!(well == if runs { SPAWNED } else { 0 }, "{}: {said}", program.display());
            self.execs.set(self.execs.get() + SPAWNED);
        }
        for (to, outcome) in [(self.server.tcp()[1], "ok"), (self.server.tcp()[0], "EPERM")] {
            let connect = Program::probe()?.arg("connect").with("to", to.to_string()).with("count", "200");
            let said = self.carry_out(connect.within(&self.host)?)?;
            ensure!(said[outcome] == 200, "{to}: {said}");
        }
        let to = self.server.udp()[0].to_string();
        let flood = Program::probe()?.arg("flood").with("to", to).with("count", "20000");
        flood.within(&self.client)?.json(deadline(PATIENCE)).map(drop)
    }

    /// Runs a program in the scope; it is an exec of its own.
    fn carry_out(&self, program: Program) -> Result<Value> {
        self.execs.set(self.execs.get() + 1);
        program.inside(&self.group)?.json(deadline(PATIENCE))
    }

    /// Every other time only a rate limit changes, which the generation in force takes; else the next generation follows.
    pub fn another_policy(&self, agent: &mut Agent<'_>, number: u32) -> Result<()> {
        let reloads = |agent: &Agent<'_>| {
            let metrics = agent.metrics()?;
            let all = metrics.sum("monitor_policy_reloads_total", &[]);
            anyhow::Ok((all, metrics.sum("monitor_policy_reloads_total", &[("outcome", "applied")])))
        };
        let before = reloads(agent)?;
        agent.reconfigure(|text| {
            let (rate, user) = (format!("packets = \"{}/s\"", 100 + number), format!("user = [{number}]"));
            let lines = text.lines().filter(|line| !line.starts_with("user = "));
            let changed = lines.map(|line| match line {
                line if line.starts_with("packets = ") => rate.clone(),
                "name = \"service\"" if number.is_multiple_of(2) => format!("{line}\n{user}"),
                line => line.to_owned(),
            });
            changed.collect::<Vec<_>>().join("\n")
        })?;
        tests::wait::eventually("the new policy", deadline(PATIENCE), || {
            let (all, applied) = reloads(agent)?;
            ensure!(all == before.0 || applied > before.1, "a policy was not applied");
            Ok((applied > before.1).then_some(()))
        })
    }

    /// How many programs were executed in the scope.
    pub fn execs(&self) -> u64 {
        self.execs.get()
    }
}
