//! Bans by the hundred thousand.

use std::{fmt::Write as _, fs, net::Ipv4Addr, time::Instant};

use anyhow::Result;
use tests::{
    agent::Mode,
    wait::{deadline, slowdown},
};

use super::{ban, banned, line::Line, list, setup};
use crate::rate_limit::scene::{Family, Scene};

const COUNT: u32 = 200_000;

/// Client 0 is among them, client 1 is not.
fn addresses() -> impl Iterator<Item = Ipv4Addr> {
    let client = u32::from(Ipv4Addr::new(10, 92, 0, 2));
    (client + 100 - COUNT..client + 100).map(Ipv4Addr::from)
}

#[test]
fn a_list_of_200_000_is_taken_and_each_of_it_is_dropped() -> Result<()> {
    let scene = Scene::new()?;
    let state = scene.place.directory("state")?;
    let start = || setup(&scene, Mode::Enforce, "for = \"1h\"").state(state.clone()).start();
    let file = scene.place.join("bans.txt");
    let mut text = "# a list\n\n".to_owned();
    addresses().try_for_each(|address| writeln!(text, "{address}"))?;
    fs::write(&file, text)?;
    let line = Line::new(&scene, Family::V4)?;
    let agent = start()?;
    line.check("before", [true, true])?;
    let begun = Instant::now();
    let add = ban(&agent, &["add", "--reason", "list", "--file"])?.arg(&file);
    let done = add.finish(deadline(60.0))?;
    let took = begun.elapsed().as_secs_f64();
    println!("{} in {took:.2} s", done.stdout.join(""));
    assert!(done.stdout.join("").starts_with("200000 bans added"), "{:?} {}", done.stdout, done.stderr);
    assert!(took <= 20.0 * slowdown(), "{took} s");
    line.check("banned", [false, true])?;
    assert_eq!(list(&agent)?.len(), COUNT as usize);
    agent.stop()?;
    line.check("between two agents", [true, true])?;
    let begun = Instant::now();
    let agent = start()?;
    println!("ready again after {:.2} s", begun.elapsed().as_secs_f64());
    line.check("with the second agent", [false, true])?;
    let done = banned(&agent, &["del", "--all"])?;
    assert_eq!(done.stdout, ["200000 bans and 0 penalties taken out"], "{}", done.stderr);
    line.check("taken out", [true, true])?;
    from_standard_input(&agent, &line)?;
    agent.stop()?;
    Ok(())
}

/// What isn't an address is told with its line; the rest is taken.
fn from_standard_input(agent: &tests::agent::Agent<'_>, line: &Line) -> Result<()> {
    let mut add = ban(agent, &["add", "--file", "-"])?.start()?;
    add.tell("10.92.0.2 # the client\nno address\n2001:db8::/48")?;
    let done = add.finish(deadline(20.0))?;
    assert_eq!(done.status.code(), Some(1));
    assert_eq!(done.stdout, ["2 bans added, 1 not taken"]);
    assert!(done.stderr.contains("line 2"), "{}", done.stderr);
    line.check("from standard input", [false, true])
}
