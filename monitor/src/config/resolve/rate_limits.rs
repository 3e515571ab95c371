//! Rate limits.

mod limits;
mod penalty;
mod per;

use super::about::about;
use super::interfaces::name_or_glob;
use super::lists::List;
use super::ports::ports;
use super::prefixes::{Empty, prefixes};
use super::{Checker, Names};
use crate::config::model::{Mode, Per, Protocol, RateLimit, WhenStale};
use crate::config::raw::{self, At};
use limits::Limits;

pub(super) fn rate_limit(
    file: &mut Checker,
    raw: &At<raw::RateLimit>,
    mode: Mode,
    names: &mut Names,
) -> Option<RateLimit> {
    const INTERFACES: List = List {
        key: "interfaces",
        empty: Some("list at least one interface, or remove the key for any"),
        many: "use globs",
    };
    let At { value: rule, span } = raw;
    let name = names.take(file, &rule.name, "rate_limit", *span);
    let ports = file.required(&rule.ports, "rate_limit", "ports", *span).map(|raw| ports(file, raw));
    let per = rule.per.given().and_then(|per| file.accept(per.span, per::per(&per.value)));
    let per = per.unwrap_or(Per::SOURCE);
    let protocol = rule.protocol.or(Protocol::Any);
    if let Some(connections) = rule.connections.given()
        && !protocol.has_tcp()
    {
        let help = "write `protocol = \"tcp\"` or `\"any\"`, or limit `packets`";
        file.error(connections.span, "`connections` needs TCP, but `protocol` is `udp`", help);
    }
    if per == Per::Rule {
        refuse_for_all(file, rule);
    }
    let sources = rule.sources.given().map(|raw| prefixes(file, raw, "sources", Empty::Refused));
    let except = rule.except.given().map(|raw| prefixes(file, raw, "except", Empty::Allowed));
    let interfaces = rule.interfaces.given();
    let interfaces = interfaces.map(|raw| file.entries(raw, &INTERFACES, |text| name_or_glob(text)));
    let Limits { packets, connections, bytes, newcomers } = limits::limits(file, raw);
    let penalty = rule.penalty.given().map(|raw| penalty::penalty(file, raw));
    Some(RateLimit {
        name: name?.value.clone(),
        ports: ports?,
        protocol,
        per,
        sources,
        except: except.unwrap_or_default(),
        interfaces: interfaces.unwrap_or_default(),
        packets,
        connections,
        bytes,
        newcomers,
        penalty: penalty.flatten(),
        mode: rule.mode.or(mode),
        when_stale: rule.when_stale.or(WhenStale::Keep),
        about: about(file, &rule.severity, &rule.practice, &rule.attack),
        place: file.place(*span),
    })
}

/// Reports what has no meaning in a limit that everybody shares.
fn refuse_for_all(file: &mut Checker, rule: &raw::RateLimit) {
    let help = "remove it, or write `per = \"source\"`";
    if let Some(at) = rule.newcomers.given() {
        let message = "`newcomers` has no meaning with `per = \"rule\"`: all sources share one limit";
        file.error(at.span, message, help);
    }
    if let Some(at) = rule.penalty.given() {
        let message =
            "`penalty` has no meaning with `per = \"rule\"`: nobody in particular is over the limit";
        file.error(at.span, message, help);
    }
}
