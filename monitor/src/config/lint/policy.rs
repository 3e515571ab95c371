//! The policy as the kernel programs would read it here.

use std::collections::HashMap;

use monitor_common::identity::{ExeId, FileEntry, FileKey};
use monitor_common::settings::class;

use super::facts::Facts;
use crate::config::diagnostic::{Diagnostic, Report, Severity};
use crate::config::model::Config;
use crate::config::source::Place;
use crate::host::accounts;
use crate::policy::{Accounts, Compiled, Host, Unenforceable};

/// A policy, and the files that it names.
pub(super) struct Policy {
    pub compiled: Compiled,
    pub files: HashMap<FileKey, FileEntry>,
}

impl Policy {
    /// Compiles a configuration.
    ///
    /// # Errors
    /// What makes it too large for the kernel. What the host lacks is none.
    pub fn new(config: &Config, facts: &Facts) -> Result<Self, Vec<Diagnostic>> {
        let accounts = Known(facts.accounts.as_ref());
        let host = Host { tree: facts.tree.as_ref(), accounts: &accounts, cannot: Unenforceable::default() };
        let compiled = Compiled::new(config, &host).map_err(|error| match error.downcast::<Report>() {
            Ok(report) => report.into_diagnostics(),
            Err(error) => {
                let message = format!("the kernel can't hold this policy: {error:#}");
                let help = "write fewer or simpler globs, texts about arguments and prefixes";
                vec![config.diagnostic(Severity::Error, &Place::default(), message).help(help)]
            }
        })?;
        let files = facts.tree.as_ref().map(|tree| compiled.files_on(tree)).unwrap_or_default();
        Ok(Self { compiled, files })
    }

    /// Whether the list of the exec rule with this index names a file, which may have no place (`notes`).
    pub fn lists(&self, rule: usize, exe: &ExeId, path: Option<&[u8]>, notes: &[&str]) -> bool {
        let mut member = self.compiled.file(&self.files, exe, path);
        for (note, class) in
            [("memfd", class::MEMFD), ("deleted", class::DELETED), ("unplaced", class::UNPLACED)]
        {
            if let Some(of_class) =
                self.compiled.classes.get(class as usize).filter(|_| notes.contains(&note))
            {
                member.add(of_class);
            }
        }
        member.rules.contains(rule as u16)
    }
}

/// The accounts of the host, and a number that nobody has for those it doesn't know: they are reported by themselves.
struct Known<'a>(Option<&'a accounts::Accounts>);

/// The largest number there is, which nobody is given.
const NOBODY_KNOWN: u32 = u32::MAX - 1;

impl Accounts for Known<'_> {
    fn user(&self, name: &str) -> anyhow::Result<u32> {
        Ok(self.0.and_then(|accounts| accounts.user(name).ok()).unwrap_or(NOBODY_KNOWN))
    }

    fn group(&self, name: &str) -> anyhow::Result<u32> {
        Ok(self.0.and_then(|accounts| accounts.group(name).ok()).unwrap_or(NOBODY_KNOWN))
    }
}
