//! `monitor doctor`: what this kernel can do, and what each kind of rule would use here.

mod interfaces;

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use monitor_common::policy::RuleKind;
use serde::Serialize;

use crate::{
    agent::{prepare::Ground, trial},
    host::cgroup::{self, Scope},
    kernel::{
        load::Loaded,
        probes::Needed,
        support::{self, Capability, feature},
    },
};

/// Arguments of `monitor doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Load every kernel program once and print what the verifier says of each.
    #[arg(long)]
    pub programs: bool,
}

/// What was found out.
#[derive(Debug, Serialize)]
struct Diagnosis {
    kernel: String,
    realtime: bool,
    security_modules: Option<String>,
    cgroup_tree: Option<PathBuf>,
    default_route_interfaces: Vec<String>,
    interfaces: Vec<interfaces::Interface>,
    capabilities: Vec<Capability>,
    rules: Vec<Use>,
}

/// What a kind of rule would use.
#[derive(Debug, Serialize)]
struct Use {
    rule: &'static str,
    action: &'static str,
    uses: &'static str,
}

/// Tries everything with programs that touch nobody, and prints what works.
///
/// # Errors
/// If a prerequisite is missing without which nothing can be tried.
pub fn run(args: &Args) -> Result<ExitCode> {
    let ground = Ground::look()?;
    let mut out = String::new();
    let mut healthy = true;
    if args.programs {
        let programs = trial::programs(&ground, |_| true)?;
        healthy = programs.iter().all(|program| program.state == "loaded" || program.kind == "lsm");
        if args.json { json(&programs, &mut out)? } else { table(&programs, &mut out) }
    } else {
        let diagnosis = diagnose(&ground)?;
        if args.json { json(&diagnosis, &mut out)? } else { diagnosis.print(&mut out) }
    }
    match io::stdout().lock().write_all(out.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("can't write the answer")
        }
        _ => Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
    }
}

fn json(value: &impl Serialize, out: &mut String) -> Result<()> {
    out.push_str(&serde_json::to_string_pretty(value).context("can't write the answer as JSON")?);
    out.push('\n');
    Ok(())
}

fn diagnose(ground: &Ground) -> Result<Diagnosis> {
    let scope = Scope::open("/")?;
    let mut capabilities = vec![Capability {
        feature: feature::BTF,
        state: "available",
        reason: "",
        detail: "the kernel says how its structs are laid out".to_owned(),
    }];
    capabilities.push(trial::exec_deny(ground, &scope)?);
    capabilities.extend(trial::kill_and_connect(ground, &scope)?);
    capabilities.push(packets(ground)?);
    without_start(&mut capabilities);
    let rules = uses(&capabilities);
    let interfaces = interfaces::look()?;
    let with_default_route = interfaces.iter().filter(|interface| interface.default_route);
    Ok(Diagnosis {
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        realtime: support::is_realtime(),
        security_modules: support::security_modules(),
        cgroup_tree: cgroup::mounted()?,
        default_route_interfaces: with_default_route.map(|interface| interface.name.clone()).collect(),
        interfaces,
        capabilities,
        rules,
    })
}

/// Where what every policy needs is refused, the agent doesn't start, and what would work by itself is worth nothing.
fn without_start(capabilities: &mut [Capability]) {
    if !capabilities.iter().any(|row| row.feature == feature::EXEC_KILL && row.reason == "refused") {
        return;
    }
    for row in capabilities.iter_mut().filter(|row| row.feature != feature::BTF && row.reason != "refused") {
        (row.state, row.reason) = ("missing", "refused");
        row.detail = format!("the agent doesn't start on this kernel: see {}", feature::EXEC_KILL);
    }
}

/// The table of a kind of rule as the policy file writes it.
fn header(rule: &str) -> String {
    let alone = RuleKind::ALL.iter().any(|kind| kind.is_alone() && kind.name() == rule);
    if alone { format!("[{rule}]") } else { format!("[[{rule}]]") }
}

