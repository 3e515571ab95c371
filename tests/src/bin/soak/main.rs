//! Minutes of everything at once: programs, connections and packets over a limit, new policies and agents that are killed; and
//! what the agent holds meanwhile.
//!
//! `soak SECONDS`. In a third of the time agents come and go; then one stays, and what it holds must not grow.

mod held;
mod work;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use tests::{agent::Agent, interrupt, wait::deadline};

use crate::{
    held::{Held, Life, Row},
    work::World,
};

fn main() -> ExitCode {
    interrupt::install();
    match soak() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("soak: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn soak() -> Result<()> {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).context("SECONDS is missing")?;
    let whole = Duration::from_secs(seconds);
    let world = World::new()?;
    let begun = Instant::now();
    let mut agent = world.agent()?;
    Row::head();
    let (mut rounds, mut agents) = (0, 1);
    while begun.elapsed() < whole / 3 {
        agent = round(&world, agent, &mut rounds, begun)?;
        agents += 1;
        // Now killed, now told to stop with enforcement on.
        agent = if agents % 2 == 0 { agent.kill()?.start()? } else { agent.leave()?.start()? };
    }
    let mut life = Life::default();
    while begun.elapsed() < whole {
        agent = round(&world, agent, &mut rounds, begun)?;
        life.add(Held::by(&agent)?);
    }
    let books = agent.balanced(deadline(60.0))?;
    agent.stop()?;
    println!("\n{rounds} rounds, {agents} agents; events seen, delivered, suppressed, lost:");
    for (kind, book) in books.iter().filter(|(_, book)| book.seen > 0.0) {
        let [seen, delivered] = [book.seen, book.delivered];
        println!("  {kind:8} {seen:>10} {delivered:>10} {:>10} {:>10}", book.suppressed, book.lost);
    }
    let made = world.execs();
    let seen = books["exec"].made();
    ensure!(seen == made as f64, "{made} programs were executed, {seen} were seen");
    life.judge()
}

/// Everything once, under another policy than the last; then what the agent holds, when it has done with it.
fn round<'a>(world: &World, mut agent: Agent<'a>, rounds: &mut u32, begun: Instant) -> Result<Agent<'a>> {
    interrupt::check()?;
    world.work()?;
    world.another_policy(&mut agent, *rounds)?;
    world.work()?;
    *rounds += 1;
    let books = agent.balanced(deadline(60.0))?;
    Row::new(begun.elapsed(), *rounds, &Held::by(&agent)?, &books).print();
    Ok(agent)
}
