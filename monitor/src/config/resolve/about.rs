//! What rules say of themselves, and words.

use super::Checker;
use super::lists::List;
use crate::config::limits::{MAX_ATTACK, MAX_WORD_BYTES};
use crate::config::model::{About, Action, Level, WhenStale};
use crate::config::pattern::Wrong;
use crate::config::raw::{self, Field};
use crate::config::source::quoted;

/// Reads what holds while the agent is gone. Of a rule that only ever reports there is nothing to be said.
pub(super) fn when_stale(file: &mut Checker, raw: &Field<WhenStale>, action: Action) -> WhenStale {
    let when = raw.or(WhenStale::Keep);
    if let Some(at) = raw.given()
        && action == Action::Alert
        && when != WhenStale::Keep
    {
        let help = "remove it, or write what is to be refused: `action = \"deny\"`";
        file.error(at.span, "`when_stale` changes nothing of a rule whose action is `alert`", help);
    }
    when
}

/// Reads the keys that say what a rule is about.
pub(super) fn about(
    file: &mut Checker,
    severity: &Field<Level>,
    practice: &Field<String>,
    attack: &Field<raw::List<String>>,
) -> About {
    const ATTACK: List = List {
        key: "attack",
        empty: Some("list at least one technique, or remove the key"),
        many: "name the ones that matter most",
    };
    if let Some(practice) = practice.given() {
        file.accept(practice.span, word(&practice.value, "a practice", "least-privilege"));
    }
    let techniques = attack.given().map(|raw| {
        if let Some(first) = raw.value.items.get(MAX_ATTACK) {
            let message = format!("more than {MAX_ATTACK} techniques in `attack`");
            file.error(first.span, message, "name the ones that matter most");
        }
        file.entries(raw, &ATTACK, |text| technique(text))
    });
    About {
        severity: severity.or(Level::default()),
        practice: practice.given().map(|practice| practice.value.clone()),
        attack: techniques.unwrap_or_default().into_iter().map(|technique| technique.value).collect(),
    }
}

/// Whether a text is one word in lower case; `what` names what it stands for.
pub(super) fn word(text: &str, what: &str, example: &str) -> Result<(), Wrong> {
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    let first = |text: &str| text.starts_with(|c: char| c.is_ascii_lowercase());
    let good = |text: &str| first(text) && text.chars().all(letters) && text.len() <= MAX_WORD_BYTES;
    if good(text) {
        return Ok(());
    }
    let lower = text.to_ascii_lowercase();
    let help = if good(&lower) {
        format!("write `\"{lower}\"`")
    } else {
        format!(
            "write a word of up to {MAX_WORD_BYTES} lower-case letters, digits, `-` and `_`, such as `\"{example}\"`"
        )
    };
    Err((format!("{} is no name of {what}", quoted(text)), help))
}

fn technique(text: &str) -> Result<String, Wrong> {
    if is_technique(text) {
        return Ok(text.to_owned());
    }
    let upper = text.to_ascii_uppercase();
    let help = if is_technique(&upper) {
        format!("write `\"{upper}\"`")
    } else {
        "write the id of a technique or sub-technique, such as `\"T1059\"` or `\"T1059.004\"`".into()
    };
    Err((format!("{} is no id of an ATT&CK technique", quoted(text)), help))
}

/// `T`, four digits and, for a part of it, a point and three more.
fn is_technique(text: &str) -> bool {
    let digits = |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
    let (main, part) = text.split_once('.').map_or((text, None), |(main, part)| (main, Some(part)));
    main.strip_prefix('T').is_some_and(|number| digits(number, 4)) && part.is_none_or(|part| digits(part, 3))
}
