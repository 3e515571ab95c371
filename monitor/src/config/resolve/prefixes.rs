//! Lists of networks, which may be long.

use std::collections::HashSet;

use super::Checker;
use crate::config::limits::MAX_PREFIXES;
use crate::config::net::{self, Network};
use crate::config::raw::{At, List};
use crate::config::source::quoted;

/// So many findings about one list are reported; the rest are counted.
const SHOWN: usize = 20;

/// Whether a list of networks may be empty.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Empty {
    /// It means nobody.
    Allowed,
    /// It would have no meaning.
    Refused,
}

/// Reads the networks of a key, each once.
pub(super) fn prefixes(file: &mut Checker, raw: &At<List<String>>, key: &str, empty: Empty) -> Vec<Network> {
    let items = &raw.value.items;
    if empty == Empty::Refused && items.is_empty() && !raw.value.incomplete {
        let help = "list at least one address or prefix, or remove the key for any";
        file.error(raw.span, format!("`{key}` is empty and would match nothing"), help);
    }
    if let Some(first) = items.get(MAX_PREFIXES) {
        let help = format!("`{key}` may have up to {MAX_PREFIXES} entries: write shorter prefixes");
        file.error(first.span, format!("more than {MAX_PREFIXES} entries in `{key}`"), help);
    }
    let mut found = Vec::with_capacity(items.len().min(MAX_PREFIXES));
    let mut seen = HashSet::new();
    let (mut wrong, mut doubtful) = (0, 0);
    for item in items.iter().take(MAX_PREFIXES) {
        match net::prefix(&item.value) {
            Ok((network, warning)) => {
                let twice = !seen.insert(network);
                if !twice {
                    found.push(network);
                }
                let warning = warning.or_else(|| {
                    let message = format!("{} is listed twice in `{key}`", quoted(&item.value));
                    twice.then(|| (message, "remove one of them".into()))
                });
                let Some((message, help)) = warning else { continue };
                doubtful += 1;
                if doubtful <= SHOWN {
                    file.warn(item.span, message, help);
                }
            }
            Err((message, help)) => {
                wrong += 1;
                if wrong <= SHOWN {
                    file.error(item.span, message, help);
                }
            }
        }
    }
    if wrong > SHOWN {
        let message = format!("{} more entries of `{key}` are wrong", wrong - SHOWN);
        file.error(raw.span, message, "correct the ones that are shown first");
    }
    if doubtful > SHOWN {
        let message = format!("{} more entries of `{key}` are doubtful", doubtful - SHOWN);
        file.warn(raw.span, message, "correct the ones that are shown first");
    }
    found
}
