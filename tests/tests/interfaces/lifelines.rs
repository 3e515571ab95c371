//! Who is never dropped although the policy doesn't name them: what the server's socket receives is the oracle.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use tests::{
    agent::{Mode, Setup, http::get},
    program::Program,
    wait::{deadline, eventually},
};

use super::stage::{self, FEW, SENT, Stage, rule};

const LIFELINES: &str = "monitor_lifelines";

fn two_links() -> Result<Stage> {
    let stage = Stage::new()?;
    stage.link("s0", 0)?;
    stage.link("s1", 1)?;
    Ok(stage)
}

#[test]
fn the_default_gateway_is_never_dropped_and_routes_are_followed() -> Result<()> {
    let stage = two_links()?;
    ensure!(stage.arrive(0)? == SENT && stage.arrive(1)? == SENT, "control: without an agent");
    stage.server.default_route("s0", stage::address(0, 2))?;
    let agent = stage.agent(&["s0", "s1"])?;
    ensure!(stage.arrive(0)? == SENT, "the gateway");
    ensure!(stage.arrive(1)? < FEW, "control: somebody else");
    let metrics = agent.metrics()?;
    assert_eq!(metrics.sum(LIFELINES, &[("reason", "gateway")]), 1.0);
    ensure!(metrics.sum("monitor_packets_protected_total", &[]) > 0.0);

    // Nor by hand.
    for (link, refused) in [(0, true), (1, false)] {
        let ban = Program::monitor()?.arg("ban").arg("--run-dir").arg(agent.run_directory());
        let ban =
            ban.args(["add", &stage::address(link, 2).to_string(), "--for", "1s"]).finish(deadline(60.0))?;
        assert_eq!(ban.status.success(), !refused, "{}", ban.stderr);
        assert_eq!(ban.stderr.contains("a default gateway"), refused, "{}", ban.stderr);
    }
    eventually("the end of the ban", deadline(30.0), || {
        Ok((agent.metrics()?.sum("monitor_bans_active", &[]) == 0.0).then_some(()))
    })?;

    // The other one becomes the gateway.
    stage.server.bounce("s0")?;
    stage.server.default_route("s1", stage::address(1, 2))?;
    eventually("the new gateway", deadline(30.0), || Ok((stage.arrive(1)? == SENT).then_some(())))?;
    eventually("the old one's end", deadline(30.0), || Ok((stage.arrive(0)? < FEW).then_some(())))?;
    agent.wait_for_metric(LIFELINES, &[("reason", "gateway")], 1.0, deadline(20.0))?;

    // It stays so without the agent, and with the next.
    let gone = agent.kill()?;
    let arrived = [stage.arrive(0)?, stage.arrive(1)?];
    ensure!(arrived[0] < FEW && arrived[1] == SENT, "the agent is dead: {arrived:?}");
    let agent = gone.start()?;
    let arrived = [stage.arrive(0)?, stage.arrive(1)?];
    ensure!(arrived[0] < FEW && arrived[1] == SENT, "the next agent: {arrived:?}");
    agent.stop()?;
    Ok(())
}

#[test]
fn who_reads_the_metrics_is_never_dropped() -> Result<()> {
    let stage = two_links()?;
    let setup = Setup::new(Mode::Enforce, &stage.group).within(&stage.server).rules(&rule(""));
    let agent = setup.listen(SocketAddr::new(stage::address(0, 1), 0)).interfaces(&["s0", "s1"]).start()?;
    ensure!(stage.arrive(0)? < FEW && stage.arrive(1)? < FEW, "control: nobody has read them");
    let address = agent.address()?;
    let (status, _) = stage.client.run(|| get(address, "/healthz"))?;
    assert_eq!(status, 200);
    ensure!(stage.arrive(0)? < FEW, "control: that is no reading of metrics");
    let (status, _) = stage.client.run(|| get(address, "/metrics"))?;
    assert_eq!(status, 200);
    eventually("the reader", deadline(20.0), || Ok((stage.arrive(0)? == SENT).then_some(())))?;
    ensure!(stage.arrive(1)? < FEW, "another address");
    agent.stop()?;
    Ok(())
}
