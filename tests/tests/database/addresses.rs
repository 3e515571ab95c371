//! `addresses`: only conversations with these ends are judged, however the end is written.

use std::net::{SocketAddr, TcpListener};

use anyhow::Result;
use serde_json::json;
use tests::{
    agent::{Mode, Setup},
    cgroup::Cgroup,
    place::Place,
    program::Program,
    server::Server,
    wait::deadline,
};

/// A port that nobody has.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("[::]:0")?.local_addr()?.port())
}

#[test]
fn only_the_addresses_of_a_database_are_judged() -> Result<()> {
    let (place, group) = (Place::new()?, Cgroup::new()?);
    let denied = place.copy("probe", "denied")?;
    let (one, two) = (free_port()?, free_port()?);
    let served = [
        format!("127.0.0.1:{one}"),
        format!("127.0.0.2:{one}"),
        format!("127.0.0.9:{one}"),
        format!("[::1]:{one}"),
        format!("127.0.0.1:{two}"),
        format!("[::1]:{two}"),
    ];
    let served: Vec<&str> = served.iter().map(String::as_str).collect();
    let server = Server::start(&place, None, &served, &[])?;
    let rules = format!(
        "[[database]]\nname = \"v4\"\nports = [{one}]\naddresses = [\"127.0.0.0/30\", \"10.0.0.0/8\"]\nclients = []\n\n\
         [[database]]\nname = \"v6\"\nports = [{two}]\naddresses = [\"::1\"]\nclients = []\n"
    );
    let cases = [
        (format!("127.0.0.1:{one}"), true),
        (format!("127.0.0.2:{one}"), true),
        (format!("127.0.0.9:{one}"), false),
        (format!("[::ffff:127.0.0.2]:{one}"), true),
        (format!("[::ffff:127.0.0.9]:{one}"), false),
        (format!("0.0.0.0:{one}"), true),
        (format!("[::1]:{one}"), false),
        (format!("[::1]:{two}"), true),
        (format!("[::]:{two}"), true),
        (format!("127.0.0.1:{two}"), false),
    ];
    let reach = |to: &str, tag: &str| -> Result<String> {
        let to: SocketAddr = to.parse()?;
        let client = Program::new(&denied).arg("reach").with("to", to.to_string()).with("tag", tag);
        Ok(client.inside(&group)?.json(deadline(20.0))?[0].as_str().unwrap_or_default().to_owned())
    };
    for (to, _) in &cases {
        assert_eq!(reach(to, "control")?, "ok", "{to} without an agent");
    }
    for mode in Mode::BOTH {
        let agent = Setup::new(mode, &group).rules(&rules).start()?;
        for (to, listed) in &cases {
            let refused = *listed && mode == Mode::Enforce;
            let tag = format!("{} {to}", mode.name());
            assert_eq!(reach(to, &tag)?, if refused { "EPERM" } else { "ok" }, "{tag}");
            server.wait_for(&tag, u64::from(!refused), deadline(10.0))?;
            assert_eq!(server.arrived(Some(&tag))?, u64::from(!refused), "{tag}");
        }
        let judged = cases.iter().filter(|(_, listed)| *listed).count() as f64;
        let labels = [("direction", "client"), ("verdict", "deny"), ("mode", mode.name())];
        agent.wait_for_metric("monitor_database_connections_total", &labels, judged, deadline(10.0))?;
        let findings = agent.stop()?.records().matching(|record| record["type"] == "finding")?;
        assert_eq!(json!(findings.len()), json!(judged as usize), "{findings:?}");
    }
    Ok(())
}
