//! Where the packet programs attach, while interfaces come, go and change: what the server's sockets receive and what the
//! kernel says of the interfaces are the oracles.

mod held;
mod kinds;
mod lifelines;
pub mod stage;

use anyhow::{Context as _, Result, ensure};
use tests::{
    netns::Netns,
    wait::{deadline, eventually},
};

use self::stage::{FEW, SENT, Stage, address, rule, shown};

const CHANGES: &str = "monitor_interface_changes_total";
const UNCOVERED: &str = "monitor_interfaces_uncovered";

#[test]
fn an_interface_that_is_made_later_or_again_is_limited_within_a_second() -> Result<()> {
    let stage = Stage::new()?;
    stage.link("s0", 0)?;
    let agent = stage
        .agent(&["s*", "named0", "s0"])
        .err()
        .context("it started although there is no interface named0")?;
    ensure!(format!("{agent:#}").contains("named0"), "{agent:#}");
    let agent = stage.agent(&["s*"])?;
    ensure!(stage.arrive(0)? < FEW, "there at the start");
    for round in 0..3 {
        // The same name, another interface.
        stage.link("s1", 1)?;
        stage.within_a_second("s1", true)?;
        let arrived = stage.arrive(1)?;
        ensure!(arrived < FEW, "round {round}: {arrived} arrived");
        eventually(
            "the metric",
            deadline(5.0),
            || Ok((shown(&agent, "s1", "native")? == 1.0).then_some(())),
        )?;
        stage.server.remove("s1")?;
        eventually("its end", deadline(5.0), || Ok((shown(&agent, "s1", "native")? == 0.0).then_some(())))?;
    }
    stage.link("other", 2)?;
    ensure!(stage.arrive(2)? == SENT, "no glob is for it");
    ensure!(stage.server.xdp("other")?.is_none());
    let metrics = agent.metrics()?;
    assert_eq!(metrics.sum(CHANGES, &[("change", "covered")]), 4.0);
    assert_eq!(metrics.sum(CHANGES, &[("change", "vanished")]), 3.0);
    assert_eq!(metrics.sum("monitor_interfaces_covered", &[]), 1.0);
    agent.stop()?;
    assert_eq!(stage.server.xdp("s0")?, None, "left on the interface");
    Ok(())
}

#[test]
fn many_interfaces_at_once_are_all_covered_and_64_are_shown() -> Result<()> {
    const MANY: usize = 80;
    let (stage, other) = (Stage::new()?, Netns::new()?);
    let agent = stage.agent(&["s*"])?;
    for number in 0..MANY {
        stage.server.link(&format!("s{number}"), &other, &format!("c{number}"))?;
    }
    stage.within_a_second(&format!("s{}", MANY - 1), true)?;
    for number in 0..MANY {
        ensure!(stage.server.xdp(&format!("s{number}"))?.is_some(), "s{number} isn't covered");
    }
    agent.wait_for_metric("monitor_interfaces_covered", &[], MANY as f64, deadline(5.0))?;
    let metrics = agent.metrics()?;
    assert_eq!(metrics.series("monitor_attach_info").len(), 64);
    assert_eq!(metrics.sum("monitor_attach_info_left_out", &[]), (MANY - 64) as f64);
    agent.stop()?;
    Ok(())
}

#[test]
fn what_could_not_be_heard_is_seen() -> Result<()> {
    /// More than the queue of events holds: each makes several.
    const NOISE: usize = 200;
    let (stage, other) = (Stage::new()?, Netns::new()?);
    let agent = stage.agent(&["s*"])?;
    let tell = |signal| {
        // SAFETY: a signal to a process that this test started and holds.
        let code = unsafe { libc::kill(agent.pid() as i32, signal) };
        ensure!(code == 0, "signal {signal}");
        Ok(())
    };
    // Until then it loads programs, and has to begin anew when it is stopped meanwhile.
    stage.link("s1", 1)?;
    stage.within(8.0, "s1", true)?;
    tell(libc::SIGSTOP)?;
    for number in 0..NOISE {
        stage.server.link("noise", &other, "far").with_context(|| format!("link {number}"))?;
        stage.server.remove("noise")?;
    }
    stage.link("s0", 0)?;
    ensure!(stage.server.xdp("s0")?.is_none());
    tell(libc::SIGCONT)?;
    stage.within_a_second("s0", true)?;
    let unheard = agent.metrics()?.sum(CHANGES, &[("change", "unheard")]);
    ensure!(unheard >= 1.0, "control: everything was heard");
    agent.stop()?;
    Ok(())
}

