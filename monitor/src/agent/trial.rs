//! Finds out what this kernel can enforce by doing it, with an empty policy that touches nobody.

use anyhow::Result;

use super::prepare::Ground;
use crate::{
    config::Rings,
    host::cgroup::Scope,
    kernel::{
        canary::{self, Outcome},
        load::{Kernel, KernelLog, Loaded, Room, Sizes},
        probes::{Attach, PROBES, Probe},
        support::{self, Capability, feature},
    },
};

/// An empty policy's maps.
const NOTHING: Sizes =
    Sizes { databases: 0, listens: 0, rate_limits: 0, source_sets: 0, rings: Rings::NONE, room: Room::USUAL };

/// Loads some of the programs once, attaches none; what the verifier said of each.
pub fn programs(ground: &Ground, wanted: impl Fn(&Probe) -> bool) -> Result<Vec<Loaded>> {
    let mut kernel = Kernel::open(&ground.types, &ground.layout, &ground.settings, NOTHING, KernelLog::Off)?;
    let load = |probe: &'static Probe| {
        kernel.load(probe).unwrap_or_else(|error| Loaded {
            program: probe.program,
            kind: probe.attach.name(),
            state: "refused",
            reason: Some(format!("{error:#}")),
            instructions: None,
            verified_instructions: None,
            jited_bytes: None,
            load_ms: 0.0,
        })
    };
    Ok(PROBES.iter().filter(|probe| wanted(probe)).map(load).collect())
}

/// Whether execs can be refused: an LSM program must load, attach, and refuse the agent's own canary.
pub fn exec_deny(ground: &Ground, scope: &Scope) -> Result<Capability> {
    let fallback = |reason, detail: String| Capability {
        feature: feature::EXEC_DENY,
        state: "fallback",
        reason,
        detail,
    };
    const INSTEAD: &str = "denied execs are killed before their first instruction instead of being refused";
    let mut kernel = Kernel::open(&ground.types, &ground.layout, &ground.settings, NOTHING, KernelLog::Off)?;
    for probe in PROBES.iter().filter(|probe| probe.program == "exec_check") {
        let attached = kernel.load(probe).and_then(|_| kernel.attach(probe, scope));
        if let Err(error) = attached {
            let detail = format!(
                "{INSTEAD}: {error:#}; to have execs refused, boot a kernel with CONFIG_BPF_LSM and `bpf` in its `lsm=` list"
            );
            return Ok(fallback("lsm_refused", detail));
        }
    }
    if !canary::allowed()? {
        return Ok(fallback(
            "lsm_refuses_all",
            format!(
                "{INSTEAD}: here the program that would refuse them refuses every exec; please report it"
            ),
        ));
    }
    if canary::exec()? == Outcome::Refused {
        let detail = "refused with EPERM before anything runs, by a BPF LSM program".to_owned();
        return Ok(Capability { feature: feature::EXEC_DENY, state: "enforced", reason: "", detail });
    }
    let modules = support::security_modules().unwrap_or_else(|| "not known".to_owned());
    let remedy = format!(
        "{INSTEAD}; BPF LSM programs load but never run: the active security modules are {modules}; boot with \
         `lsm={modules},bpf` to have execs refused"
    );
    Ok(fallback("lsm_silent", remedy))
}

/// Whether a program can be killed before its first instruction, and whether a connect can be refused.
pub fn kill_and_connect(ground: &Ground, scope: &Scope) -> Result<Vec<Capability>> {
    let mut kernel = Kernel::open(&ground.types, &ground.layout, &ground.settings, NOTHING, KernelLog::Off)?;
    let wanted = |probe: &&Probe| probe.program == "exec" || matches!(probe.attach, Attach::SockAddr);
    let missing = |feature, error: &anyhow::Error| Capability {
        feature,
        state: "missing",
        reason: "refused",
        detail: format!("{error:#}"),
    };
    for probe in PROBES.iter().filter(wanted) {
        if let Err(error) = kernel.load(probe).and_then(|_| kernel.attach(probe, scope)) {
            return Ok([feature::EXEC_KILL, feature::CONNECT_DENY]
                .map(|feature| missing(feature, &error))
                .into());
        }
    }
    Ok(vec![kill(canary::exec()?), connect(canary::connect())])
}

/// What the outcome of an exec canary says of killing.
#[must_use]
pub fn kill(outcome: Outcome) -> Capability {
    let (state, reason, detail) = match outcome {
        _ if support::is_realtime() => (
            "missing",
            "realtime",
            "this is a real-time kernel: a program may run a while before the signal arrives; rules that kill or deny \
             execs need `degrade = \"observe\"` here, or a kernel with BPF LSM",
        ),
        Outcome::Killed | Outcome::Refused => {
            ("enforced", "", "killed before the first instruction, by a signal at exec")
        }
        Outcome::Ran => {
            ("missing", "not_killed", "a program that should have been killed ran; please report it")
        }
    };
    Capability { feature: feature::EXEC_KILL, state, reason, detail: detail.to_owned() }
}

/// What the outcome of a connect canary says.
#[must_use]
pub fn connect(refused: bool) -> Capability {
    let (state, reason, detail) = if refused {
        ("enforced", "", "refused with EPERM, by cgroup programs at the root of the cgroup v2 tree")
    } else {
        ("missing", "not_refused", "a connect that should have been refused was not; please report it")
    };
    Capability { feature: feature::CONNECT_DENY, state, reason, detail: detail.to_owned() }
}
