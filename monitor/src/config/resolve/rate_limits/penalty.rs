//! Penalties.

use crate::config::limits::{
    DEFAULT_PENALTY_AFTER, DEFAULT_PENALTY_MAX_NS, MAX_PENALTY_AFTER, MAX_PENALTY_FACTOR, MAX_PENALTY_NS,
    MIN_PENALTY_NS,
};
use crate::config::model::Penalty;
use crate::config::pattern::Wrong;
use crate::config::rate;
use crate::config::raw::{self, At};
use crate::config::resolve::Checker;
use crate::config::source::quoted;

const TABLE: &str = "rate_limit.penalty";
/// A factor that makes no penalty longer than the one before.
const SAME: u32 = 100;

pub(super) fn penalty(file: &mut Checker, raw: &At<raw::Penalty>) -> Option<Penalty> {
    let At { value: table, span } = raw;
    let for_ns = file.required(&table.length, TABLE, "for", *span);
    let for_ns = for_ns.and_then(|at| file.accept(at.span, length(&at.value)));
    let max = table.max.given().and_then(|at| {
        let value = file.accept(at.span, length(&at.value))?;
        Some(At { value, span: at.span })
    });
    let factor = table.factor.given().map_or(Some(SAME), |at| file.accept(at.span, factor(at.value)));
    let after = table.after.given();
    let after = after.map_or(Some(DEFAULT_PENALTY_AFTER), |at| file.accept(at.span, check_after(at.value)));
    if let (Some(for_ns), Some(max)) = (for_ns, &max)
        && max.value < for_ns
    {
        file.error(max.span, "`max` is shorter than `for`", "write a longer `max`, or remove it");
    }
    if let (Some(max), Some(SAME)) = (&max, factor) {
        let help = "add `factor = 2` to have penalties grow, or remove `max`";
        file.warn(max.span, "`max` has no effect: every penalty is as long as the first", help);
    }
    let for_ns = for_ns?;
    Some(Penalty {
        for_ns,
        max_ns: max.map_or(DEFAULT_PENALTY_MAX_NS.max(for_ns), |max| max.value),
        factor: factor?,
        after: after?,
        place: file.place(*span),
    })
}

fn length(text: &str) -> Result<u64, Wrong> {
    let length = rate::duration(text)?;
    if (MIN_PENALTY_NS..=MAX_PENALTY_NS).contains(&length) {
        return Ok(length);
    }
    let most = MAX_PENALTY_NS / (3600 * 1_000_000_000);
    let help = format!(
        "write a time from `\"1s\"` to `\"{most}h\"` (a year); who is never to come back belongs in a firewall"
    );
    Err((
        format!(
            "the penalty {} is too {}",
            quoted(text),
            if length < MIN_PENALTY_NS { "short" } else { "long" }
        ),
        help,
    ))
}

/// In hundredths.
fn factor(raw::Factor(factor): raw::Factor) -> Result<u32, Wrong> {
    let hundredths = (factor * 100.0).round();
    let most = f64::from(MAX_PENALTY_FACTOR * 100);
    if !(100.0..=most).contains(&hundredths) {
        let message = format!("the factor {factor} is not from 1 to {MAX_PENALTY_FACTOR}");
        return Err((message, "write how many times longer each further penalty is, for example `2`".into()));
    }
    if (factor * 100.0 - hundredths).abs() > 1e-6 {
        let message = format!("the factor {factor} has more than two digits after its point");
        return Err((message, format!("write `{}`", hundredths / 100.0)));
    }
    Ok(hundredths as u32)
}

fn check_after(after: i64) -> Result<u32, Wrong> {
    match u32::try_from(after) {
        Ok(after) if (1..=MAX_PENALTY_AFTER).contains(&after) => Ok(after),
        _ => {
            let message = format!("`after = {after}` is not from 1 to {MAX_PENALTY_AFTER}");
            Err((message, "write how many packets over the limit bring the penalty about".into()))
        }
    }
}
