//! What the agent may do itself, as the kernel says of each of its threads.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use tests::{
    agent::{self, Mode, Setup},
    cgroup::Cgroup,
    needs,
    netns::Netns,
    place::Place,
    program::Program,
};

use crate::lifecycle::refused::refused;

/// Numbers of capabilities (include/uapi/linux/capability.h) that docs/hardening.md says the agent keeps.
const KEPT: [(&str, u32); 4] =
    [("CAP_DAC_READ_SEARCH", 2), ("CAP_NET_ADMIN", 12), ("CAP_SYS_PTRACE", 19), ("CAP_SYS_ADMIN", 21)];
const NET_BIND_SERVICE: u32 = 10;

/// A rule of every kind, so that every thread there can be is there.
const RULES: &str = "[[exec]]\nname = \"e\"\ndeny = [\"/nowhere\"]\n\
                     [[database]]\nname = \"d\"\nports = [5432]\nclients = []\n\
                     [[rate_limit]]\nname = \"r\"\nports = [443]\npackets = \"1000/s\"\n";

/// The fields of a `status` file of the kernel.
fn status(path: &Path) -> Result<BTreeMap<String, String>> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    Ok(fields.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect())
}

/// The status of each thread of a process, by the thread's name.
fn threads(pid: u32) -> Result<Vec<(String, BTreeMap<String, String>)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let fields = status(&entry?.path().join("status"))?;
        all.push((fields.get("Name").cloned().unwrap_or_default(), fields));
    }
    Ok(all)
}

fn bits(capabilities: &[u32]) -> String {
    format!("{:016x}", capabilities.iter().fold(0_u64, |all, bit| all | 1 << bit))
}

#[test]
fn every_thread_has_the_documented_capabilities_and_no_others() -> Result<()> {
    let group = Cgroup::new()?;
    let (server, client) = (Netns::new()?, Netns::new()?);
    server.link("s0", &client, "c0")?;
    let agent = Setup::new(Mode::Enforce, &group).within(&server).interfaces(&["s0"]).rules(RULES).start()?;
    agent.get("/metrics")?;
    let kept = bits(&KEPT.map(|(_, number)| number));
    let none = bits(&[]);
    let wanted = [
        ("CapEff", kept.as_str()),
        ("CapPrm", &kept),
        ("CapBnd", &kept),
        ("CapInh", &none),
        ("CapAmb", &none),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
    ];
    let threads = threads(agent.pid())?;
    for name in ["monitor", "watch", "canaries", "interfaces", "bans", "control", "http"] {
        ensure!(threads.iter().any(|(thread, _)| thread == name), "no thread {name}: {threads:#?}");
    }
    for (name, fields) in &threads {
        for (field, value) in wanted {
            assert_eq!(fields.get(field).map(String::as_str), Some(value), "{field} of thread {name}");
        }
    }
    agent.stop()?;
    Ok(())
}

#[test]
fn the_table_of_the_docs_is_what_is_kept() -> Result<()> {
    let docs = include_str!("../../../docs/hardening.md");
    let rows = docs.lines().filter_map(|line| line.strip_prefix("| `CAP_")?.split_once('`'));
    let mut rows: Vec<_> = rows.map(|(name, _)| format!("CAP_{name}")).collect();
    rows.sort();
    let mut kept = KEPT.map(|(name, _)| name.to_owned());
    kept.sort();
    assert_eq!(rows, kept);
    Ok(())
}

/// To listen below port 1024, and only then, the capability for that is kept as well.
#[test]
fn a_privileged_port_is_served() -> Result<()> {
    let group = Cgroup::new()?;
    let netns = Netns::new()?;
    let agent = Setup::new(Mode::Observe, &group).within(&netns).listen("127.0.0.1:80".parse()?).start()?;
    assert_eq!(agent.get("/readyz")?.0, 200);
    let mut kept = KEPT.map(|(_, number)| number).to_vec();
    kept.push(NET_BIND_SERVICE);
    for (name, fields) in threads(agent.pid())? {
        assert_eq!(fields.get("CapEff"), Some(&bits(&kept)), "{name}");
    }
    agent.stop()?;
    Ok(())
}

/// A service or container that doesn't give what is needed is told, before anything is loaded.
#[test]
fn a_missing_capability_is_named() -> Result<()> {
    let _turn = agent::turn();
    let setpriv = PathBuf::from("/usr/bin/setpriv");
    ensure!(setpriv.exists(), "no setpriv (Debian: util-linux)");
    for (name, _) in KEPT {
        let (group, place) = (Cgroup::new()?, Place::new()?);
        Setup::new(Mode::Observe, &group).program(&place, &place.join("run"))?;
        let short = name.strip_prefix("CAP_").context("a name")?.to_lowercase();
        let program = Program::new(&setpriv).args(["--bounding-set", &format!("-{short}"), "--"]);
        let program =
            program.arg(needs::monitor()?).arg("run").arg("--config").arg(place.join("monitor.toml"));
        refused(program.arg("--run-dir").arg(place.join("run")), &[name, "missing"])?;
    }
    Ok(())
}
