//! What rules do while the agent is gone: killed, or stopped in its tracks. What programs, the server's log and the sockets say is
//! the oracle.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::{
    agent::{Agent, Mode, Setup},
    place::Place,
    program::Program,
    server::Server,
    wait::{deadline, eventually},
};

use crate::interfaces::stage::{FEW, LIMIT, SENT, Stage};

/// The rules by what they say of the agent's absence, with the mode they have otherwise.
const RULES: [(&str, &str); 4] =
    [("open", "enforce"), ("closed", "observe"), ("keep", "enforce"), ("keep", "observe")];

/// Which of the rules let pass what they speak of.
type Passes = [bool; 4];
const NORMAL: Passes = [false, true, false, true];
const STALE: Passes = [true, false, false, true];

struct Scene {
    stage: Stage,
    _place: Place,
    programs: [PathBuf; 4],
    server: Server,
}

impl Scene {
    fn new() -> Result<Self> {
        let (stage, place) = (Stage::new()?, Place::new()?);
        let mut programs = Vec::new();
        for number in 0..RULES.len() {
            stage.link(&format!("s{number}"), number as u8)?;
            programs.push(place.copy("exit0", &format!("program{number}"))?);
        }
        let programs = programs.try_into().ok().context("four programs")?;
        let server = Server::start(&place, None, &["127.0.0.1:0"; 4], &[])?;
        Ok(Self { stage, _place: place, programs, server })
    }

    fn address(&self, rule: usize) -> SocketAddr {
        self.server.tcp()[rule]
    }

    fn setup(&self) -> Setup<'_> {
        let mut rules =
            "[raw_sockets]\nallow = []\naction = \"deny\"\nmode = \"enforce\"\nwhen_stale = \"open\"\n\
                         degrade = \"observe\"\n\n"
                .to_owned();
        for (number, (when, mode)) in RULES.iter().enumerate() {
            let what = format!("mode = {mode:?}\nwhen_stale = {when:?}\n");
            rules += &format!(
                "[[exec]]\nname = \"exec {number}\"\ndeny = [{:?}]\n{what}\n\
                 [[database]]\nname = \"database {number}\"\nports = [{}]\nclients = []\n{what}\n\
                 [[rate_limit]]\nname = \"limit {number}\"\n{LIMIT}interfaces = [\"s{number}\"]\n{what}\n",
                self.programs[number],
                self.address(number).port(),
            );
        }
        let setup = Setup::new(Mode::Observe, &self.stage.group).within(&self.stage.server);
        setup
            .interfaces(&["s0", "s1", "s2", "s3"])
            .agent("stale_after = \"5s\"")
            .without_events()
            .rules(&rules)
    }

    fn runs(&self, rule: usize) -> Result<bool> {
        let spawn = Program::probe()?.arg("spawn").with("program", &self.programs[rule]);
        Ok(spawn.inside(&self.stage.group)?.json(deadline(60.0))?["ended"] == json!({ "code 0": 1 }))
    }

    fn connects(&self, rule: usize, tag: &str) -> Result<bool> {
        let tag = format!("{tag}{rule}");
        let connect = Program::probe()?.arg("connect").with("to", self.address(rule).to_string());
        let outcome = connect.with("tag", &tag).inside(&self.stage.group)?.json(deadline(60.0))?;
        let passes = outcome == json!({ "ok": 1 });
        ensure!(passes || outcome == json!({ "EPERM": 1 }), "{outcome}");
        if passes {
            eventually("the connection at the server", deadline(10.0), || {
                Ok((self.server.arrived(Some(&tag))? == 1).then_some(()))
            })?;
        }
        assert_eq!(self.server.arrived(Some(&tag))?, u64::from(passes), "the server's log");
        Ok(passes)
    }

    fn arrives(&self, rule: usize) -> Result<bool> {
        let arrived = self.stage.arrive(rule as u8)?;
        ensure!(arrived == SENT || arrived < FEW, "{arrived} datagrams");
        Ok(arrived == SENT)
    }

    fn raw(&self) -> Result<bool> {
        let raw = Program::probe()?.arg("raw").inside(&self.stage.group)?.json(deadline(60.0))?;
        let ip = ["inet raw", "inet raw tcp", "inet6 raw"].map(|kind| &raw[kind]);
        ensure!(ip.iter().all(|outcome| *outcome == ip[0]), "{raw}");
        Ok(ip[0] == "ok")
    }

    /// Fails unless everything is as is said.
    fn check(&self, what: &str, expected: Passes) -> Result<()> {
        for (rule, passes) in expected.into_iter().enumerate() {
            let seen = [self.runs(rule)?, self.connects(rule, what)?, self.arrives(rule)?];
            ensure!(seen == [passes; 3], "{what}, {:?}: {seen:?} passed, {passes} is due", RULES[rule]);
        }
        let raw = self.raw()?;
        ensure!(raw == expected[0], "{what}: raw sockets");
        Ok(())
    }

    /// Waits until the first rule, which is open while the agent is gone, lets its program run, or doesn't any more.
    fn until(&self, passes: bool) -> Result<()> {
        eventually(&format!("open: {passes}"), deadline(30.0), || Ok((self.runs(0)? == passes).then_some(())))
    }
}

fn signal(agent: &Agent<'_>, signal: libc::c_int) -> Result<()> {
    // SAFETY: a signal to a process that this test started and holds.
    let code = unsafe { libc::kill(agent.pid() as i32, signal) };
    ensure!(code == 0, "signal {signal}");
    Ok(())
}

#[test]
fn while_the_agent_is_gone_each_rule_does_what_it_says() -> Result<()> {
    const GONE: &str = "monitor_agent_stale_seconds_total";
    let scene = Scene::new()?;
    scene.check("without an agent", [true; 4])?;
    let agent = scene.setup().start()?;
    scene.check("alive", NORMAL)?;
    assert_eq!(agent.metrics()?.sum(GONE, &[]), 0.0);

    let gone = agent.kill()?;
    ensure!(!scene.runs(0)?, "it was alive a moment ago");
    scene.until(true)?;
    scene.check("killed", STALE)?;

    let agent = gone.start()?;
    scene.check("the next", NORMAL)?;
    ensure!(agent.metrics()?.sum(GONE, &[]) > 0.0, "it doesn't say that there was no agent");
    let modes = |mode: &'static str| {
        let told = agent
            .records()
            .wait_for(mode, deadline(20.0), |record| record["rule"] == "exec 0" && record["mode"] == mode);
        told.with_context(|| format!("a finding in mode {mode}"))
    };
    modes("observe")?;
    modes("enforce")?;

    signal(&agent, libc::SIGSTOP)?;
    scene.until(true)?;
    scene.check("stopped", STALE)?;
    signal(&agent, libc::SIGCONT)?;
    scene.until(false)?;
    scene.check("goes on", NORMAL)?;
    agent.stop()?;
    scene.check("taken off", [true; 4])?;
    Ok(())
}
