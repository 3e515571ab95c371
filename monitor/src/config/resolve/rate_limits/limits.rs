//! How much a rate limit lets through.

use crate::config::limits::{
    MAX_BYTES_PER_SECOND, MAX_EVENTS_PER_SECOND, MAX_REFILL_NS, MIN_DEFAULT_BURST_BYTES,
};
use crate::config::model::{Limit, Rate};
use crate::config::pattern::Wrong;
use crate::config::rate;
use crate::config::raw::{self, At, Field};
use crate::config::resolve::Checker;

/// The limits of a rule. Those that are missing or wrong are `None`.
pub(super) struct Limits {
    pub packets: Option<Limit>,
    pub connections: Option<Limit>,
    pub bytes: Option<Limit>,
    pub newcomers: Option<Limit>,
}

pub(super) fn limits(file: &mut Checker, raw: &At<raw::RateLimit>) -> Limits {
    let At { value: rule, span } = raw;
    let none = rule.packets.is_absent() && rule.connections.is_absent() && rule.bytes.is_absent();
    if none && !file.parsed.is_broken(*span) {
        let help = "add `packets = \"2000/s\"`, `connections = \"50/s\"` or `bytes = \"10MB/s\"`";
        file.error(file.header(*span), "a rate limit needs `packets`, `connections` or `bytes`", help);
    }
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
        Some(At { value: burst, span: at.span })
    });
    Limits {
        packets: limit(file, &rule.packets, rate::events, burst.as_ref(), 1),
        connections: limit(file, &rule.connections, rate::events, burst.as_ref(), 1),
        bytes: limit(file, &rule.bytes, rate::bytes, burst_bytes.as_ref(), MIN_DEFAULT_BURST_BYTES),
        newcomers: limit(file, &rule.newcomers, rate::events, None, 1),
    }
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
    } else if monitor_common::limit::Limit::new(rate.count, rate.per_ns, value).is_none() {
        let message = format!("a burst of {value} at this rate is over before the limiter can tell");
        file.error(burst.map_or(at.span, |burst| burst.span), message, "write a larger burst, or remove it");
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
