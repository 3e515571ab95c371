//! What is doubtful about a configuration on this host: needs the disk, but no privileges. What only root may see is
//! left out for others.

mod facts;
mod files;
mod host;
mod limits;
mod lists;
mod metrics;
mod policy;
mod rules;
mod running;

use std::collections::BTreeSet;

use rustix::process::geteuid;

use super::diagnostic::Diagnostic;
use super::load::Loaded;
use super::model::Config;
use super::source::Place;
use crate::host::trust;
use crate::policy::lockout::{self, Ways};
use facts::Facts;
use policy::Policy;

/// Adds what is doubtful: workloads that nothing uses, files that don't exist or that anybody may change, lists that
/// allow too much or would break what runs, and what this host can't hold. Adds an error if the policy is too large
/// for the kernel.
pub fn lint(loaded: &mut Loaded) {
    lint_on(loaded, &Facts::look());
}

fn lint_on(loaded: &mut Loaded, facts: &Facts) {
    let mut found = Vec::new();
    for path in loaded.paths() {
        if let Some(culprit) = files::writable_by_others(&path) {
            let place = Place { file: path, line: 1, column: 1 };
            let help = "take write permission from others: `chmod o-w`";
            found.push((place, files::changeable("configuration", &culprit), help.to_owned()));
        } else if let (true, Ok(Err(untrusted))) = (geteuid().is_root(), trust::check(&path)) {
            // Others may check what isn't in its place yet.
            let place = Place { file: path, line: 1, column: 1 };
            let message = format!("an agent that runs as root refuses this configuration: {untrusted}");
            found.push((place, message, untrusted.remedy()));
        }
    }
    let Some(config) = loaded.config.take() else { return report(loaded, found) };
    let mut lints = Lints { config: &config, facts, found };
    rules::check(&mut lints);
    limits::check(&mut lints);
    files::check(&mut lints);
    host::check(&mut lints);
    metrics::check(&mut lints);
    let mut fits = true;
    match Policy::new(&config, facts) {
        Ok(policy) => {
            if let (Some(tree), Some(accounts)) = (&facts.tree, &facts.accounts) {
                let readers = BTreeSet::new();
                let ways = Ways { tree, administrators: accounts.administrators(), readers };
                let errors = lockout::check(&config, &policy.compiled, &ways);
                fits &= errors.is_empty();
                loaded.diagnostics.extend(errors);
            }
            lists::check(&mut lints, &policy);
            running::check(&mut lints, &policy);
        }
        Err(errors) => {
            fits = false;
            loaded.diagnostics.extend(errors);
        }
    }
    report(loaded, lints.found);
    loaded.config = Some(config).filter(|_| fits);
}

fn report(loaded: &mut Loaded, found: Vec<Finding>) {
    for (place, message, help) in found {
        loaded.warn(&place, message, &help);
    }
    loaded.diagnostics.sort_by_key(Diagnostic::order);
}

/// Where, what, and what to do.
type Finding = (Place, String, String);

/// What is looked at, and what was found so far.
struct Lints<'a> {
    config: &'a Config,
    facts: &'a Facts,
    found: Vec<Finding>,
}

impl Lints<'_> {
    fn warn(&mut self, place: &Place, message: impl Into<String>, help: impl Into<String>) {
        self.found.push((place.clone(), message.into(), help.into()));
    }
}

#[cfg(test)]
mod tests;
