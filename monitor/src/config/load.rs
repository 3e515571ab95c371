//! From paths to text: which files make a configuration, and reading them.

mod trusted;

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use monitor_common::policy::RuleKind;
use sha2::{Digest, Sha256};
use toml_spanner::Span;

use super::diagnostic::{Diagnostic, Report, Severity};
use super::limits::{MAX_FILE_BYTES, MAX_FRAGMENTS};
use super::model::{Config, Database, Mode, Only};
use super::resolve::resolve;
use super::source::{Place, Source, Sources, quoted};
use super::syntax;

/// The text of a file, and its position among all files.
struct Text {
    order: usize,
    path: PathBuf,
    bytes: Vec<u8>,
}

/// Files that were read, and everything that was found in them.
pub struct Loaded {
    /// The configuration, if there is no error.
    pub config: Option<Config>,
    /// Errors and warnings in file order.
    pub diagnostics: Vec<Diagnostic>,
    sources: Sources,
}

impl Loaded {
    /// Reads files and, for each that has a directory `policy.d` beside it, the `*.toml` in there in name
    /// order. No file is read twice.
    pub fn from_files(paths: &[PathBuf]) -> Self {
        let mut diagnostics = Vec::new();
        let mut seen = HashSet::new();
        let mut texts = Vec::new();
        for (order, path) in with_fragments(paths, &mut diagnostics).into_iter().enumerate() {
            if fs::canonicalize(&path).is_ok_and(|real| !seen.insert(real)) {
                continue;
            }
            match read(&path) {
                Ok(bytes) => texts.push(Text { order, path, bytes }),
                Err((message, help)) => {
                    diagnostics.push(Diagnostic::file(Severity::Error, order, &path, message).help(help));
                }
            }
        }
        Self::from_texts(texts, diagnostics)
    }

    /// Reads one text; `path` is only what messages call it. Looks at no disk.
    pub fn from_text(path: &Path, text: &str) -> Self {
        let text = Text { order: 0, path: path.to_owned(), bytes: text.as_bytes().to_vec() };
        Self::from_texts(vec![text], Vec::new())
    }

    /// Reads what was kept of a configuration ([`Config::texts`]). Looks at no disk.
    pub fn from_kept(texts: Vec<(PathBuf, String)>) -> Self {
        let text = |(order, (path, text)): (usize, (PathBuf, String))| Text {
            order,
            path,
            bytes: text.into_bytes(),
        };
        Self::from_texts(texts.into_iter().enumerate().map(text).collect(), Vec::new())
    }

    fn from_texts(texts: Vec<Text>, mut diagnostics: Vec<Diagnostic>) -> Self {
        let mut hash = Sha256::new();
        let mut parsed = Vec::new();
        let mut sources = Vec::new();
        for text in texts {
            hash.update(&text.bytes);
            match String::from_utf8(text.bytes) {
                Ok(mut utf8) => {
                    if utf8.starts_with('\u{feff}') {
                        // A byte order mark is no part of the text and would shift the columns.
                        utf8.remove(0);
                    }
                    let source = Arc::new(Source::new(text.order, text.path, utf8));
                    sources.push(source.clone());
                    parsed.push(syntax::parse(source, &mut diagnostics));
                }
                Err(error) => diagnostics.push(not_utf8(text.order, text.path, error)),
            }
        }
        let config = resolve(&parsed, hash.finalize().into(), &mut diagnostics);
        diagnostics.sort_by_key(Diagnostic::order);
        Self { config, diagnostics, sources }
    }

    /// Adds an error for each file, and each directory `policy.d`, that others than root and this user may change.
    pub(crate) fn refuse_untrusted(&mut self) {
        let found = trusted::diagnostics(&self.paths());
        if !found.is_empty() {
            self.config = None;
            self.diagnostics.extend(found);
            self.diagnostics.sort_by_key(Diagnostic::order);
        }
    }

    /// The configuration with its warnings, or all errors.
    pub fn into_result(self) -> Result<(Config, Vec<Diagnostic>), Report> {
        match self.config {
            Some(config) => Ok((config, self.diagnostics)),
            None => Err(Report::new(self.diagnostics)),
        }
    }

    /// Adds a warning about a place in one of the files, at the end.
    pub(crate) fn warn(&mut self, place: &Place, message: String, help: &str) {
        let diagnostic = Diagnostic::at(Severity::Warning, &self.sources, place, message);
        self.diagnostics.push(diagnostic.help(help));
    }

