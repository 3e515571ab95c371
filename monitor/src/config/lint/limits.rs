//! Rate limits that hold less, or more, than they seem to.

use super::Lints;
use crate::config::model::{Interfaces, Mode, Per, RateLimit};
use crate::config::networks::Networks;
use crate::config::pattern::is_glob;
use crate::config::source::quoted;
use crate::policy::{interfaces::ByInterface, ports};
use monitor_common::policy::ports::PORT_INDICES;

/// So many exceptions of a rule without effect are reported.
const SHOWN: usize = 3;
/// Bits of what one IPv6 host is given at least (RFC 4291, section 2.5.4).
const HOST_V6: u8 = 64;

pub(super) fn check(lints: &mut Lints) {
    let config = lints.config;
    let alone = alone(&config.rate_limits);
    for (rule, alone) in config.rate_limits.iter().zip(alone) {
        if let Some(port) = alone {
            let message = format!("one source can use up all of {} at port {port}", quoted(&rule.name));
            let help = "add a rate limit with `per = \"source\"` for the same ports: it is asked first";
            lints.warn(&rule.place, message, help);
        }
        per(lints, rule);
        addresses(lints, rule);
        interfaces(lints, rule);
        penalty(lints, rule);
    }
}

/// For each limit that everybody shares, the first port at which there is none for each source.
fn alone(rules: &[RateLimit]) -> Vec<Option<u32>> {
    let mut held = vec![false; PORT_INDICES as usize];
    let each = rules.iter().filter(|rule| rule.per != Per::Rule);
    for (indices, _) in ports::runs(each.map(|rule| (rule.protocol, &rule.ports[..]))) {
        held[indices.start as usize..indices.end as usize].fill(true);
    }
    let first_udp = PORT_INDICES / 2;
    let open = |rule: &RateLimit| {
        let runs = ports::runs([(rule.protocol, &rule.ports[..])].into_iter());
        let mut indices = runs.into_iter().flat_map(|(indices, _)| indices);
        indices.find(|index| !held[*index as usize]).map(|index| index % first_udp)
    };
    rules.iter().map(|rule| open(rule).filter(|_| rule.per == Per::Rule)).collect()
}

fn per(lints: &mut Lints, rule: &RateLimit) {
    if let Per::Source { v6, .. } = rule.per
        && v6 > HOST_V6
    {
        let message = format!(
            "{} counts IPv6 by the first {v6} bits: one host has at least {HOST_V6}, and so many sources to choose from",
            quoted(&rule.name)
        );
        lints.warn(&rule.place, message, format!("count by at most {HOST_V6} bits"));
    }
}

fn addresses(lints: &mut Lints, rule: &RateLimit) {
    let name = quoted(&rule.name);
    let sources = rule.sources.as_deref().map(Networks::new);
    let except = Networks::new(&rule.except);
    let none = match &sources {
        Some(sources) => except.covers(sources),
        None => except.is_everything(),
    };
    if none {
        let message = format!("{name} holds for nobody: `except` has all that it is for");
        lints.warn(&rule.place, message, "write smaller networks in `except`, or remove the rule");
        return;
    }
    let Some(sources) = sources else { return };
    if sources.is_everything() {
        let message = format!("`sources` of {name} are all addresses there are");
        lints.warn(&rule.place, message, "remove `sources`: the rule is for everybody without it");
    }
    let mut outside = rule.except.iter().filter(|network| !sources.meets(network));
    for (address, length) in outside.by_ref().take(SHOWN) {
        let message =
            format!("`{address}/{length}` in `except` of {name} has no effect: it is not in `sources`");
        lints.warn(&rule.place, message, "remove it, or add its network to `sources`");
    }
    let more = outside.count();
    if more > 0 {
        let message = format!("{more} more entries in `except` of {name} have no effect");
        lints.warn(&rule.place, message, "remove what is not in `sources`");
    }
}

/// Warns about interfaces where no packet is counted.
fn interfaces(lints: &mut Lints, rule: &RateLimit) {
    let Interfaces::Named(watched) = &lints.config.agent.interfaces else { return };
    let Ok(watched) = ByInterface::new([(0, &watched[..])].into_iter()) else { return };
    let is_watched = |name: &String| !watched.look_up(name).is_empty();
    for name in rule.interfaces.iter().filter(|name| !is_glob(&name.value) && !is_watched(&name.value)) {
        let shown = quoted(&name.value);
        let message = format!("{} holds nowhere on {shown}: its packets are not watched", quoted(&rule.name));
        lints.warn(&name.place, message, format!("add {shown} to `interfaces` of `[agent]`"));
    }
}

fn penalty(lints: &mut Lints, rule: &RateLimit) {
    if let Some(penalty) = &rule.penalty
        && rule.mode == Mode::Observe
    {
        let message = format!("the penalty of {} drops nothing: the rule only observes", quoted(&rule.name));
        let help = "it runs in shadow: packets it would drop are counted; write `mode = \"enforce\"` to have it hold";
        lints.warn(&penalty.place, message, help);
    }
}
