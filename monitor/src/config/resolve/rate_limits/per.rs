//! What a rate limit counts together.

use crate::config::model::Per;
use crate::config::pattern::Wrong;
use crate::config::source::quoted;
use crate::config::suggest::nearest;

const HELP: &str = "write `\"source\"` (an IPv4 address or IPv6 /64), `\"source/24\"` (an IPv4 /24), `\"source/48\"` (an IPv6 /48), `\"source/24/48\"` (both) or `\"rule\"` (everybody)";

/// Reads `source`, `source/24`, `source/24/48` or `rule`.
pub(super) fn per(text: &str) -> Result<Per, Wrong> {
    let lengths = match text.split_once('/') {
        None if text == "source" => return Ok(Per::SOURCE),
        None if text == "rule" => return Ok(Per::Rule),
        Some(("source", lengths)) => lengths,
        _ => return Err((format!("{} is no value of `per`", quoted(text)), suggestion(text))),
    };
    let lengths: Option<Vec<u32>> = lengths.split('/').map(length).collect();
    match lengths.as_deref() {
        Some([0, ..] | [_, 0]) => {
            let help = "write `\"rule\"` to count everybody together";
            Err((format!("{} counts by no bit of the address", quoted(text)), help.into()))
        }
        Some([v4 @ 1..=32]) => Ok(Per::Source { v4: *v4 as u8, v6: 64 }),
        Some([v6 @ 33..=128]) => Ok(Per::Source { v4: 32, v6: *v6 as u8 }),
        Some([v4 @ 1..=32, v6 @ 1..=128]) => Ok(Per::Source { v4: *v4 as u8, v6: *v6 as u8 }),
        Some([v6 @ 33..=128, v4 @ 1..=32]) => {
            let message = format!("the first length in {} is for IPv4, from 1 to 32", quoted(text));
            Err((message, format!("write `\"source/{v4}/{v6}\"`")))
        }
        _ => Err((format!("{} is no value of `per`", quoted(text)), HELP.into())),
    }
}

fn length(text: &str) -> Option<u32> {
    // `parse` takes a sign, too.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn suggestion(text: &str) -> String {
    nearest(text, ["source", "rule"]).map_or(HELP.into(), |near| format!("did you mean `\"{near}\"`?"))
}