    /// The paths of the files that were read.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.sources.iter().map(|source| source.path.clone()).collect()
    }
}

/// In what two configurations differ. A rule that says the same at another place is the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Whether they say something else of packets: rate limits, how they are counted, and what is protected from them; or
    /// have another mode.
    pub packets: bool,
    /// The names of the other parts in which they do.
    pub elsewhere: Vec<&'static str>,
}

impl Config {
    /// In what another configuration differs.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Difference {
        let (Some(mut old), Some(new)) = (self.without_places(), other.without_places()) else {
            return Difference { packets: true, elsewhere: vec!["the configuration as a whole"] };
        };
        let packets = old.mode != new.mode
            || old.packets != new.packets
            || old.rate_limits != new.rate_limits
            || old.agent.protect != new.agent.protect;
        old.agent.protect.clone_from(&new.agent.protect);
        let attaches = |config: &Self| {
            let packets = config.packets.clone();
            (packets.attach, packets.if_held, packets.interfaces)
        };
        let elsewhere = [
            ("[agent] redact", old.agent.redact != new.agent.redact),
            ("[agent]", old.agent != new.agent),
            ("[control]", old.control != new.control),
            ("[web]", old.web != new.web),
            ("[metrics]", old.metrics != new.metrics),
            ("[control]", old.control != new.control),
            ("[web]", old.web != new.web),
            ("[[sink]]", old.sinks != new.sinks),
            ("[[workload]]", old.workloads != new.workloads),
            ("[[database]]", old.databases != new.databases),
            ("[[listen]]", old.listens != new.listens),
            ("[[exec]]", old.execs != new.execs),
            ("[raw_sockets]", old.raw_sockets != new.raw_sockets),
            ("[process_memory]", old.process_memory != new.process_memory),
            ("how [packets] attaches to interfaces", attaches(&old) != attaches(&new)),
        ];
        let differing = elsewhere.into_iter().filter_map(|(part, differs)| differs.then_some(part));
        Difference { packets, elsewhere: differing.collect() }
    }

    /// What its files say, each with its path: enough to have it again.
    #[must_use]
    pub fn texts(&self) -> Vec<(PathBuf, String)> {
        self.sources.iter().map(|source| (source.path.clone(), source.text.clone())).collect()
    }

    /// Read once more from its texts, without places.
    pub(crate) fn without_places(&self) -> Option<Self> {
        let mut diagnostics = Vec::new();
        let parse = |source: &Arc<Source>| syntax::parse(Arc::new(source.without_places()), &mut Vec::new());
        let parsed: Vec<_> = self.sources.iter().map(parse).collect();
        let mut plain = resolve(&parsed, self.sha256, &mut diagnostics)?;
        self.modes.iter().for_each(|(rule, mode)| {
            plain.set_mode(rule.as_deref(), *mode);
        });
        Some(plain)
    }

    /// Sets the mode of a rule, or of everything. Whether there is such a rule.
    pub fn set_mode(&mut self, rule: Option<&str>, mode: Mode) -> bool {
        let mut found = rule.is_none();
        let mut set = |name: &str, of: &mut Mode| {
            if rule.is_none_or(|rule| rule == name) {
                *of = mode;
                found = true;
            }
        };
        self.execs.iter_mut().for_each(|rule| set(&rule.name, &mut rule.mode));
        let listening = self.databases.iter_mut().chain(&mut self.listens);
        listening.for_each(|rule| set(&rule.name, &mut rule.mode));
        self.rate_limits.iter_mut().for_each(|rule| set(&rule.name, &mut rule.mode));
        let alone = [
            (RuleKind::RawSockets, &mut self.raw_sockets),
            (RuleKind::ProcessMemory, &mut self.process_memory),
        ];
        for (kind, rule) in alone {
            rule.iter_mut().for_each(|rule| set(kind.name(), &mut rule.mode));
        }
        if rule.is_none() {
            self.mode = mode;
            self.modes.clear();
        }
        if found {
            self.modes.retain(|(other, _)| other.as_deref() != rule);
            self.modes.push((rule.map(str::to_owned), mode));
        }
        found
    }

    /// The rules about databases and about who may listen, as the kernel programs count them.
    pub fn endpoints(&self) -> impl Iterator<Item = &Database> {
        self.databases.iter().chain(&self.listens)
    }

    /// The rules of which there is one.
    pub fn alone(&self) -> impl Iterator<Item = (RuleKind, &Only)> {
        let memory = self.process_memory.iter().map(|rule| (RuleKind::ProcessMemory, rule));
        self.raw_sockets.iter().map(|rule| (RuleKind::RawSockets, rule)).chain(memory)
    }

    /// The names of all rules.
    pub fn rule_names(&self) -> impl Iterator<Item = &str> {
        let execs = self.execs.iter().map(|rule| &*rule.name);
        let databases = self.endpoints().map(|rule| &*rule.name);
        let limits = self.rate_limits.iter().map(|rule| &*rule.name);
        execs.chain(databases).chain(limits).chain(self.alone().map(|(kind, _)| kind.name()))
    }
}

