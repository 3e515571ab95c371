//! Rates (`50/s`, `10MB/s`), sizes (`1MB`) and durations (`90s`).

use jiff::SignedDuration;

use super::limits::{MAX_BYTES_PER_SECOND, MAX_EVENTS_PER_SECOND};
use super::model::Rate;
use super::pattern::Wrong;
use super::source::quoted;

const SECOND_NS: u64 = 1_000_000_000;
const TIMES: [(&str, u64); 4] =
    [("s", SECOND_NS), ("m", 60 * SECOND_NS), ("min", 60 * SECOND_NS), ("h", 3600 * SECOND_NS)];
const SIZES: [(&str, u64); 7] = [
    ("B", 1),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// Reads `50/s`, `1000/min` or `1/h`.
pub(crate) fn events(text: &str) -> Result<Rate, Wrong> {
    let help =
        || "write a number and a time, for example `\"50/s\"`, `\"600/min\"` or `\"1000/h\"`".to_owned();
    let (amount, per_ns) = split(text, help)?;
    let (count, unit) = number(amount).ok_or_else(|| (no_rate(text), help()))?;
    if !unit.is_empty() {
        return Err((format!("{} is no number", quoted(amount)), help()));
    }
    let top = format!("`\"{MAX_EVENTS_PER_SECOND}/s\"`");
    bounded(Rate { count, per_ns }, text, MAX_EVENTS_PER_SECOND, &top)
}

/// Reads `10MB/s` or `1GiB/h`.
pub(crate) fn bytes(text: &str) -> Result<Rate, Wrong> {
    let help = || "write a size and a time, for example `\"10MB/s\"` or `\"500KiB/min\"`".to_owned();
    let (amount, per_ns) = split(text, help)?;
    let count = size(amount)?;
    let top = format!("`\"{}GB/s\"`", MAX_BYTES_PER_SECOND / 1_000_000_000);
    bounded(Rate { count, per_ns }, text, MAX_BYTES_PER_SECOND, &top)
}

/// Reads `1MB` or `64KiB`.
pub(crate) fn size(text: &str) -> Result<u64, Wrong> {
    let units = SIZES.map(|(name, _)| name).join("`, `");
    let help = format!("write a whole number and a unit (`{units}`), for example `10MB`");
    let Some((count, unit)) = number(text) else {
        return Err((format!("{} is no size", quoted(text)), help));
    };
    let Some((_, factor)) = SIZES.iter().find(|(name, _)| *name == unit) else {
        let same = SIZES.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit));
        let help = match same {
            Some((name, _)) => format!("did you mean `{count}{name}`? Bytes are `B`; bits have no unit here"),
            None => help,
        };
        let message = if unit.is_empty() {
            format!("{} has no unit", quoted(text))
        } else {
            format!("unknown unit {} of a size", quoted(unit))
        };
        return Err((message, help));
    };
    Ok(count.saturating_mul(*factor))
}

/// Reads `90s`, `24h` or `1h 30m`; in nanoseconds.
pub(crate) fn duration(text: &str) -> Result<u64, Wrong> {
    match text.parse::<SignedDuration>() {
        Ok(found) if !found.is_negative() => Ok(u64::try_from(found.as_nanos()).unwrap_or(u64::MAX)),
        _ => {
            let help = "write a number and a unit (`s`, `min` (or `m`), `h`), for example `\"90s\"` or `\"1h 30m\"`; a day is `24h`";
            Err((format!("{} is no duration", quoted(text)), help.into()))
        }
    }
}

fn no_rate(text: &str) -> String {
    format!("{} is no rate", quoted(text))
}

fn split(text: &str, help: impl Fn() -> String) -> Result<(&str, u64), Wrong> {
    let Some((amount, time)) = text.split_once('/') else {
        return Err((format!("{} has no time", quoted(text)), help()));
    };
    let (amount, time) = (amount.trim(), time.trim());
    match TIMES.iter().find(|(name, _)| *name == time) {
        Some((_, per_ns)) => Ok((amount, *per_ns)),
        None => {
            let message = format!("unknown unit of time {}", quoted(time));
            Err((message, format!("the units are `s`, `min` (or `m`) and `h`; {}", help())))
        }
    }
}

/// A whole number at the beginning, and what follows it.
fn number(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let count = digits.replace('_', "").parse().ok()?;
    Some((count, unit.trim()))
}

fn bounded(rate: Rate, text: &str, max: u64, top: &str) -> Result<Rate, Wrong> {
    if rate.count == 0 {
        let help = "the smallest rate is `\"1/h\"` (one packet, connection or byte an hour)";
        return Err((format!("the rate {} lets nothing through", quoted(text)), help.into()));
    }
    let too_high = u128::from(rate.count) * u128::from(SECOND_NS) > u128::from(max) * u128::from(rate.per_ns);
    if too_high {
        let help = format!("the highest rate is {top}; remove the limit if there is to be none");
        return Err((format!("the rate {} is too high", quoted(text)), help));
    }
    Ok(rate)
}
