//! Names of network interfaces.

use super::Checker;
use crate::config::limits::{MAX_INTERFACE_BYTES, MAX_INTERFACE_GLOB_BYTES, MAX_INTERFACES};
use crate::config::model::Interfaces;
use crate::config::pattern::{Wrong, check_part, is_glob};
use crate::config::raw::{self, At};
use crate::config::source::{Spanned, is_printable, quoted};

/// Reads the interfaces of the agent.
pub(super) fn interfaces(file: &mut Checker, at: &At<raw::Interfaces>) -> Option<Interfaces> {
    let names = match &at.value {
        raw::Interfaces::Word(word) if word == "auto" => return Some(Interfaces::Auto),
        raw::Interfaces::Word(word) => {
            let help = format!("write `\"auto\"`, or a list: `[\"{}\"]`", quoted(word).trim_matches('`'));
            file.error(at.span, format!("{} is neither `auto` nor a list of interfaces", quoted(word)), help);
            return None;
        }
        raw::Interfaces::Names(names) => names,
    };
    if let Some(first) = names.items.get(MAX_INTERFACES) {
        file.error(
            first.span,
            format!("more than {MAX_INTERFACES} interfaces"),
            "write `\"auto\"`, or fewer names",
        );
    }
    let mut found: Vec<Spanned<String>> = Vec::new();
    for name in names.items.iter().take(MAX_INTERFACES) {
        if file.accept(name.span, entry(&name.value)).is_none() {
            continue;
        }
        if found.iter().any(|other| other.value == name.value) {
            let message = format!("the interface {} is listed twice", quoted(&name.value));
            file.warn(name.span, message, "remove one of them");
        } else {
            found.push(file.spanned(name.value.clone(), name.span));
        }
    }
    Some(Interfaces::Named(found))
}

fn entry(text: &str) -> Result<String, Wrong> {
    if text == "auto" {
        return Err(("`auto` can't stand in a list".into(), "write `interfaces = \"auto\"`".into()));
    }
    name_or_glob(text)
}

fn check_name(name: &str) -> Result<(), Wrong> {
    let printable = has_only_letters(name);
    if name.is_empty() || name.len() > MAX_INTERFACE_BYTES || !printable || matches!(name, "." | "..") {
        let help = format!(
            "write a name that `ip link` shows: 1 to {MAX_INTERFACE_BYTES} bytes without spaces, `/` and `:`"
        );
        return Err((format!("{} can't be the name of an interface", quoted(name)), help));
    }
    Ok(())
}

/// What the kernel takes for a name (`dev_valid_name` in `net/core/dev.c`), as far as it can be shown.
fn has_only_letters(name: &str) -> bool {
    name.chars().all(|c| is_printable(c) && !c.is_whitespace() && !matches!(c, '/' | ':'))
}

/// Reads the name of an interface, or a glob.
pub(super) fn name_or_glob(text: &str) -> Result<String, Wrong> {
    if !is_glob(text) {
        check_name(text)?;
        return Ok(text.to_owned());
    }
    if text.len() > MAX_INTERFACE_GLOB_BYTES || !has_only_letters(text) {
        let help = format!(
            "write a name that `ip link` shows with `*`, `?`, `[a-z]` or `{{a,b}}` in it: up to {MAX_INTERFACE_GLOB_BYTES} bytes without spaces, `/` and `:`"
        );
        return Err((format!("{} can't be a glob for interfaces", quoted(text)), help));
    }
    if text.contains("**") {
        let message = format!("`**` has no meaning in the interface {}", quoted(text));
        return Err((message, "write a single `*`".into()));
    }
    check_part(text)?;
    Ok(text.to_owned())
}
