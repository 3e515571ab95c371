//! The agent's own life: how it becomes ready, how it refuses to start, and that it leaves nothing behind.

mod lockout;
pub mod refused;

use std::{fs, net::TcpListener, path::Path};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{
    agent::{self, Mode, Setup, http, notify::Notify},
    cgroup::Cgroup,
    kernel::{self, Inventory},
    netns::Netns,
    place::{PINS, Place},
    program::Program,
    server::Server,
    wait::{deadline, eventually},
};

use self::refused::refused;

/// Something of every kind that attaches to the kernel.
fn all_rules(program: &Path) -> String {
    format!(
        "[[workload]]\nname = \"api\"\nexe = [{program:?}]\n\n\
         [[database]]\nname = \"orders\"\nports = [5432]\nclients = [\"api\"]\n\n\
         [[exec]]\nname = \"shells\"\ndeny = [\"/nowhere/*sh\", \"@memfd\"]\naction = \"kill\"\n\n\
         [[rate_limit]]\nname = \"flood\"\nports = [443]\npackets = \"1000/s\"\n"
    )
}

#[test]
fn a_stopped_agent_leaves_nothing_behind() -> Result<()> {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let turn = agent::turn();
        let place = Place::new()?;
        let group = Cgroup::new()?;
        let (server, client) = (Netns::new()?, Netns::new()?);
        server.link("s0", &client, "c0")?;
        let before = Inventory::take()?;
        let rules = all_rules(&place.copy("probe", "api")?);
        let setup = Setup::new(Mode::Enforce, &group).within(&server).interfaces(&["s0"]).rules(&rules);
        let agent = setup.start_beside(Some(turn))?;
        let held = Inventory::take()?.since(&before);
        for kind in ["program", "map", "link"] {
            ensure!(held.iter().any(|thing| thing.starts_with(kind)), "the agent holds no {kind}: {held:#?}");
        }
        assert!(server.xdp("s0")?.is_some());
        let stopped = agent.stop_with(signal)?;
        assert!(stopped.notify.said("STOPPING"), "STOPPING=1 was not said");
        before.wait_until_restored(deadline(20.0))?;
        assert_eq!(server.xdp("s0")?, None);
        assert_eq!(client.xdp("c0")?, None);
    }
    Ok(())
}

/// Somebody who is root takes a program away behind the agent's back.
#[test]
fn a_hook_that_falls_silent_is_noticed_and_attached_anew() -> Result<()> {
    let place = Place::new()?;
    let group = Cgroup::new()?;
    let server = Server::start(&place, None, &["127.0.0.1:0"], &[])?;
    let port = server.tcp()[0].port();
    let rule = format!("[[database]]\nname = \"orders\"\nports = [{port}]\nclients = []\n");
    let agent = Setup::new(Mode::Enforce, &group).rules(&rule).start()?;
    let outcome = |tag: &str| {
        let client = Program::probe()?.arg("connect").with("to", server.tcp()[0].to_string());
        let client = client.with("way", "tcp").with("count", "1").with("tag", tag);
        client.inside(&group)?.json(deadline(10.0))
    };
    let live = |value| {
        agent.wait_for_metric("monitor_enforcement_live", &[("path", "connect")], value, deadline(15.0))
    };
    live(1.0)?;
    assert_eq!(outcome("before")?, json!({ "EPERM": 1 }));
    kernel::detach(agent.pid(), "connect4")?;
    assert_eq!(outcome("after")?, json!({ "ok": 1 }), "nothing refuses it any more");
    server.wait_for("after", 1, deadline(10.0))?;
    live(0.0)?;
    // It is attached anew by itself.
    live(1.0)?;
    assert_eq!(outcome("again")?, json!({ "EPERM": 1 }));
    let stopped = agent.stop()?;
    assert!(stopped.stderr.contains("not refused any more"), "{}", stopped.stderr);
    Ok(())
}

#[test]
fn readiness_is_said_and_answered() -> Result<()> {
    let group = Cgroup::new()?;
    let mut agent = Setup::new(Mode::Observe, &group).start()?;
    assert_eq!(agent.notified("READY")?.as_deref(), Some("1"));
    assert!(agent.notified("STATUS")?.is_some_and(|status| !status.is_empty()));
    assert_eq!(agent.notified("STOPPING")?, None);
    for (path, status) in [("/healthz", 200), ("/readyz", 200), ("/metrics", 200), ("/nothing", 404)] {
        assert_eq!(agent.get(path)?.0, status, "{path}");
    }
    let metrics = agent.metrics()?;
    for name in ["monitor_build_info", "monitor_policy_info", "monitor_capability_info"] {
        assert!(!metrics.series(name).is_empty(), "no {name}");
    }
    let address = agent.address()?;
    agent.stop()?;
    assert!(http::get(address, "/healthz").is_err(), "somebody still answers at {address}");
    Ok(())
}

/// The first line that an agent with no configuration says of a process, as a user sees it on a fresh machine.
#[test]
fn with_no_configuration_events_come_within_a_second() -> Result<()> {
    let _turn = agent::turn();
    let place = Place::new()?;
    ensure!(!Path::new("/etc/monitor/monitor.toml").exists(), "this host has a configuration of its own");
    let before = Inventory::take()?;
    let mut notify = Notify::new(place.join("notify"))?;
    let program = Program::monitor()?.arg("run").arg("--run-dir").arg(place.directory("run")?);
    let program = program.arg("--pin-dir").arg(place.join(PINS));
    let mut agent = program.env("NOTIFY_SOCKET", notify.path()).start()?;
    let ready = eventually("readiness", deadline(30.0), || {
        notify.receive()?;
        ensure!(agent.runs()?, "it ended: {}", agent.kill_and_tell());
        Ok(notify.said("READY").then_some(()))
    });
    ready?;
    let a_second = deadline(1.0);
    let held = Program::probe()?.arg("hold").start()?;
    let exec = loop {
        let record: Value = serde_json::from_str(&agent.line(a_second)?)?;
        if record["pid"] == held.pid() && record["kind"] == "exec" {
            break record;
        }
    };
    assert_eq!(exec["type"], "event", "{exec}");
    assert_eq!(http::get("127.0.0.1:9469".parse()?, "/metrics")?.0, 200);
    let held = Inventory::take()?.since(&before);
    assert!(!held.iter().any(|thing| thing.contains("interface")), "no packet rule, and still: {held:#?}");
    agent.signal(libc::SIGINT)?;
    assert_eq!(agent.finish(deadline(30.0))?.status.code(), Some(0));
    before.wait_until_restored(deadline(20.0))
}