/// The given files, each followed by those of the `policy.d` beside it.
fn with_fragments(paths: &[PathBuf], diagnostics: &mut Vec<Diagnostic>) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for path in paths {
        all.push(path.clone());
        let directory = path.with_file_name("policy.d");
        if !path.is_file() || !directory.is_dir() {
            continue;
        }
        match list(&directory) {
            Ok(files) if files.len() > MAX_FRAGMENTS => {
                let message = format!("{} files, at most {MAX_FRAGMENTS} are read", files.len());
                let diagnostic = Diagnostic::file(Severity::Error, all.len(), &directory, message);
                diagnostics.push(diagnostic.help("join some of them"));
            }
            Ok(files) => all.extend(files),
            Err(error) => {
                let message = format!("can't list the directory: {error}");
                let diagnostic = Diagnostic::file(Severity::Error, all.len(), &directory, message);
                diagnostics.push(diagnostic.help("make it readable for this user, or remove it"));
            }
        }
    }
    all
}

/// The `*.toml` of a directory in name order, without hidden files.
fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Reads a file, and answers with a message and a help.
fn read(path: &Path) -> Result<Vec<u8>, (String, String)> {
    let metadata = fs::metadata(path).map_err(|error| unreadable(&error))?;
    if metadata.is_dir() {
        let help =
            "name a file in it; files in a `policy.d` are read together with the `monitor.toml` beside it";
        return Err(("is a directory, not a file".into(), help.into()));
    }
    if !metadata.is_file() {
        return Err(("is not a regular file".into(), "write the configuration to a file".into()));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| unreadable(&error))?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let message = format!("is larger than {} MiB", MAX_FILE_BYTES / (1024 * 1024));
        return Err((message, "check that it is the right file; split it into files in `policy.d`".into()));
    }
    Ok(bytes)
}

fn unreadable(error: &io::Error) -> (String, String) {
    let help = match error.kind() {
        io::ErrorKind::NotFound => {
            "check the path; `monitor check --print-default` prints a file to begin with"
        }
        io::ErrorKind::PermissionDenied => "run as a user who may read it, or change its permissions",
        io::ErrorKind::NotADirectory => "check the path: a part of it is a file",
        _ => "check the path and the disk",
    };
    (format!("can't be read: {error}"), help.into())
}

fn not_utf8(order: usize, path: PathBuf, error: std::string::FromUtf8Error) -> Diagnostic {
    let at = error.utf8_error().valid_up_to();
    let byte = error.as_bytes().get(at).copied().unwrap_or(0);
    // What is before stays as it is, so the place is right.
    let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
    let source = Arc::new(Source::new(order, path, text));
    let span = Span::new(at as u32, at as u32 + 1);
    let message = format!("the byte 0x{byte:02x} is not valid UTF-8");
    Diagnostic::new(Severity::Error, &source, span, message).help("save the file as UTF-8")
}

/// The files that are read without `--config`: the default one, or none for the built-in configuration.
pub(super) fn default_files(main: &Path) -> (Vec<PathBuf>, Vec<Diagnostic>) {
    // A link to nowhere or a file that can't be looked at is an error, not a reason to use something else.
    if !fs::symlink_metadata(main).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return (vec![main.to_owned()], Vec::new());
    }
    let directory = main.with_file_name("policy.d");
    let mut diagnostics = Vec::new();
    if list(&directory).is_ok_and(|files| !files.is_empty()) {
        let name = quoted(&main.to_string_lossy());
        let diagnostic = Diagnostic::file(Severity::Warning, 0, &directory, "its files are not read");
        diagnostics.push(diagnostic.help(format!("they belong to {name}, which doesn't exist: create it")));
    }
    (Vec::new(), diagnostics)
}
