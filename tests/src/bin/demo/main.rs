//! Shows what the agent does, in half a minute and without touching the host.
//!
//! Two network namespaces and a cgroup of its own; the agent in enforce mode with a short policy; real clients
//! that do what the policy allows and what it doesn't. Each row of the table says what a client tried, what
//! happened to it as the client or the server saw it, and what the agent said.

mod acts;
mod postgres;
mod table;
mod world;

use std::process::ExitCode;

use anyhow::{Context, Result};
use tests::{interrupt, kernel::Inventory};

use crate::{table::Table, world::World};

fn main() -> ExitCode {
    interrupt::install();
    match demo() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if interrupt::seen() => {
            eprintln!("demo: stopped; everything it made is removed ({error})");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn demo() -> Result<()> {
    let table = Table::for_output();
    table.step("Making two network namespaces, a cgroup and a database server");
    let world = World::new()?;
    table.note(&format!("The database is {}.", world.database()));
    table.step("The policy");
    table.code(&world.rules());
    table.step("Starting the agent in enforce mode with this policy");
    let agent = world.agent()?;
    table.note(&acts::capabilities(&agent)?);
    table.heading(["a client tries", "what happened to it", "what the agent said"]);
    let result = acts::all(&world, &agent, &table);
    table.rule();
    let held = Inventory::of(agent.pid());
    let stopped = agent.stop();
    drop(world);
    result?;
    stopped.context("stopping the agent")?;
    held?.wait_until_gone(tests::wait::deadline(20.0))?;
    table.step("Stopped and cleaned up: no program, map, link, interface or cgroup is left");
    Ok(())
}
