//! Database rules.

use super::about::{about, when_stale, word};
use super::lists::{List, patterns};
use super::ports::ports;
use super::prefixes::{Empty, prefixes};
use super::workloads::Workloads;
use super::{Checker, Names};
use crate::config::model::{Action, Database, Mode};
use crate::config::raw::{self, At, DatabaseAction, Existing, RawAction};

pub(super) fn database(
    file: &mut Checker,
    raw: &At<raw::Database>,
    mode: Mode,
    workloads: &Workloads,
    names: &mut Names,
) -> Option<Database> {
    let At { value: rule, span } = raw;
    let name = names.take(file, &rule.name, "database", *span);
    if let Some(engine) = rule.engine.given() {
        file.accept(engine.span, word(&engine.value, "an engine", "postgres"));
    }
    check_keys(file, raw);
    let sockets = List { key: "sockets", empty: Some("list at least one path or glob"), many: "use globs" };
    let mut indices = |names: &raw::Field<raw::List<String>>| {
        names.given().map(|names| workloads.indices(file, &names.value))
    };
    let (clients, servers) = (indices(&rule.clients), indices(&rule.servers));
    let action = match rule.action.or(DatabaseAction::Deny) {
        DatabaseAction::Deny => Action::Deny,
        DatabaseAction::Alert => Action::Alert,
    };
    Some(Database {
        ports: rule.ports.given().map(|raw| ports(file, raw)).unwrap_or_default(),
        addresses: match rule.addresses.given() {
            Some(raw) => prefixes(file, raw, "addresses", Empty::Refused),
            None => Vec::new(),
        },
        sockets: rule.sockets.given().map(|raw| patterns(file, raw, &sockets, false)).unwrap_or_default(),
        clients,
        servers,
        sources: rule.sources.given().map(|raw| prefixes(file, raw, "sources", Empty::Allowed)),
        engine: rule.engine.given().map(|engine| engine.value.clone()),
        close_existing: rule.existing.or(Existing::List) == Existing::Close,
        name: name?.value.clone(),
        action,
        mode: rule.mode.or(mode),
        when_stale: when_stale(file, &rule.when_stale, action),
        about: about(file, &rule.severity, &rule.practice, &rule.attack),
        degrade: rule.degrade.given().is_some(),
        force: rule.force.or(false),
        place: file.place(*span),
    })
}

/// A rule about who may listen: what a database rule says with `servers` alone.
pub(super) fn listen(
    file: &mut Checker,
    raw: &At<raw::Listen>,
    mode: Mode,
    workloads: &Workloads,
    names: &mut Names,
) -> Option<Database> {
    let At { value: rule, span } = raw;
    let name = names.take(file, &rule.name, "listen", *span);
    let allow = file.required(&rule.allow, "listen", "allow", *span);
    let action = match rule.action.or(RawAction::Alert) {
        RawAction::Alert => Action::Alert,
        RawAction::Deny => Action::Deny,
    };
    Some(Database {
        ports: rule.ports.given().map_or_else(|| vec![1..=u16::MAX], |raw| ports(file, raw)),
        addresses: match rule.addresses.given() {
            Some(raw) => prefixes(file, raw, "addresses", Empty::Refused),
            None => Vec::new(),
        },
        sockets: Vec::new(),
        clients: None,
        servers: Some(workloads.indices(file, &allow?.value)),
        sources: None,
        engine: None,
        close_existing: false,
        name: name?.value.clone(),
        action,
        mode: rule.mode.or(mode),
        when_stale: when_stale(file, &rule.when_stale, action),
        about: about(file, &rule.severity, &rule.practice, &rule.attack),
        force: false,
        degrade: false,
        place: file.place(*span),
    })
}

/// Which keys a rule needs, and which have a meaning only beside others.
fn check_keys(file: &mut Checker, raw: &At<raw::Database>) {
    let At { value: rule, span } = raw;
    let broken = file.parsed.is_broken(*span);
    if rule.ports.is_absent() && rule.sockets.is_absent() && !broken {
        let help = "list the ports or the unix sockets of the database: `ports = [5432]`, `sockets = [\"/run/postgresql/.s.PGSQL.5432\"]`";
        file.error(file.header(*span), "a database rule needs `ports` or `sockets`", help);
    }
    if rule.clients.is_absent() && rule.servers.is_absent() && rule.sources.is_absent() && !broken {
        let help = "list the workloads that may connect: `clients = [\"api\"]` (`[]` lets nobody connect), or listen: `servers`, or the networks that may reach it: `sources`";
        file.error(file.header(*span), "a database rule needs `clients`, `servers` or `sources`", help);
    }
    let no_ports = rule.ports.is_absent() && !rule.sockets.is_absent() && !broken;
    for (key, field) in [("addresses", &rule.addresses), ("sources", &rule.sources)] {
        if let Some(at) = field.given().filter(|_| no_ports) {
            file.error(
                at.span,
                format!("`{key}` has no meaning without `ports`: unix sockets have no addresses"),
                "add `ports`, or remove it",
            );
        }
    }
    if let Some(existing) = rule.existing.given()
        && rule.clients.is_absent()
        && !broken
    {
        let help = "add `clients`, or remove it";
        file.error(existing.span, "`existing` has no meaning without `clients`", help);
    }
}
