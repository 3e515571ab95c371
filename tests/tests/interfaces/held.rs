//! Others on the interface: never replaced, never removed; and what a killed agent leaves there.

use anyhow::{Context as _, Result, bail, ensure};
use tests::{
    agent::Agent,
    foreign::Foreign,
    program::Program,
    wait::{deadline, eventually},
};

use super::{
    UNCOVERED,
    stage::{FEW, SENT, Stage, rule, shown},
};

/// The error of an agent that doesn't start.
fn refused(agent: Result<Agent<'_>>) -> Result<String> {
    match agent {
        Ok(_) => bail!("it started"),
        Err(error) => Ok(format!("{error:#}")),
    }
}

#[test]
fn another_xdp_program_keeps_running_beside_ours() -> Result<()> {
    let stage = Stage::new()?;
    stage.link("s0", 0)?;
    let theirs = Foreign::xdp("theirs")?;
    let index = stage.server.index("s0")?;
    let _link = stage.server.run(|| theirs.attach_xdp(index))?;
    let agent = stage.agent(&["s0"])?;
    let before = theirs.runs()?;
    let arrived = stage.arrive(0)?;
    ensure!(arrived < FEW, "{arrived} arrived");
    let runs = theirs.runs()? - before;
    ensure!(runs >= SENT as u64, "theirs ran {runs} times");
    assert_eq!(stage.server.xdp_program("s0")?, Some(theirs.id()), "theirs was replaced");
    let modes = shown(&agent, "s0", "tcx")? + shown(&agent, "s0", "tc")?;
    assert_eq!(modes, 1.0, "{:?}", agent.metrics()?.series("monitor_attach_info"));
    let said = agent.stop()?.stderr;
    let who = format!("XDP program \\\"theirs\\\" (id {}) holds it", theirs.id());
    let plainly = who.replace('\\', "");
    ensure!(said.contains(&who) || said.contains(&plainly), "not told who holds it:\n{said}");
    assert_eq!(stage.server.xdp_program("s0")?, Some(theirs.id()), "theirs went with ours");
    Ok(())
}

#[test]
fn the_doctor_says_who_holds_an_interface_and_touches_none() -> Result<()> {
    let stage = Stage::new()?;
    stage.link("s0", 0)?;
    stage.link("s1", 1)?;
    let theirs = Foreign::xdp("theirs")?;
    let index = stage.server.index("s0")?;
    let _link = stage.server.run(|| theirs.attach_xdp(index))?;
    let doctor = Program::monitor()?.arg("doctor").arg("--json").within(&stage.server)?;
    let said = doctor.json(deadline(60.0))?;
    let of = |name: &str| {
        let found = said["interfaces"].as_array().and_then(|all| all.iter().find(|one| one["name"] == name));
        found.with_context(|| format!("no {name} in {said}"))
    };
    let held = format!("XDP program \"theirs\" (id {})", theirs.id());
    assert_eq!(of("s0")?["held_by"], serde_json::json!([held]));
    ensure!(of("s0")?["attach"] != "xdp", "{said}");
    assert_eq!((&of("s1")?["attach"], &of("s1")?["kind"]), (&"xdp".into(), &"veth".into()));
    assert_eq!((stage.server.xdp_program("s0")?, stage.server.xdp("s1")?), (Some(theirs.id()), None));
    Ok(())
}

#[test]
fn where_it_is_told_to_stop_it_says_who_is_there() -> Result<()> {
    let stage = Stage::new()?;
    stage.link("s0", 0)?;
    stage.link("s1", 1)?;
    let theirs = Foreign::xdp("theirs")?;
    let rules = format!("[packets]\nif_held = \"stop\"\n{}", rule(""));
    let start = |names: &[&str]| stage.setup(&rules).interfaces(names).start();
    let index = stage.server.index("s0")?;
    let link = stage.server.run(|| theirs.attach_xdp(index))?;
    let said = refused(start(&["s0"]))?;
    ensure!(said.contains(&format!("\"theirs\" (id {})", theirs.id())), "{said}");
    ensure!(said.contains("if_held = \"stop\""), "{said}");
    assert_eq!(stage.server.xdp_program("s0")?, Some(theirs.id()));
    // A glob may take in what can't be covered: that one isn't, and it is said.
    let agent = start(&["s*"])?;
    assert_eq!(agent.metrics()?.sum(UNCOVERED, &[("reason", "held")]), 1.0);
    ensure!(stage.arrive(0)? == SENT, "theirs holds it");
    ensure!(stage.arrive(1)? < FEW, "nobody holds it");
    // The kernel doesn't say when theirs goes; it is tried again each ten seconds.
    drop(link);
    eventually("ours", deadline(15.0), || {
        Ok(stage.server.xdp_program("s0")?.is_some_and(|id| id != theirs.id()).then_some(()))
    })?;
    ensure!(stage.arrive(0)? < FEW, "nobody holds it any more");
    agent.stop()?;
    Ok(())
}

