//! Rings of `io_uring` that were made before the agent: whoever's thread carries out a request, it is the process's own.

use anyhow::{Result, ensure};
use serde_json::json;
use tests::{
    agent::{Mode, Setup},
    cgroup::Cgroup,
    place::Place,
    program::{Program, Running},
    server::Server,
    wait::deadline,
};

#[test]
fn threads_behind_a_ring_are_the_process_that_made_it() -> Result<()> {
    let place = Place::new()?;
    let server = Server::start(&place, None, &["127.0.0.1:0", "[::1]:0"], &[])?;
    for name in ["allowed", "denied"] {
        place.copy("probe", name)?;
    }
    let group = Cgroup::new()?;
    let rules = format!(
        "[[workload]]\nname = \"api\"\nexe = [{:?}]\n\n\
         [[database]]\nname = \"orders\"\nports = {:?}\nclients = [\"api\"]\n",
        place.join("allowed"),
        server.ports()
    );
    let cases = ["polled", "worker"].into_iter().flat_map(|how| {
        let to = server.tcp().iter();
        to.flat_map(move |to| ["allowed", "denied"].map(|program| (how, *to, program)))
    });
    let cases: Vec<_> = cases.collect();
    for mode in Mode::BOTH {
        let mut rings: Vec<(String, &str, Running)> = Vec::new();
        for (how, to, program) in &cases {
            let tag = format!("{how} {program} {to} {}", mode.name());
            let ring = Program::new(place.join(program)).arg("ring").with("how", how).with("tag", &tag);
            let mut ring = ring.with("to", to.to_string()).inside(&group)?.start()?;
            if ring.json_line(deadline(10.0))? == json!({ "unsupported": 1 }) {
                println!("{how}: not on this kernel");
                continue;
            }
            rings.push((tag, program, ring));
        }
        ensure!(
            rings.iter().any(|(tag, ..)| tag.starts_with("worker")),
            "this kernel has no rings at all, and so no scenario of them"
        );
        let agent = Setup::new(mode, &group).rules(&rules).start()?;
        agent.wait_for_metric("monitor_processes_unknown", &[], 0.0, deadline(2.0))?;
        for (tag, program, ring) in &mut rings {
            let stops = *program == "denied" && mode == Mode::Enforce;
            ring.tell("connect")?;
            let word = if stops { "EPERM" } else { "ok" };
            assert_eq!(ring.json_line(deadline(10.0))?, json!({ word: 1 }), "{tag}");
            server.wait_for(tag, u64::from(!stops), deadline(10.0))?;
            assert_eq!(server.arrived(Some(tag))?, u64::from(!stops), "{tag}");
        }
        for (program, workload, verdict) in [("allowed", "api", "allow"), ("denied", "other", "deny")] {
            let count = rings.iter().filter(|(_, other, _)| *other == program).count();
            let labels = [("workload", workload), ("verdict", verdict), ("mode", mode.name())];
            let name = "monitor_database_connections_total";
            agent.wait_for_metric(name, &labels, count as f64, deadline(10.0))?;
        }
        agent.wait_for_metric("monitor_processes_unknown", &[], 0.0, deadline(12.0))?;
        agent.wait_for_metric("monitor_unknown_process_decisions_total", &[], 0.0, deadline(1.0))?;
        agent.stop()?;
    }
    Ok(())
}
