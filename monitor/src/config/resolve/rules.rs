//! The rules, one by one.

use std::ops::RangeInclusive;

use toml_spanner::Span;

use super::workloads::{Workloads, patterns};
use super::{Checker, Names};
use crate::config::limits::{
    MAX_BYTES_PER_SECOND, MAX_ENGINE_BYTES, MAX_EVENTS_PER_SECOND, MAX_PORT_ENTRIES, MAX_REFILL_NS,
    MIN_DEFAULT_BURST_BYTES,
};
use crate::config::model::{Action, Database, Exec, Limit, Mode, Pattern, Per, Protocol, Rate, RateLimit};
use crate::config::pattern::Wrong;
use crate::config::raw::{self, At, DatabaseAction, ExecAction, Field, List, Port};
use crate::config::source::quoted;
use crate::config::suggest::nearest;
use crate::config::{net, rate};

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
        file.accept(engine.span, check_engine(&engine.value));
    }
    let ports = file.required(&rule.ports, "database", "ports", *span).map(|raw| ports(file, raw));
    let clients = match rule.clients.given() {
        Some(clients) => Some(workloads.indices(file, &clients.value)),
        None => {
            if rule.clients.is_absent() && !file.parsed.is_broken(*span) {
                let help = "list the workloads that may connect: `clients = [\"api\"]`; `clients = []` lets nobody connect";
                file.error(file.header(*span), "missing key `clients` in `[[database]]`", help);
            }
            None
        }
    };
    Some(Database {
        name: name?.value.clone(),
        engine: rule.engine.given().map(|engine| engine.value.clone()),
        ports: ports?,
        clients: clients?,
        action: match rule.action.or(DatabaseAction::Deny) {
            DatabaseAction::Deny => Action::Deny,
            DatabaseAction::Alert => Action::Alert,
        },
        mode: rule.mode.or(mode),
        degrade: rule.degrade.given().is_some(),
        place: file.place(*span),
    })
}

pub(super) fn exec(
    file: &mut Checker,
    raw: &At<raw::Exec>,
    mode: Mode,
    workloads: &Workloads,
    names: &mut Names,
) -> Option<Exec> {
    let At { value: rule, span } = raw;
    let name = names.take(file, &rule.name, "exec", *span);
    let by = rule.by.given().map(|by| {
        if by.value.items.is_empty() && !by.value.incomplete {
            file.error(
                by.span,
                "`by` is empty and would match nobody",
                "list workloads, or remove the key for anybody",
            );
        }
        workloads.indices(file, &by.value)
    });
    let deny = file.required(&rule.deny, "exec", "deny", *span).map(|raw| patterns(file, raw, "deny", true));
    let all = |pattern: &Pattern| matches!(pattern, Pattern::Glob(glob) if glob == "/**");
    if rule.by.is_absent()
        && let Some(pattern) = deny.iter().flatten().find(|pattern| all(&pattern.value))
    {
        let offset = file.parsed.source.offset(pattern.place.line, pattern.place.column) as u32;
        let help = "name the directories that are meant, or the workloads in `by`";
        file.warn(Span::new(offset, offset + 1), "this matches every program that anybody executes", help);
    }
    Some(Exec {
        name: name?.value.clone(),
        by,
        deny: deny?,
        action: match rule.action.or(ExecAction::Deny) {
            ExecAction::Alert => Action::Alert,
            ExecAction::Deny => Action::Deny,
            ExecAction::Kill => Action::Kill,
        },
        mode: rule.mode.or(mode),
        degrade: rule.degrade.given().is_some(),
        place: file.place(*span),
    })
}

pub(super) fn rate_limit(
    file: &mut Checker,
    raw: &At<raw::RateLimit>,
    mode: Mode,
    names: &mut Names,
) -> Option<RateLimit> {
    let At { value: rule, span } = raw;
    let name = names.take(file, &rule.name, "rate_limit", *span);
    let ports = file.required(&rule.ports, "rate_limit", "ports", *span).map(|raw| ports(file, raw));
    if let Some(per) = rule.per.given() {
        file.accept(per.span, check_per(&per.value));
    }
    let protocol = rule.protocol.or(Protocol::Any);
    if let Some(connections) = rule.connections.given()
        && !protocol.has_tcp()
    {
        let help = "write `protocol = \"tcp\"` or `\"any\"`, or limit `packets`";
        file.error(connections.span, "`connections` needs TCP, but `protocol` is `udp`", help);
    }
    let none = rule.packets.is_absent() && rule.connections.is_absent() && rule.bytes.is_absent();
    if none && !file.parsed.is_broken(*span) {
        let help = "add `packets = \"2000/s\"`, `connections = \"50/s\"` or `bytes = \"10MB/s\"`";
        file.error(file.header(*span), "a rate limit needs `packets`, `connections` or `bytes`", help);
    }
    let (packets, connections, bytes) = limits(file, rule);
    Some(RateLimit {
        name: name?.value.clone(),
        ports: ports?,
        protocol,
        per: Per::Source,
        packets,
        connections,
        bytes,
        mode: rule.mode.or(mode),
        place: file.place(*span),
    })
}