#[test]
fn refusals_are_explained_in_words() -> Result<()> {
    let stage = Stage::new()?;
    stage.link("s0", 0)?;
    let only = |way: &str| format!("[packets]\nattach = \"{way}\"\n{}", rule(""));
    let start = |way: &str, name: &str| stage.setup(&only(way)).interfaces(&[name]).start();
    let said = refused(start("xdp", "lo"))?;
    ensure!(said.contains("has no XDP"), "{said}");
    // More than a page: the driver of the pair can't give such a packet to XDP.
    for (netns, name) in [(&stage.server, "s0"), (&stage.client, "c0")] {
        netns.mtu(name, 9000)?;
    }
    let said = refused(start("xdp", "s0"))?;
    ensure!(said.contains("(veth) has no XDP with an MTU of 9000"), "{said}");
    let agent = start("auto", "s0")?;
    ensure!(stage.arrive(0)? < FEW, "in the next way");
    agent.stop()?;
    // A filter in front of ours would end it there.
    let theirs = Foreign::traffic("theirs")?;
    stage.server.filter("s0", 1, "ingress_tc", std::os::fd::AsFd::as_fd(&theirs))?;
    let said = refused(start("tc", "s0"))?;
    ensure!(said.contains(&format!("\"theirs\" (id {}) is in front of us", theirs.id())), "{said}");
    assert_eq!(stage.server.filters("s0")?, [theirs.id()]);
    Ok(())
}

#[test]
fn what_a_killed_agent_left_goes_at_the_next_start_and_nothing_else() -> Result<()> {
    let stage = Stage::new()?;
    stage.link("s0", 0)?;
    stage.link("s1", 1)?;
    // By the name of ours, and not ours.
    let theirs = Foreign::traffic("ingress_tc")?;
    stage.server.filter("s0", 2, "ingress_tc", std::os::fd::AsFd::as_fd(&theirs))?;
    let rules = format!("[packets]\nattach = \"tc\"\n{}", rule(""));
    let agent = stage.setup(&rules).interfaces(&["s0"]).start()?;
    let both = stage.server.filters("s0")?;
    ensure!(both.len() == 2 && both.contains(&theirs.id()), "{both:?}");
    let pid = i32::try_from(agent.pid())?;
    // SAFETY: a signal to a process that this test started and still holds.
    ensure!(unsafe { libc::kill(pid, libc::SIGKILL) } == 0, "can't kill the agent");
    eventually("its end", deadline(10.0), || {
        let gone = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        Ok(gone.map_or(true, |stat| stat.contains(") Z ")).then_some(()))
    })?;
    drop(agent);
    assert_eq!(stage.server.filters("s0")?, both, "control: no link took it away");
    ensure!(stage.arrive(0)? < FEW, "control: it still acts");
    // The next one is for another interface, and in another way.
    let agent = stage.agent(&["s1"])?;
    assert_eq!(stage.server.filters("s0")?, [theirs.id()]);
    ensure!(stage.arrive(0)? == SENT, "not limited any more");
    let runs = theirs.runs()?;
    ensure!(runs >= SENT as u64, "theirs ran {runs} times");
    let said = agent.stop()?.stderr;
    ensure!(said.contains("an agent before left"), "{said}");
    assert_eq!(stage.server.filters("s0")?, [theirs.id()]);
    Ok(())
}

#[test]
fn what_others_take_off_is_attached_again() -> Result<()> {
    let stage = Stage::new()?;
    stage.link("s0", 0)?;
    let rules = format!("[packets]\nattach = \"tc\"\n{}", rule(""));
    let agent = stage.setup(&rules).interfaces(&["s0"]).start()?;
    let ours = stage.server.filters("s0")?;
    stage.server.without_filters("s0")?;
    ensure!(stage.server.filters("s0")?.is_empty());
    eventually("ours", deadline(15.0), || Ok((stage.server.filters("s0")? == ours).then_some(())))?;
    ensure!(stage.arrive(0)? < FEW);
    let detached = agent.metrics()?.sum(super::CHANGES, &[("change", "detached")]);
    assert_eq!(detached, 1.0);
    let filters = agent.stop().map(|_| stage.server.filters("s0")).context("stopping")??;
    ensure!(filters.is_empty(), "left: {filters:?}");
    Ok(())
}
