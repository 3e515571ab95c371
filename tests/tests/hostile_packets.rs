//! Packets in shapes that hide their ports from plain parsers: whatever the server's stack delivers is charged to the rule of
//! the port it is delivered to. The stack's own answer, without an agent, is the oracle.

mod connections;
mod link;
mod shapes;
mod stage;

use anyhow::Result;
use tests::{
    agent::Agent,
    wait::{deadline, slowdown},
};

use self::{
    shapes::{Shape, V4_SHAPES, V6_SHAPES},
    stage::{PORT, Stage},
};

/// Datagrams of each shape.
const COUNT: u16 = 400;
/// Packets a second that a source may send to the port, and as many at once.
const RATE: f64 = 50.0;
const BURST: f64 = 20.0;
/// Packets a second whose ports can't be told; a second's worth at once.
const UNPARSED: f64 = 40.0;
/// Seconds between a frame's way through the program and the clock here.
const SLACK: f64 = 0.1;
/// Ways to attach.
const WAYS: [&str; 4] = ["xdp", "xdp-generic", "tcx", "tc"];

fn rules() -> String {
    format!(
        "[[rate_limit]]\nname = \"port\"\nports = [{PORT}]\nprotocol = \"udp\"\nper = \"source\"\n\
         packets = \"{RATE}/s\"\nburst = {BURST}\n"
    )
}

#[test]
fn whatever_the_stack_delivers_is_charged_to_its_port() -> Result<()> {
    for (v6, shapes) in [(false, V4_SHAPES), (true, V6_SHAPES)] {
        let control = Stage::new()?.volley(v6, shapes, COUNT)?;
        for (shape, (arrived, _)) in shapes.iter().zip(&control) {
            assert!(*arrived <= f64::from(COUNT), "{}: {arrived} of {COUNT}", shape.name);
            if shape.delivered {
                assert_eq!(*arrived, f64::from(COUNT), "without an agent, IPv6 {v6}: {}", shape.name);
            }
        }
        for way in ways() {
            let stage = Stage::new()?;
            let agent = stage.agent(way, &format!("{UNPARSED}/s"), &rules())?;
            let seen = stage.volley(v6, shapes, COUNT)?;
            for ((shape, (before, _)), (arrived, seconds)) in shapes.iter().zip(&control).zip(&seen) {
                let (rate, burst) = if shape.hides_its_port() { (UNPARSED, UNPARSED) } else { (RATE, BURST) };
                let most = (burst + rate * (seconds + SLACK) + 1.0).min(*before);
                println!("{way}, IPv6 {v6}, {}: {before}, then {arrived} of {most:.0}", shape.name);
                assert!(*arrived <= most, "{way}: {}: {arrived} arrived, {most:.1} may", shape.name);
                // Fragments compete with those of one's own datagrams for what may be unparsed.
                if shape.delivered && shape.unparsed.is_empty() && slowdown() == 1.0 {
                    assert!(*arrived >= BURST, "{way}: {}: only {arrived} arrived", shape.name);
                }
            }
            check_reasons(&agent, shapes)?;
            agent.stop()?;
        }
    }
    Ok(())
}

/// The ways to attach that are tried.
fn ways() -> impl Iterator<Item = &'static str> {
    WAYS.into_iter()
}

/// Each frame whose ports can't be told was counted, by its reason.
fn check_reasons(agent: &Agent<'_>, shapes: &[Shape]) -> Result<()> {
    for reason in ["truncated", "too_deep", "fragment"] {
        let of = shapes.iter().flat_map(|shape| shape.unparsed).filter(|(name, _)| *name == reason);
        let due = of.map(|(_, count)| count * u64::from(COUNT)).sum::<u64>() as f64;
        let labels = [("reason", reason)];
        agent.wait_for_metric("monitor_packets_unparsed_total", &labels, due, deadline(10.0))?;
    }
    Ok(())
}
