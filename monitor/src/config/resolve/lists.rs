//! Lists of values, each read by itself: one that is wrong doesn't hide the others.

use super::Checker;
use crate::config::limits::{MAX_ACCOUNT_BYTES, MAX_ENTRIES};
use crate::config::model::{Account, Pattern};
use crate::config::pattern::{self, Wrong};
use crate::config::raw::{self, At, Id};
use crate::config::source::{Spanned, is_printable, quoted};

/// What messages say about a list.
pub(super) struct List {
    /// Its key.
    pub key: &'static str,
    /// What to write if it is empty. `None`: it may be.
    pub empty: Option<&'static str>,
    /// How to need fewer entries.
    pub many: &'static str,
}

impl Checker<'_> {
    /// Reads the entries of a list. Wrong ones, too many and none are reported, and what is listed twice.
    pub fn entries<R: Written, T: PartialEq>(
        &mut self,
        raw: &At<raw::List<R>>,
        list: &List,
        parse: impl Fn(&R) -> Result<T, Wrong>,
    ) -> Vec<Spanned<T>> {
        let (key, items) = (list.key, &raw.value.items);
        if let Some(help) = list.empty
            && items.is_empty()
            && !raw.value.incomplete
        {
            self.error(raw.span, format!("`{key}` is empty and would match nothing"), help);
        }
        if let Some(first) = items.get(MAX_ENTRIES) {
            let help = format!("`{key}` may have up to {MAX_ENTRIES} entries: {}", list.many);
            self.error(first.span, format!("more than {MAX_ENTRIES} entries in `{key}`"), help);
        }
        let mut found: Vec<Spanned<T>> = Vec::new();
        for item in items.iter().take(MAX_ENTRIES) {
            let Some(value) = self.accept(item.span, parse(&item.value)) else { continue };
            if found.iter().any(|other| other.value == value) {
                let message = format!("{} is listed twice in `{key}`", quoted(&item.value.written()));
                self.warn(item.span, message, "remove one of them");
            } else {
                found.push(self.spanned(value, item.span));
            }
        }
        found
    }
}

/// A raw value that can be shown.
pub(super) trait Written {
    /// As it is written.
    fn written(&self) -> String;
}

impl Written for String {
    fn written(&self) -> String {
        self.clone()
    }
}

impl Written for Id {
    fn written(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

/// Reads paths and globs and, where `classes` are allowed, classes.
pub(super) fn patterns(
    file: &mut Checker,
    raw: &At<raw::List<String>>,
    list: &List,
    classes: bool,
) -> Vec<Spanned<Pattern>> {
    file.entries(raw, list, |text| pattern::parse(text, classes))
}

/// Reads users or groups.
pub(super) fn accounts(
    file: &mut Checker,
    raw: &At<raw::List<Id>>,
    key: &'static str,
) -> Vec<Spanned<Account>> {
    let empty = Some("list at least one name or number");
    file.entries(raw, &List { key, empty, many: "use a workload or another dimension" }, |id| {
        account(id, key)
    })
}

pub(super) fn account(id: &Id, key: &str) -> Result<Account, Wrong> {
    let number = |text: &str, number: Option<u32>| match number {
        Some(number) if number < u32::MAX => Ok(Account::Id(number)),
        _ => {
            let message = format!("the {key} {text} is not from 0 to {}", u32::MAX - 1);
            Err((message, "write a number that `id` shows, or a name".into()))
        }
    };
    let name = match id {
        Id::Number(id) => return number(&id.to_string(), u32::try_from(*id).ok()),
        Id::Text(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            return number(&quoted(text), text.parse().ok());
        }
        Id::Text(name) => name,
    };
    let good = |c: char| is_printable(c) && !c.is_whitespace() && !matches!(c, ':' | '/' | ',');
    if name.is_empty() || name.len() > MAX_ACCOUNT_BYTES || !name.chars().all(good) {
        let database = if key == "group" { "group" } else { "passwd" };
        let help = format!("write a name that `getent {database}` shows, or a number");
        return Err((format!("{} can't be the name of a {key}", quoted(name)), help));
    }
    Ok(Account::Name(name.clone()))
}
