//! Rules that say less, or more, than they seem to.

use monitor_common::policy::RuleKind;

use super::Lints;
use crate::config::model::{Action, Config, Database, Mode, Pattern, Workload};
use crate::config::source::quoted;

pub(super) fn check(lints: &mut Lints) {
    let config = lints.config;
    for index in unused(config) {
        let Some(workload) = config.workloads.get(index) else { continue };
        let message = format!("nothing uses the workload {}", quoted(&workload.name));
        let help = "name it in `by`, `except`, `clients`, `servers` or `allow`, or remove it";
        lints.warn(&workload.place, message, help);
    }
    for rule in &config.databases {
        nobody(lints, rule);
        everybody(lints, rule);
        existing(lints, rule);
    }
    for (kind, rule) in config.alone() {
        let what = match kind {
            RuleKind::ProcessMemory => "get at the memory of others",
            _ => "open raw sockets",
        };
        for workload in every(config, &rule.allow) {
            let name = quoted(&workload.name);
            let message = format!("every program may {what}: the workload {name} is everybody");
            lints.warn(&rule.place, message, "name in `allow` only those that need them");
        }
    }
}

/// Indices of the workloads that neither a rule nor another workload names.
fn unused(config: &Config) -> Vec<usize> {
    let mut used = vec![false; config.workloads.len()];
    let databases = config.endpoints().flat_map(|rule| [&rule.clients, &rule.servers]);
    let by = config.execs.iter().map(|rule| &rule.by);
    let except = config.execs.iter().map(|rule| &rule.except);
    let raw = config.alone().map(|(_, rule)| &rule.allow);
    let rules = databases.chain(by).flatten().chain(except).chain(raw);
    let kin = config.workloads.iter().enumerate().flat_map(|(own, workload)| {
        workload.parents.iter().chain(&workload.ancestors).filter(move |index| **index != own)
    });
    for index in rules.flatten().chain(kin) {
        if let Some(slot) = used.get_mut(*index) {
            *slot = true;
        }
    }
    used.iter().enumerate().filter(|(_, used)| !**used).map(|(index, _)| index).collect()
}

fn nobody(lints: &mut Lints, rule: &Database) {
    if rule.mode != Mode::Enforce {
        return;
    }
    let name = quoted(&rule.name);
    let none = |list: &Option<Vec<usize>>| list.as_ref().is_some_and(Vec::is_empty);
    for (nobody, message, key) in [
        (none(&rule.clients), format!("nobody on this host may connect to {name}"), "workloads in `clients`"),
        (
            none(&rule.servers),
            format!("nobody on this host may be the server of {name}"),
            "workloads in `servers`",
        ),
        (
            rule.sources.as_ref().is_some_and(Vec::is_empty),
            format!("no other host may reach {name}"),
            "networks in `sources`",
        ),
    ] {
        if nobody {
            lints.warn(&rule.place, message, format!("if that isn't meant, name {key}"));
        }
    }
}

fn everybody(lints: &mut Lints, rule: &Database) {
    let name = quoted(&rule.name);
    for (address, length) in rule.sources.iter().flatten().filter(|(_, length)| *length == 0) {
        let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
        let message =
            format!("{name} is open to every {family} address: `{address}/{length}` is in its `sources`");
        lints.warn(&rule.place, message, "list the networks from which it is used, or remove `sources`");
    }
    let config = lints.config;
    for (workloads, key, verb) in
        [(&rule.clients, "clients", "connect to"), (&rule.servers, "servers", "serve")]
    {
        for workload in every(config, workloads.as_deref().unwrap_or_default()) {
            let message = format!(
                "every program may {verb} {name}: the workload {} is everybody",
                quoted(&workload.name)
            );
            lints.warn(
                &rule.place,
                message,
                format!("name in `{key}` only those that need it, or remove the key"),
            );
        }
    }
}

/// Those of some workloads to which every process belongs.
fn every<'a>(config: &'a Config, workloads: &'a [usize]) -> impl Iterator<Item = &'a Workload> {
    let is_everybody = |workload: &&Workload| {
        let asks_who = !workload.users.is_empty()
            || !workload.groups.is_empty()
            || !workload.units.is_empty()
            || !workload.parents.is_empty()
            || !workload.ancestors.is_empty();
        let is_all = |pattern: &Pattern| matches!(pattern, Pattern::Glob(glob) if glob == "/**");
        let any_exe = workload.exe.is_empty() || workload.exe.iter().any(|exe| is_all(&exe.value));
        let any_cgroup = workload.cgroups.is_empty()
            || workload.cgroups.iter().any(|cgroup| matches!(cgroup.value.as_str(), "/" | "/**"));
        !asks_who && any_exe && any_cgroup
    };
    workloads.iter().filter_map(|index| config.workloads.get(*index)).filter(is_everybody)
}

fn existing(lints: &mut Lints, rule: &Database) {
    if !rule.close_existing {
        return;
    }
    let (why, help) = if rule.action == Action::Alert {
        ("only reports (`action = \"alert\"`)", "write `action = \"deny\"`, or `existing = \"list\"`")
    } else if rule.mode == Mode::Observe {
        ("only observes", "write `mode = \"enforce\"`, or `existing = \"list\"`")
    } else {
        return;
    };
    let message = format!("`existing = \"close\"` closes nothing: {} {why}", quoted(&rule.name));
    lints.warn(&rule.place, message, help);
}