#[test]
fn an_interface_that_vanishes_is_counted_and_the_others_stay_limited() -> Result<()> {
    let stage = Stage::new()?;
    stage.link("s0", 0)?;
    stage.link("s1", 1)?;
    let agent = stage.agent(&["s0", "s1"])?;
    stage.server.remove("s0")?;
    agent.wait_for_metric(UNCOVERED, &[("reason", "missing")], 1.0, deadline(1.0))?;
    ensure!(stage.arrive(1)? < FEW, "the other one");
    // Its name is remembered.
    stage.link("s0", 0)?;
    stage.within_a_second("s0", true)?;
    ensure!(stage.arrive(0)? < FEW, "made again");
    agent.wait_for_metric(UNCOVERED, &[], 0.0, deadline(5.0))?;
    let stopped = agent.stop()?;
    let told = stopped.stderr.matches("no interface \"s0\" at present").count();
    ensure!(told == 1, "told {told} times:\n{}", stopped.stderr);
    Ok(())
}

#[test]
fn an_interface_that_is_renamed_has_the_rules_of_its_new_name() -> Result<()> {
    let stage = Stage::new()?;
    stage.link("s0", 0)?;
    let only = rule("interfaces = [\"tight*\"]\n");
    let agent = stage.setup(&only).interfaces(&["s*", "tight*"]).start()?;
    ensure!(stage.arrive(0)? == SENT, "no rule is for it");
    let id = stage.server.xdp_program("s0")?.context("not covered")?;
    let renamed = |count| agent.wait_for_metric(CHANGES, &[("change", "renamed")], count, deadline(1.0));
    stage.server.rename("s0", "tight0")?;
    renamed(1.0)?;
    ensure!(stage.arrive(0)? < FEW, "the rule is for its new name");
    assert_eq!(stage.server.xdp_program("tight0")?, Some(id), "attached anew without need");
    stage.server.rename("tight0", "s0")?;
    renamed(2.0)?;
    ensure!(stage.arrive(0)? == SENT, "the rule isn't for its old name");
    stage.server.rename("s0", "other")?;
    stage.within_a_second("other", false)?;
    stage.server.rename("other", "tight7")?;
    stage.within_a_second("tight7", true)?;
    ensure!(stage.arrive(0)? < FEW, "a name that was not there at the start");
    agent.stop()?;
    Ok(())
}

#[test]
fn a_new_policy_asks_about_interfaces_that_were_made_later() -> Result<()> {
    let stage = Stage::new()?;
    stage.link("s0", 0)?;
    let only = rule("interfaces = [\"tight*\"]\n");
    let mut agent = stage.setup(&only).interfaces(&["s*"]).start()?;
    stage.link("s1", 1)?;
    stage.within_a_second("s1", true)?;
    ensure!(stage.arrive(0)? == SENT && stage.arrive(1)? == SENT, "the rule is for neither");
    agent.reconfigure(|text| text.replace("\"tight*\"", "\"s1\""))?;
    agent.wait_for_metric("monitor_policy_reloads_total", &[("outcome", "applied")], 1.0, deadline(10.0))?;
    ensure!(stage.arrive(1)? < FEW, "the rule is for this one");
    ensure!(stage.arrive(0)? == SENT, "not for this one");
    // And those that are made after it.
    stage.server.remove("s1")?;
    stage.link("s1", 1)?;
    stage.within_a_second("s1", true)?;
    ensure!(stage.arrive(1)? < FEW, "made after the new policy");
    agent.stop()?;
    Ok(())
}

#[test]
fn nothing_is_left_on_an_interface_that_is_given_away() -> Result<()> {
    let (stage, other) = (Stage::new()?, Netns::new()?);
    stage.link("s0", 0)?;
    stage.link("s1", 1)?;
    let agent = stage.agent(&["s*"])?;
    ensure!(stage.server.xdp("s1")?.is_some());
    stage.server.give("s1", &other)?;
    eventually("the end of the program in the other namespace", deadline(1.0), || {
        Ok(other.xdp("s1")?.is_none().then_some(()))
    })?;
    other.give("s1", &stage.server)?;
    stage.within_a_second("s1", true)?;
    agent.stop()?;
    Ok(())
}

#[test]
fn auto_follows_the_default_route() -> Result<()> {
    let stage = Stage::new()?;
    stage.link("s0", 0)?;
    stage.link("s1", 1)?;
    let Err(error) = stage.setup(&rule("")).auto().start() else {
        anyhow::bail!("it started without a default route");
    };
    ensure!(format!("{error:#}").contains("no interface has a default route"), "{error:#}");
    // Others than who sends: gateways are never dropped.
    stage.server.default_route("s0", address(0, 3))?;
    let agent = stage.setup(&rule("")).auto().start()?;
    ensure!(stage.arrive(0)? < FEW && stage.arrive(1)? == SENT);
    // It loses its routes, and stays covered.
    stage.server.bounce("s0")?;
    stage.server.default_route("s1", address(1, 3))?;
    stage.within_a_second("s1", true)?;
    ensure!(stage.arrive(1)? < FEW, "it has the default route now");
    ensure!(stage.arrive(0)? < FEW, "it had it");
    // Made again it is another one.
    stage.server.remove("s0")?;
    stage.link("s0", 0)?;
    ensure!(stage.arrive(0)? == SENT, "it never had a default route");
    agent.stop()?;
    Ok(())
}
