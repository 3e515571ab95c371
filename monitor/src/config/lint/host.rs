//! What this host lacks.

use std::ops::RangeInclusive;

use super::Lints;
use crate::config::model::{Account, Action, Exec, Interfaces, Mode};
use crate::config::pattern::is_glob;
use crate::config::source::{Spanned, printable_path, quoted};
use crate::host::interfaces;

pub(super) fn check(lints: &mut Lints) {
    unenforceable(lints);
    accounts(lints);
    cgroups(lints);
    chosen_ports(lints);
    missing_interfaces(lints);
}

/// Names of interfaces that aren't there. A glob may be for those that are made later.
fn missing_interfaces(lints: &mut Lints) {
    let config = lints.config;
    let of_agent = match &config.agent.interfaces {
        Interfaces::Auto => &[][..],
        Interfaces::Named(names) => names,
    };
    let help = "write one that `ip link` shows, or `interfaces = \"auto\"`; a glob may be for one that is made later";
    let of_agent = of_agent.iter().filter(|name| !is_glob(&name.value)).map(|name| (name, help));
    let of_limits = config.rate_limits.iter().flat_map(|rule| &rule.interfaces);
    let of_packets = config.packets.interfaces.iter().map(|interface| &interface.name);
    let later = "write one that `ip link` shows; it is fine if it is made later";
    let others = of_limits.chain(of_packets).map(|name| (name, later));
    let others = others.filter(|(name, _)| !is_glob(&name.value));
    for (name, help) in of_agent.chain(others) {
        if interfaces::index(&name.value).is_none() {
            let message = format!("there is no interface {} on this host", quoted(&name.value));
            lints.warn(&name.place, message, help);
        }
    }
}

/// Ports of databases that the kernel may give to whoever asks for any: it asks nobody then.
fn chosen_ports(lints: &mut Lints) {
    let Some(local) = lints.facts.local_ports.clone() else { return };
    for rule in lints.config.databases.iter().filter(|rule| rule.servers.is_some()) {
        let within =
            |ports: &RangeInclusive<u16>| ports.start() <= local.end() && local.start() <= ports.end();
        if let Some(ports) = rule.ports.iter().find(|ports| within(ports)) {
            let message = format!(
                "port {} of {} is one that the kernel chooses from ({} to {}): others than its `servers` can get it without a bind that is judged",
                ports.start().max(local.start()),
                quoted(&rule.name),
                local.start(),
                local.end()
            );
            let help = "let the database listen below that range, or put its ports into `net.ipv4.ip_local_reserved_ports`";
            lints.warn(&rule.place, message, help);
        }
    }
}

/// Rules that would be an error when the agent starts, or hold only in part.
fn unenforceable(lints: &mut Lints) {
    late(lints);
    let Some((reason, remedy)) = lints.facts.no_lsm() else { return };
    let (config, realtime) = (lints.config, lints.facts.realtime);
    let help = format!("{remedy}; or write `degrade = \"observe\"` in the rule");
    for rule in &config.execs {
        let stops = rule.mode == Mode::Enforce && rule.action != Action::Alert;
        if realtime && stops && !rule.degrade && !is_late(rule) {
            let message = format!(
                "{} can't be enforced on this host: {reason}, and it schedules in real time, where a program runs before it can be killed",
                quoted(&rule.name)
            );
            lints.warn(&rule.place, message, help.clone());
        }
    }
    for rule in config.databases.iter().filter(|rule| !rule.sockets.is_empty() && !rule.degrade) {
        let message =
            format!("nothing is seen of the unix sockets of {} on this host: {reason}", quoted(&rule.name));
        lints.warn(&rule.place, message, help.clone());
    }
    if let Some(rule) = &config.raw_sockets
        && rule.action == Action::Deny
        && rule.mode == Mode::Enforce
        && !rule.degrade
    {
        let message = format!("packet sockets can't be refused on this host: {reason}; raw sockets are");
        lints.warn(&rule.place, message, help.clone());
    }
    if let Some(rule) = &config.process_memory
        && rule.action == Action::Deny
        && rule.mode == Mode::Enforce
        && !rule.degrade
    {
        let message = format!("nobody can be kept from the memory of others on this host: {reason}");
        lints.warn(&rule.place, message, help);
    }
}

/// Whether a rule acts when an exec can't be refused any more, with or without BPF LSM.
fn is_late(rule: &Exec) -> bool {
    rule.action == Action::Kill || rule.args.is_some()
}

/// Rules that would kill a program which has begun to run by then.
fn late(lints: &mut Lints) {
    let config = lints.config;
    if !lints.facts.realtime {
        return;
    }
    for rule in config.execs.iter().filter(|rule| is_late(rule)) {
        if rule.mode == Mode::Enforce && rule.action != Action::Alert && !rule.degrade {
            let message = format!(
                "{} can't be enforced on this host: it schedules in real time, where a program runs before it can be killed",
                quoted(&rule.name)
            );
            let help = "write `degrade = \"observe\"` in the rule; or, with BPF LSM, have it deny programs whatever their arguments";
            lints.warn(&rule.place, message, help);
        }
    }
}

fn accounts(lints: &mut Lints) {
    let (config, Some(accounts)) = (lints.config, &lints.facts.accounts) else { return };
    let users = config.workloads.iter().flat_map(|workload| &workload.users);
    let users = users.chain(config.execs.iter().flat_map(|rule| &rule.users)).map(|user| (user, "user"));
    let groups = config.workloads.iter().flat_map(|workload| &workload.groups).map(|group| (group, "group"));
    for (Spanned { value, place }, kind) in users.chain(groups) {
        let Account::Name(name) = value else { continue };
        let (known, file, flag) = match kind {
            "user" => (accounts.user(name).is_ok(), "/etc/passwd", "-u"),
            _ => (accounts.group(name).is_ok(), "/etc/group", "-g"),
        };
        if !known {
            let message = format!("there is no {kind} {} in `{file}`", quoted(name));
            let help =
                format!("correct the name, or write the number of one from elsewhere: `id {flag} NAME`");
            lints.warn(place, message, help);
        }
    }
}

fn cgroups(lints: &mut Lints) {
    let (config, Some(mount)) = (lints.config, &lints.facts.cgroups) else { return };
    let of_workloads = config.workloads.iter().flat_map(|workload| &workload.cgroups);
    for cgroup in of_workloads.filter(|cgroup| !is_glob(&cgroup.value)).chain([&config.agent.cgroup]) {
        let path = mount.join(cgroup.value.trim_start_matches('/'));
        if !path.is_dir() {
            let message = format!("there is no cgroup {} on this host", quoted(&cgroup.value));
            let help =
                format!("write the path of a directory below `{}`, without that part", printable_path(mount));
            lints.warn(&cgroup.place, message, help);
        }
    }
}
