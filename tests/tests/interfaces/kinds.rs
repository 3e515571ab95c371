//! Kinds of interfaces: each is limited in a way that it has.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use tests::{
    agent::Agent,
    frames::{Ends, UDP},
    kernel::Inventory,
    tun::Tun,
    wait::deadline,
};

use super::stage::{FEW, PORT, SENT, Stage, address, shown};

/// Exactly one of the ways that are behind the driver.
fn behind_the_driver(agent: &Agent<'_>, interface: &str) -> Result<()> {
    let modes = shown(agent, interface, "tcx")? + shown(agent, interface, "tc")?;
    ensure!(modes == 1.0, "{interface}: {:?}", agent.metrics()?.series("monitor_attach_info"));
    Ok(())
}

#[test]
fn the_loopback_interface_is_limited() -> Result<()> {
    let stage = Stage::new()?;
    let here = IpAddr::from([127, 0, 0, 1]);
    ensure!(stage.arrive_from(&stage.server, here, here)? == SENT, "control: without an agent");
    let agent = stage.agent(&["lo"])?;
    behind_the_driver(&agent, "lo")?;
    ensure!(stage.arrive_from(&stage.server, here, here)? < FEW);
    agent.stop()?;
    ensure!(stage.arrive_from(&stage.server, here, here)? == SENT, "left on the interface");
    Ok(())
}

#[test]
fn a_bridge_is_limited() -> Result<()> {
    let stage = Stage::new()?;
    stage.server.link("port0", &stage.client, "c0")?;
    stage.server.bridge("br0", "port0")?;
    stage.server.address("br0", address(0, 1), 24)?;
    stage.client.address("c0", address(0, 2), 24)?;
    ensure!(stage.arrive(0)? == SENT, "control: without an agent");
    let agent = stage.agent(&["br*"])?;
    behind_the_driver(&agent, "br0")?;
    ensure!(stage.server.xdp("port0")?.is_none(), "it wasn't told of the port");
    ensure!(stage.arrive(0)? < FEW);
    agent.stop()?;
    Ok(())
}

/// What comes in through a tunnel begins with the IP header.
fn through_a_tunnel(stage: &Stage, tun: &mut Tun) -> Result<f64> {
    let tally = stage.tally()?;
    let (to, from) = (address(9, 1), address(9, 2));
    let ends = Ends { from_mac: [0; 6], to_mac: [0; 6], from, to, port: PORT };
    let packet = ends.ip(UDP, &ends.udp(b"through a tunnel")?)?;
    for _ in 0..SENT as usize {
        tun.send(&packet)?;
    }
    let counts = tally.finish(deadline(10.0))?.json()?;
    ensure!(counts["overflow"] == 0, "the server's socket was full: {counts}");
    Ok(counts["sources"][from.to_string()]["total"].as_f64().unwrap_or(0.0))
}

#[test]
fn a_tunnel_is_limited_although_its_frames_have_no_ethernet_header() -> Result<()> {
    let stage = Stage::new()?;
    let agent = stage.agent(&["tun*"])?;
    // Made while the agent runs, and has what it needs for such interfaces: the programs that the kernel knows it holds.
    tests::wait::eventually("the program behind the driver", deadline(20.0), || {
        let loaded = aya::programs::loaded_programs().flatten();
        let ours = Inventory::of(agent.pid())?;
        let mut ours = loaded.filter(|program| ours.has_program(program.id()));
        Ok(ours.any(|program| program.name_as_str() == Some("ingress_tc")).then_some(()))
    })?;
    let mut tun = match Tun::new(&stage.server, "tun0")? {
        Ok(tun) => tun,
        Err(error) => {
            let absent = matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV | libc::ENXIO));
            ensure!(absent, "tunnels should be there: {error}");
            println!("skipped: this kernel has no tun: {error}");
            return Ok(());
        }
    };
    stage.server.address("tun0", address(9, 1), 24)?;
    tests::wait::eventually("the tunnel", deadline(1.0), || {
        Ok((agent.metrics()?.sum("monitor_interfaces_covered", &[]) == 1.0).then_some(()))
    })?;
    behind_the_driver(&agent, "tun0")?;
    let arrived = through_a_tunnel(&stage, &mut tun)?;
    ensure!(arrived < FEW, "{arrived} arrived");
    ensure!(arrived >= 10.0, "{arrived} arrived of 10 that the rule lets through");
    agent.stop()?;
    ensure!(through_a_tunnel(&stage, &mut tun)? == SENT, "control: without an agent");
    Ok(())
}

/// Kernels differ in which of these they have; the build machine's has none.
#[test]
fn other_tunnels_are_covered_where_the_kernel_makes_them() -> Result<()> {
    let stage = Stage::new()?;
    let agent = stage.agent(&["t-*"])?;
    let mut made = 0.0;
    for kind in ["ipip", "gre", "sit", "ip6tnl", "wireguard"] {
        let name = format!("t-{kind}");
        match stage.server.device(&name, kind)? {
            Ok(()) => {
                made += 1.0;
                agent.wait_for_metric("monitor_interfaces_covered", &[], made, deadline(1.0))?;
                behind_the_driver(&agent, &name)?;
            }
            Err(code) => {
                ensure!(code == libc::EOPNOTSUPP, "{kind}: refused with {code}, not as an unknown kind");
                println!("skipped: this kernel has no {kind}");
            }
        }
    }
    agent.stop()?;
    Ok(())
}
