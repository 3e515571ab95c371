//! The configuration file: settings and policy, in three steps.
//!
//! 1. *say*: `raw` holds what the files say, each value with its place. The JSON Schema comes from the same types.
//! 2. *check*: `resolve` turns that into diagnostics, all of them at once, and
//! 3. *use*: into the types of [`model`](Config), which can't be invalid.
//!
//! A configuration is a main file and the `*.toml` of the directory `policy.d` beside it, in name order;
//! those may hold rules and workloads only.

mod diagnostic;
pub mod limits;
mod lint;
mod load;
mod model;
mod net;
mod networks;
mod pattern;
mod rate;
mod raw;
mod resolve;
mod schema;
mod source;
mod suggest;
mod syntax;
#[cfg(test)]
mod tests;

use std::path::Path;

pub use diagnostic::{Diagnostic, Report, Severity, render_all};
pub use lint::lint;
pub use load::{Difference, Loaded};
pub use model::{
    About, Account, Action, Agent, Args, Attach, BANNED, Class, Config, Control, Database, Endpoint, Exec,
    FileSink, Format, HttpKind, IfHeld, Interfaces, Level, Limit, ListKind, Metrics, Mode, Only,
    PacketInterface, Packets, Pattern, Penalty, Per, Protect, Protocol, Rate, RateLimit, Redact, Rings,
    Secret, Sink, Syslog, Target, UNPARSED, Url, WhenStale, Workload,
};
pub(crate) use net::prefix as network;
pub(crate) use net::prefix;
pub(crate) use pattern::is_glob;
pub use schema::schema;
pub use source::{Place, Spanned};
pub(crate) use suggest::nearest;

/// The main file that is read if none is named.
pub const DEFAULT_PATH: &str = "/etc/monitor/monitor.toml";
/// The built-in configuration as text, with comments: a file to begin with.
pub const DEFAULT_TEXT: &str = include_str!("config/default.toml");
/// What messages call the built-in configuration.
const BUILTIN_NAME: &str = "<built-in>";

impl Config {
    /// Reads the main file (without one: [`DEFAULT_PATH`] if it exists, else the built-in configuration) and
    /// the files of `policy.d` beside it, for an agent that acts by it as root.
    ///
    /// # Errors
    /// Everything that is wrong with any of the files, and who besides root and this user may change them. The warnings of a
    /// good configuration come with it.
    pub fn load(main: Option<&Path>) -> Result<(Self, Vec<Diagnostic>), Report> {
        Self::from_main(main, Loaded::refuse_untrusted)
    }

    /// As [`Config::load`], for who only wants to know what it says: anybody may have written it.
    ///
    /// # Errors
    /// Everything that is wrong with any of the files.
    pub fn read(main: Option<&Path>) -> Result<(Self, Vec<Diagnostic>), Report> {
        Self::from_main(main, |_| ())
    }

    fn from_main(
        main: Option<&Path>,
        judge: impl FnOnce(&mut Loaded),
    ) -> Result<(Self, Vec<Diagnostic>), Report> {
        let (files, mut warnings) = match main {
            Some(main) => (vec![main.to_owned()], Vec::new()),
            None => load::default_files(Path::new(DEFAULT_PATH)),
        };
        if files.is_empty() {
            let (config, more) = Loaded::from_text(Path::new(BUILTIN_NAME), DEFAULT_TEXT).into_result()?;
            warnings.extend(more);
            return Ok((config, warnings));
        }
        let mut loaded = Loaded::from_files(&files);
        judge(&mut loaded);
        loaded.into_result()
    }

    /// The built-in configuration: observes, serves metrics and writes every event to standard output.
    ///
    /// # Errors
    /// None in a build that passed its tests.
    pub fn builtin() -> Result<Self, Report> {
        Self::from_text(DEFAULT_TEXT)
    }

    /// A finding about a place in this configuration, for what shows only when it is loaded: a missing
    /// interface, a rule that this kernel can't enforce. Add the remedy with [`Diagnostic::help`].
    pub fn diagnostic(&self, severity: Severity, place: &Place, message: impl Into<String>) -> Diagnostic {
        Diagnostic::at(severity, &self.sources, place, message)
    }

    /// Reads a configuration from a text, without looking at any file.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn from_text(text: &str) -> Result<Self, Report> {
        Loaded::from_text(Path::new(BUILTIN_NAME), text).into_result().map(|(config, _)| config)
    }
}
