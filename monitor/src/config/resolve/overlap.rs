//! Rules that an earlier one hides in whole or in part.

use std::collections::HashMap;

use super::ports::{common, show};
use super::{Checked, Rules};
use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::model::{Account, Database, Exec, ListKind, Pattern};
use crate::config::networks::Networks;
use crate::config::source::{Spanned, quoted};

impl Rules {
    /// Warns about every later rule of a kind that an earlier one hides.
    pub(super) fn check_overlaps(&self, diagnostics: &mut Vec<Diagnostic>) {
        let networks: Vec<_> =
            self.databases.iter().map(|rule| Networks::new(&rule.value.addresses)).collect();
        for (index, later) in self.databases.iter().enumerate() {
            for (earlier, networks_before) in self.databases.iter().zip(&networks).take(index) {
                let same_ports = networks.get(index).is_some_and(|later| networks_before.hides(later));
                if let Some(what) = hidden(&earlier.value, &later.value, same_ports) {
                    let help =
                        "the first rule that speaks of a port or socket decides: remove it from one of them";
                    diagnostics.push(warn(
                        earlier,
                        later,
                        (&earlier.value.name, &later.value.name),
                        &what,
                        help,
                    ));
                }
            }
        }
        self.check_patterns(diagnostics);
        self.check_allow_lists(diagnostics);
    }

    /// An exec pattern is hidden if an earlier rule has the same one for at least the same workloads and users, and
    /// whatever the arguments.
    fn check_patterns(&self, diagnostics: &mut Vec<Diagnostic>) {
        let mut seen: HashMap<&Pattern, Vec<&Checked<Exec>>> = HashMap::new();
        for later in &self.execs {
            for pattern in &later.value.files {
                let earlier = seen.entry(&pattern.value).or_default();
                if let Some(earlier) = earlier.iter().find(|earlier| covers(&earlier.value, &later.value)) {
                    let names = (&*earlier.value.name, &*later.value.name);
                    let help = "the first rule that matches decides: remove the entry from one of them";
                    diagnostics.push(warn(earlier, later, names, &quoted(pattern.value.text()), help));
                }
                if later.value.list == ListKind::Deny && later.value.args.is_none() {
                    earlier.push(later);
                }
            }
        }
    }

    /// After a list of all that may be executed, only what is on it is left to later rules.
    fn check_allow_lists(&self, diagnostics: &mut Vec<Diagnostic>) {
        let mut lists: Vec<&Checked<Exec>> = Vec::new();
        for later in &self.execs {
            let mut covering = lists.iter().filter(|earlier| covers(&earlier.value, &later.value));
            diagnostics.extend(covering.find_map(|earlier| narrowed(earlier, later)));
            if later.value.list == ListKind::Allow {
                lists.push(later);
            }
        }
    }
}

/// What the list of `earlier`, all that may be executed, leaves to `later`.
fn narrowed(earlier: &Checked<Exec>, later: &Checked<Exec>) -> Option<Diagnostic> {
    let names = (&*earlier.value.name, &*later.value.name);
    if later.value.list == ListKind::Allow {
        let (first, second) = (quoted(names.0), quoted(names.1));
        let message = format!(
            "{first} and {second} both list all that the same may execute: only what is in both may be"
        );
        let diagnostic = Diagnostic::new(Severity::Warning, &later.source, later.span, message)
            .related(&earlier.source, earlier.span, "the first list")
            .help("join the two lists in one rule");
        return Some(diagnostic);
    }
    let is_path = |pattern: &&Spanned<Pattern>| matches!(pattern.value, Pattern::Path(_));
    // What a glob or a class matches isn't known here.
    if !earlier.value.files.iter().all(|pattern| is_path(&pattern)) {
        return None;
    }
    let listed = |file: &Pattern| earlier.value.files.iter().any(|pattern| pattern.value == *file);
    let hidden = later.value.files.iter().filter(is_path).find(|file| !listed(&file.value))?;
    let help = "what isn't on the list of the first rule never gets to the second: remove it there, or put that rule first";
    Some(warn(earlier, later, names, &quoted(hidden.value.text()), help))
}

fn warn<T>(
    earlier: &Checked<T>,
    later: &Checked<T>,
    (first, second): (&str, &str),
    what: &str,
    help: &str,
) -> Diagnostic {
    let message = format!("{} hides {} for {what}: it comes first", quoted(first), quoted(second));
    Diagnostic::new(Severity::Warning, &later.source, later.span, message)
        .related(&earlier.source, earlier.span, "this rule decides")
        .help(help)
}

/// The ports, else the sockets, about which both rules say who may do the same.
fn hidden(earlier: &Database, later: &Database, same_addresses: bool) -> Option<String> {
    let programs = earlier.clients.is_some() && later.clients.is_some()
        || earlier.servers.is_some() && later.servers.is_some();
    let packets = earlier.sources.is_some() && later.sources.is_some();
    let ports = if same_addresses && (programs || packets) {
        common(&earlier.ports, &later.ports)
    } else {
        Vec::new()
    };
    if !ports.is_empty() {
        return Some(show(&ports));
    }
    let both = |socket: &&Spanned<Pattern>| earlier.sockets.iter().any(|other| other.value == socket.value);
    let socket = later.sockets.iter().filter(|_| programs).find(both)?;
    Some(quoted(socket.value.text()))
}

/// Whether `earlier` applies to everybody to whom `later` does.
fn covers(earlier: &Exec, later: &Exec) -> bool {
    let by = match (&earlier.by, &later.by) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(earlier), Some(later)) => later.iter().all(|workload| earlier.contains(workload)),
    };
    let has = |user: &Account| earlier.users.iter().any(|other| other.value == *user);
    let users = earlier.users.is_empty()
        || !later.users.is_empty() && later.users.iter().all(|user| has(&user.value));
    let left_out = earlier.except.iter().all(|workload| later.except.contains(workload));
    by && users && left_out
}