#[test]
fn lines_for_people_name_the_program_on_one_line() -> Result<()> {
    let (group, place) = (Cgroup::new()?, Place::new()?);
    let program = place.copy("probe", "readable")?;
    let sink = "[[sink]]\ntype = \"stdout\"\nformat = \"text\"\nevents = true\n";
    let mut agent = Setup::new(Mode::Observe, &group).rules(sink).start()?;
    let held = Program::new(&program).args(["hold", "a\nb\u{1b}[31m"]).inside(&group)?.start()?;
    let soon = deadline(10.0);
    let line = loop {
        let line = agent.line(soon)?;
        if line.contains("exec") {
            break line;
        }
    };
    for part in [program.to_str().context("a path")?, &held.pid().to_string(), "hold"] {
        ensure!(line.contains(part), "{part:?} isn't in {line:?}");
    }
    ensure!(!line.chars().any(char::is_control), "a control character: {line:?}");
    agent.stop()?;
    Ok(())
}

#[test]
fn a_second_agent_is_refused_and_the_first_goes_on() -> Result<()> {
    let group = Cgroup::new()?;
    let place = Place::new()?;
    let first = Setup::new(Mode::Observe, &group).start()?;
    let second = Setup::new(Mode::Observe, &group).program(&place, &first.run_directory())?;
    refused(second, &[&first.pid().to_string()])?;
    assert_eq!(first.get("/readyz")?.0, 200);
    first.stop()?;
    Ok(())
}

#[test]
fn a_port_in_use_is_named() -> Result<()> {
    let _turn = agent::turn();
    let (group, place) = (Cgroup::new()?, Place::new()?);
    let taken = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let holder = TcpListener::bind(taken)?;
    let before = Inventory::take()?;
    let setup = Setup::new(Mode::Observe, &group).listen(taken);
    refused(setup.program(&place, &place.join("run"))?, &[&taken.to_string(), "in use"])?;
    drop(holder);
    before.wait_until_restored(deadline(20.0))
}

#[test]
fn a_missing_interface_is_named() -> Result<()> {
    let _turn = agent::turn();
    let (group, place) = (Cgroup::new()?, Place::new()?);
    let netns = Netns::new()?;
    let before = Inventory::take()?;
    let rules = all_rules(Path::new("/bin/true"));
    let setup = Setup::new(Mode::Enforce, &group).within(&netns).interfaces(&["nosuch0"]).rules(&rules);
    refused(setup.program(&place, &place.join("run"))?, &["nosuch0"])?;
    before.wait_until_restored(deadline(20.0))
}

#[test]
fn a_missing_cgroup_is_named() -> Result<()> {
    let _turn = agent::turn();
    let (group, place) = (Cgroup::new()?, Place::new()?);
    let program = Setup::new(Mode::Observe, &group).program(&place, &place.join("run"))?;
    let scope = group.scope();
    group.remove()?;
    refused(program, &[&scope])?;
    Ok(())
}

#[test]
fn without_root_it_says_so() -> Result<()> {
    let _turn = agent::turn();
    let (group, place) = (Cgroup::new()?, Place::new()?);
    let monitor = place.copy_file(&tests::needs::monitor()?, "monitor")?;
    // Writes the configuration; the agent itself may lie where nobody may read.
    Setup::new(Mode::Observe, &group).program(&place, &place.join("run"))?;
    let program = Program::new(monitor).arg("run").arg("--config").arg(place.join("monitor.toml"));
    refused(program.arg("--run-dir").arg(place.join("run")).user(65534), &["root"])?;
    Ok(())
}

#[test]
fn without_type_information_it_says_so() -> Result<()> {
    let _turn = agent::turn();
    let (group, place) = (Cgroup::new()?, Place::new()?);
    let before = Inventory::take()?;
    let program = Setup::new(Mode::Observe, &group).program(&place, &place.join("run"))?;
    refused(program.hiding(Path::new("/sys/kernel/btf"))?, &["BTF", "/sys/kernel/btf/vmlinux"])?;
    before.wait_until_restored(deadline(20.0))
}

#[test]
fn check_needs_no_root_and_doctor_changes_nothing() -> Result<()> {
    let _turn = agent::turn();
    let place = Place::new()?;
    let monitor = place.copy_file(&tests::needs::monitor()?, "monitor")?;
    let before = Inventory::take()?;
    let config = place.join("good.toml");
    fs::write(&config, all_rules(Path::new("/bin/true")))?;
    let check = Program::new(&monitor).arg("check").arg(&config).user(65534).finish(deadline(20.0))?;
    assert_eq!(check.status.code(), Some(0), "{}", check.stderr);
    let report = Program::monitor()?.args(["doctor", "--json"]).json(deadline(60.0))?;
    let capabilities = report["capabilities"].as_array().context("no capabilities")?;
    assert!(capabilities.iter().all(|capability| capability["feature"].is_string()), "{report}");
    before.wait_until_restored(deadline(20.0))
}