/// Whether the packet program loads. It is attached nowhere: in the driver or behind it shows when it is.
fn packets(ground: &Ground) -> Result<Capability> {
    let programs = trial::programs(ground, |probe| probe.needed == Needed::RateLimit)?;
    let refused = programs.into_iter().find_map(|program| program.reason);
    let (state, reason) = if refused.is_some() { ("missing", "xdp_refused") } else { ("available", "") };
    let detail = refused.unwrap_or_else(|| {
        "XDP: in the driver where it can, else behind it; below, for each interface, what is likely"
            .to_owned()
    });
    Ok(Capability { feature: feature::PACKET_DROP, state, reason, detail })
}

fn uses(capabilities: &[Capability]) -> Vec<Use> {
    let state =
        |feature| capabilities.iter().find(|row| row.feature == feature).map_or("missing", |row| row.state);
    let or_nothing = |feature, uses| {
        if state(feature) == "missing" { "nothing: only `degrade = \"observe\"`" } else { uses }
    };
    let kill = or_nothing(feature::EXEC_KILL, "a signal at exec, before the first instruction");
    let lsm = state(feature::EXEC_DENY) == "enforced";
    let or_blind = |uses| {
        if lsm {
            uses
        } else {
            "nothing: unix sockets are not seen without BPF LSM; only `degrade = \"observe\"`"
        }
    };
    let deny = if lsm { "BPF LSM: refused with EPERM" } else { kill };
    vec![
        Use { rule: "exec", action: "deny", uses: deny },
        Use { rule: "exec", action: "kill", uses: kill },
        Use {
            rule: "database",
            action: "deny",
            uses: or_nothing(
                feature::CONNECT_DENY,
                "cgroup connect and sendmsg programs: refused with EPERM",
            ),
        },
        Use {
            rule: "database",
            action: "sources",
            uses: or_nothing(feature::CONNECT_DENY, "cgroup programs at the socket: the packet is dropped"),
        },
        Use { rule: "database", action: "sockets", uses: or_blind("BPF LSM: refused with EPERM") },
        Use {
            rule: "raw_sockets",
            action: "deny",
            uses: match lsm {
                _ if state(feature::CONNECT_DENY) == "missing" => "nothing: the agent doesn't start",
                true => "cgroup socket programs, and BPF LSM for packet sockets: refused with EPERM",
                false => {
                    "cgroup socket programs for raw IP sockets; packet sockets are not seen without BPF LSM"
                }
            },
        },
        Use { rule: "rate_limit", action: "drop", uses: or_nothing(feature::PACKET_DROP, "XDP") },
    ]
}

impl Diagnosis {
    fn print(&self, out: &mut String) {
        use std::fmt::Write as _;
        let modules = self
            .security_modules
            .as_deref()
            .unwrap_or("not known (`mount -t securityfs none /sys/kernel/security` shows them)");
        let _ = writeln!(
            out,
            "kernel            {}{}",
            self.kernel,
            if self.realtime { " (real-time)" } else { "" }
        );
        let _ = writeln!(out, "security modules  {modules}");
        let tree = self.cgroup_tree.as_ref().map(|point| point.display().to_string());
        let tree = tree.unwrap_or_else(|| "mounted nowhere; the agent uses a view of its own".to_owned());
        let _ = writeln!(out, "cgroup v2 tree    {tree}");
        let _ = writeln!(out, "default route     {}\n", self.default_route_interfaces.join(", "));
        for row in &self.capabilities {
            let _ = writeln!(out, "{:<13} {:<10} {}", row.feature, row.state, row.detail);
        }
        out.push('\n');
        interfaces::print(&self.interfaces, out);
        out.push('\n');
        for row in &self.rules {
            let _ = writeln!(out, "{:<15} {:<7} uses {}", header(row.rule), row.action, row.uses);
        }
    }
}

fn table(programs: &[Loaded], out: &mut String) {
    use std::fmt::Write as _;
    let _ = writeln!(
        out,
        "{:<12} {:<17} {:>12} {:>9} {:>11} {:>8}",
        "program", "type", "instructions", "verified", "jited bytes", "ms"
    );
    for row in programs {
        let number = |value: Option<u32>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        let _ = writeln!(
            out,
            "{:<12} {:<17} {:>12} {:>9} {:>11} {:>8.1}{}",
            row.program,
            row.kind,
            number(row.instructions),
            number(row.verified_instructions),
            number(row.jited_bytes),
            row.load_ms,
            row.reason.as_ref().map_or_else(String::new, |reason| format!("  refused: {reason}"))
        );
    }
}