fn limits(file: &mut Checker, rule: &raw::RateLimit) -> (Option<Limit>, Option<Limit>, Option<Limit>) {
    if let Some(burst) = rule.burst.given()
        && rule.packets.is_absent()
        && rule.connections.is_absent()
    {
        let help = "for `bytes` write `burst_bytes = \"1MB\"`";
        file.error(burst.span, "`burst` is for `packets` and `connections`, and neither is given", help);
    }
    if let Some(burst) = rule.burst_bytes.given()
        && rule.bytes.is_absent()
    {
        let help = "add `bytes`, or write `burst = 100` for packets and connections";
        file.error(burst.span, "`burst_bytes` is for `bytes`, which is not given", help);
    }
    let burst = rule.burst.given().and_then(|at| {
        let burst = file.accept(at.span, check_burst(at.value))?;
        Some(At { value: burst, span: at.span })
    });
    let burst_bytes = rule.burst_bytes.given().and_then(|at| {
        let burst = file.accept(at.span, rate::size(&at.value).and_then(check_burst_bytes))?;
        if burst < MIN_DEFAULT_BURST_BYTES {
            let message =
                format!("a burst of {burst} bytes is smaller than one run of merged segments (64 KiB)");
            file.warn(at.span, message, "such a run would never pass; write at least `64KiB`");
        }
        Some(At { value: burst, span: at.span })
    });
    let packets = limit(file, &rule.packets, rate::events, burst.as_ref(), 1);
    let connections = limit(file, &rule.connections, rate::events, burst.as_ref(), 1);
    let bytes = limit(file, &rule.bytes, rate::bytes, burst_bytes.as_ref(), MIN_DEFAULT_BURST_BYTES);
    (packets, connections, bytes)
}

fn limit(
    file: &mut Checker,
    field: &Field<String>,
    parse: fn(&str) -> Result<Rate, Wrong>,
    burst: Option<&At<u64>>,
    least: u64,
) -> Option<Limit> {
    let at = field.given()?;
    let rate = file.accept(at.span, parse(&at.value))?;
    let value = burst.map_or_else(|| rate.per_second().max(least), |burst| burst.value);
    let refill = u128::from(value) * u128::from(rate.per_ns) / u128::from(rate.count.max(1));
    if refill > u128::from(MAX_REFILL_NS) {
        let days = MAX_REFILL_NS / (24 * 3600 * 1_000_000_000);
        let most = u128::from(rate.count) * u128::from(MAX_REFILL_NS) / u128::from(rate.per_ns);
        let message = format!("a burst of {value} at this rate takes more than {days} days to refill");
        let help = if burst.is_some() {
            format!("write a burst of at most {most}, or a higher rate")
        } else {
            format!("write a burst of at most {most} with `burst_bytes`, or a higher rate")
        };
        file.error(burst.map_or(at.span, |burst| burst.span), message, help);
    }
    Some(Limit { rate, burst: value })
}

fn check_burst(burst: i64) -> Result<u64, Wrong> {
    match u64::try_from(burst) {
        Ok(burst) if (1..=MAX_EVENTS_PER_SECOND).contains(&burst) => Ok(burst),
        _ => {
            let message = format!("the burst {burst} is not from 1 to {MAX_EVENTS_PER_SECOND}");
            Err((message, "write how many may come at once, or remove it for one second's worth".into()))
        }
    }
}

fn check_burst_bytes(burst: u64) -> Result<u64, Wrong> {
    if (1..=MAX_BYTES_PER_SECOND).contains(&burst) {
        return Ok(burst);
    }
    let top = MAX_BYTES_PER_SECOND / 1_000_000_000;
    let help = "write how many bytes may come at once, or remove it for one second's worth";
    Err((format!("the burst of {burst} bytes is not from 1 byte to {top} GB"), help.into()))
}

fn check_engine(engine: &str) -> Result<(), Wrong> {
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    let good = engine.starts_with(|c: char| c.is_ascii_lowercase()) && engine.chars().all(letters);
    if good && engine.len() <= MAX_ENGINE_BYTES {
        return Ok(());
    }
    let message = format!("{} is no name of an engine", quoted(engine));
    let lower = engine.to_ascii_lowercase();
    let help = if engine != lower && lower.len() <= MAX_ENGINE_BYTES && lower.chars().all(letters) {
        format!("write `\"{lower}\"`")
    } else {
        format!(
            "write a word of up to {MAX_ENGINE_BYTES} lower-case letters, digits, `-` and `_`, such as `\"postgres\"`"
        )
    };
    Err((message, help))
}

fn check_per(per: &str) -> Result<(), Wrong> {
    if per == "source" {
        return Ok(());
    }
    let help = "write `per = \"source\"` (one IPv4 address or IPv6 /64), or remove the key".to_owned();
    let length = per.strip_prefix("source/").and_then(|length| length.parse::<u8>().ok());
    if per == "rule" || length.is_some_and(|length| length <= 128) {
        return Err((format!("`per = \"{per}\"` is not supported by this version yet"), help));
    }
    let help = nearest(per, ["source"]).map_or(help, |near| format!("did you mean `\"{near}\"`?"));
    Err((format!("{} is no value of `per`", quoted(per)), help))
}

/// Reads the ports of a rule: sorted, merged where they overlap.
fn ports(file: &mut Checker, raw: &At<List<Port>>) -> Vec<RangeInclusive<u16>> {
    if raw.value.items.is_empty() && !raw.value.incomplete {
        file.error(raw.span, "`ports` is empty and would match nothing", "list at least one port");
    }
    if let Some(first) = raw.value.items.get(MAX_PORT_ENTRIES) {
        let help = "write neighbouring ports as a range: `\"6000-6010\"`";
        file.error(first.span, format!("more than {MAX_PORT_ENTRIES} entries in `ports`"), help);
    }
    let mut found: Vec<RangeInclusive<u16>> = Vec::new();
    for item in raw.value.items.iter().take(MAX_PORT_ENTRIES) {
        let Some(range) = file.accept(item.span, net::port(&item.value)) else { continue };
        if found.iter().any(|other| other.start() <= range.end() && range.start() <= other.end()) {
            let message = format!("{} is listed twice", super::overlap::show(std::slice::from_ref(&range)));
            file.warn(item.span, message, "remove one of them");
        }
        found.push(range);
    }
    super::overlap::merge(found)
}
