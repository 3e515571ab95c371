//! Compiles all globs of a policy into the one automaton that the kernel programs walk.

use std::collections::HashMap;

use anyhow::{Context as _, Result, anyhow, bail};
use monitor_common::{
    glob::{Automaton, DEAD, START, STATES, TRANSITIONS},
    policy::Membership,
    settings::tag,
};
use regex_automata::{
    Anchored, Input, MatchKind,
    dfa::{Automaton as _, StartKind, dense},
    nfa::thompson,
    util::{primitives::StateID, syntax},
};

/// The automaton, and what each of its states stands for when a path ends there.
pub struct Globs {
    /// As it goes to the kernel.
    pub automaton: Box<Automaton>,
    /// By state.
    pub ends: Vec<Membership>,
}

/// Size of the automaton under construction at which the globs are called too complex, in bytes: a row is up to 256
/// transitions of four bytes, and unlike ours has one for each kind of end.
const BUILD_LIMIT: usize = STATES * 256 * 4;

impl Globs {
    /// What the path of a file stands for.
    #[must_use]
    pub fn matches(&self, path: &[u8]) -> Membership {
        self.end(self.automaton.run(path))
    }

    /// What a text with a [`tag`] in front stands for.
    #[must_use]
    pub fn tagged(&self, tag: u8, text: &[u8]) -> Membership {
        self.end(self.automaton.run(&[&[tag], text].concat()))
    }

    fn end(&self, state: u16) -> Membership {
        self.ends.get(usize::from(state)).copied().unwrap_or(Membership::NONE)
    }
}

/// A pattern over one of the texts that the automaton reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// A glob over the path of a file in the host's tree.
    File(String),
    /// A glob over the path of a socket in the host's tree.
    Socket(String),
    /// A glob over the path of a cgroup.
    Cgroup(String),
    /// A glob over the name of a systemd unit of the system, in the path of a cgroup. Only slices may be above it: what
    /// is below a unit or a container is made by whoever runs there, under any name.
    Unit(String),
    /// A text that one of the arguments contains.
    Contains(String),
    /// A glob over one of the arguments.
    Argument(String),
    /// A glob over the name of an interface. Only in an automaton of its own.
    Interface(String),
}

/// Compiles patterns, each with what it stands for.
pub fn compile(globs: &[(Text, Membership)]) -> Result<Globs> {
    let mut automaton =
        <Automaton as zerocopy::FromZeros>::new_box_zeroed().map_err(|_| anyhow!("out of memory"))?;
    if globs.is_empty() {
        return Ok(Globs { automaton, ends: Vec::new() });
    }
    let patterns: Vec<String> = globs.iter().map(|(text, _)| regex(text)).collect();
    let dfa = dense::Builder::new()
        .configure(
            dense::Config::new()
                .match_kind(MatchKind::All)
                .start_kind(StartKind::Anchored)
                .dfa_size_limit(Some(BUILD_LIMIT))
                .determinize_size_limit(Some(BUILD_LIMIT)),
        )
        .syntax(syntax::Config::new().unicode(false).utf8(false))
        .thompson(thompson::Config::new().utf8(false))
        .build_many(&patterns)
        .context("the globs of the policy are together too complex; use fewer `*` and `**` in one glob")?;
    let states = number(&dfa)?;
    let ends = states.iter().map(|state| state.map_or(Membership::NONE, |id| end(&dfa, id, globs))).collect();
    fill(&mut automaton, &dfa, &states)?;
    Ok(Globs { automaton, ends })
}

/// A pattern as a regular expression over bytes. What it may be was checked with the configuration.
fn regex(text: &Text) -> String {
    const COMPONENT: &str = "[^/]";
    /// Arguments are separated by zero bytes; the first is the program's own name, which anybody may choose.
    const ARGUMENT: &str = "[^\\x00]";
    let mut out = String::new();
    match text {
        Text::File(glob) => path(glob, &mut out),
        Text::Socket(glob) => {
            out.push(char::from(tag::SOCKET));
            path(glob, &mut out);
        }
        Text::Cgroup(glob) => {
            out.push(char::from(tag::CGROUP));
            path(glob, &mut out);
        }
        Text::Unit(name) => {
            out.push(char::from(tag::CGROUP));
            out.push_str("(?:/[^/]+[.]slice)*/");
            wildcards(name, COMPONENT, &mut out);
        }
        Text::Interface(name) => wildcards(name, COMPONENT, &mut out),
        Text::Contains(text) => {
            out.push_str(&format!("{}{ARGUMENT}*\\x00.*", char::from(tag::ARGUMENTS)));
            text.bytes().for_each(|byte| literal(byte, &mut out));
            out.push_str(".*");
        }
        Text::Argument(glob) => {
            out.push_str(&format!("{}{ARGUMENT}*\\x00(?:.*\\x00)?", char::from(tag::ARGUMENTS)));
            wildcards(glob, ARGUMENT, &mut out);
            out.push_str("\\x00.*");
        }
    }
    // `.` must match a newline, too.
    format!("(?s-u)^{out}$")
}

fn path(glob: &str, out: &mut String) {
    let mut components = glob.split('/').skip(1).peekable();
    while let Some(component) = components.next() {
        match (component, components.peek().is_some()) {
            // Any number of directories, also none.
            ("**", true) => out.push_str("(?:/[^/]+)*"),
            // Everything below.
            ("**", false) => out.push_str("/.+"),
            _ => {
                out.push('/');
                wildcards(component, "[^/]", out);
            }
        }
    }
}

fn wildcards(component: &str, any: &str, out: &mut String) {
    let mut rest = component;
    let mut in_braces = false;
    while let Some(first) = rest.chars().next() {
        let mut taken = first.len_utf8();
        match first {
            '*' => {
                out.push_str(any);
                out.push('*');
            }
            '?' => out.push_str(any),
            '[' => taken = class(rest, out),
            '{' => {
                in_braces = true;
                out.push_str("(?:");
            }
            '}' if in_braces => {
                in_braces = false;
                out.push(')');
            }
            ',' if in_braces => out.push('|'),
            _ => rest[..taken].bytes().for_each(|byte| literal(byte, out)),
        }
        rest = &rest[taken..];
    }
}

/// A bracket expression; how many bytes of it were taken.
fn class(text: &str, out: &mut String) -> usize {
    let inside = &text[1..];
    let negated = inside.starts_with('!');
    let from = usize::from(negated);
    // A `]` that comes first is meant literally.
    let close = inside[from..]
        .char_indices()
        .skip(1)
        .find(|(_, c)| *c == ']')
        .map_or(inside.len(), |(at, _)| from + at);
    out.push_str(if negated { "[^/" } else { "[" });
    let members = inside.as_bytes().get(from..close).unwrap_or_default();
    for (index, byte) in members.iter().enumerate() {
        let between = index > 0 && index + 1 < members.len();
        if *byte == b'-' && between { out.push('-') } else { literal(*byte, out) }
    }
    out.push(']');
    1 + close + 1
}

fn literal(byte: u8, out: &mut String) {
    use std::fmt::Write as _;
    let _ = write!(out, "\\x{byte:02X}");
}

/// Numbers the states that can be reached, as the kernel's table does: 0 is dead, 1 the start.
fn number(dfa: &dense::DFA<Vec<u32>>) -> Result<Vec<Option<StateID>>> {
    let input = Input::new(b"").anchored(Anchored::Yes);
    let start =
        dfa.start_state_forward(&input).map_err(|error| anyhow!("the automaton has no start: {error}"))?;
    let mut states = vec![None, Some(start)];
    let mut seen = HashMap::from([(start, ())]);
    let mut next = usize::from(START);
    while let Some(Some(state)) = states.get(next).copied() {
        for byte in 0..=u8::MAX {
            let to = dfa.next_state(state, byte);
            if !dfa.is_dead_state(to) && seen.insert(to, ()).is_none() {
                states.push(Some(to));
            }
        }
        next += 1;
        if states.len() > STATES {
            bail!(
                "the globs of the policy need more than {STATES} states; use fewer `*` and `**`, or name files by path"
            );
        }
    }
    Ok(states)
}

/// What it means when a path ends in a state.
fn end(dfa: &dense::DFA<Vec<u32>>, state: StateID, globs: &[(Text, Membership)]) -> Membership {
    let end = dfa.next_eoi_state(state);
    let mut member = Membership::NONE;
    if dfa.is_match_state(end) {
        for index in 0..dfa.match_len(end) {
            if let Some((_, of)) = globs.get(dfa.match_pattern(end, index).as_usize()) {
                member.add(of);
            }
        }
    }
    member
}

/// Writes the table: bytes that no state tells apart share a class.
fn fill(automaton: &mut Automaton, dfa: &dense::DFA<Vec<u32>>, states: &[Option<StateID>]) -> Result<()> {
    let index: HashMap<StateID, u16> =
        states.iter().enumerate().filter_map(|(at, id)| Some(((*id)?, at as u16))).collect();
    let mut classes: HashMap<Vec<u16>, usize> = HashMap::new();
    let mut columns = Vec::new();
    for byte in 0..=u8::MAX {
        let column: Vec<u16> = states
            .iter()
            .map(|state| {
                state.map_or(DEAD, |id| index.get(&dfa.next_state(id, byte)).copied().unwrap_or(DEAD))
            })
            .collect();
        let fresh = classes.len();
        let class = *classes.entry(column).or_insert_with_key(|column| {
            columns.push(column.clone());
            fresh
        });
        automaton.class[usize::from(byte)] = class as u8;
    }
    let width = columns.len().next_power_of_two();
    if width * states.len() > TRANSITIONS {
        bail!("the globs of the policy need more than {TRANSITIONS} transitions; use fewer `*` and `**`");
    }
    automaton.states = states.len() as u32;
    automaton.shift = width.trailing_zeros();
    for (class, column) in columns.iter().enumerate() {
        for (state, next) in column.iter().enumerate() {
            automaton.next[state << automaton.shift | class] = *next;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use monitor_common::policy::WorkloadSet;
    use proptest::prelude::*;

    fn one(index: usize) -> Membership {
        let mut workloads = WorkloadSet::EMPTY;
        workloads.insert(index);
        Membership { workloads, ..Membership::NONE }
    }

    fn matches(glob: &str, path: &str) -> bool {
        let globs = compile(&[(Text::File(glob.to_owned()), one(3))]).unwrap();
        globs.matches(path.as_bytes()) == one(3)
    }

    #[test]
    fn globs_match_what_they_say() {
        for (glob, path, expected) in [
            ("/usr/bin/*sh", "/usr/bin/bash", true),
            ("/usr/bin/*sh", "/usr/bin/sh", true),
            ("/usr/bin/*sh", "/usr/bin/x/sh", false),
            ("/usr/bin/*sh", "/usr/bin/bash2", false),
            ("/tmp/**", "/tmp/a", true),
            ("/tmp/**", "/tmp/a/b/c\nd", true),
            ("/tmp/**", "/tmp", false),
            ("/tmp/**", "/tmp2/a", false),
            ("/a/**/b", "/a/b", true),
            ("/a/**/b", "/a/x/y/b", true),
            ("/a/**/b", "/ab", false),
            ("/**", "/anything/at/all", true),
            ("/**/id", "/usr/bin/id", true),
            ("/lib/[0-9]?/x", "/lib/15/x", true),
            ("/lib/[!0-9]/x", "/lib/a/x", true),
            ("/lib/[!0-9]/x", "/lib///x", false),
            ("/lib/[]a]", "/lib/]", true),
            ("/lib/[a-]", "/lib/-", true),
            ("/{usr,opt}/bin/{a,b}*", "/opt/bin/b9", true),
            ("/{usr,opt}/bin/{a,b}*", "/var/bin/b9", false),
            ("/a.b/c+d", "/a.b/c+d", true),
            ("/a.b/c+d", "/axb/ccd", false),
            ("/größe/*", "/größe/x", true),
        ] {
            assert_eq!(matches(glob, path), expected, "{glob} {path}");
        }
    }

    #[test]
    fn several_globs_add_up() {
        let file = |glob: &str, index| (Text::File(glob.to_owned()), one(index));
        let globs = compile(&[file("/a/*", 0), file("/**", 1), file("/b", 2)]);
        let found = globs.unwrap().matches(b"/a/x");
        assert_eq!(found.workloads.bits[0], 0b11);
    }

    #[test]
    fn too_much_is_an_error_and_nothing_is_nothing() {
        let wild: Vec<_> = (0..20).map(|n| (Text::File(format!("/**/a*{n}*b*/**/c?{n}*")), one(n))).collect();
        assert!(compile(&wild).is_err());
        assert_eq!(compile(&[]).unwrap().matches(b"/x"), Membership::NONE);
    }

    #[test]
    fn each_kind_of_text_has_its_own_patterns() {
        let rows = [
            (Text::Unit("api.service".into()), tag::CGROUP, "/system.slice/api.service", true),
            (Text::Unit("api.service".into()), tag::CGROUP, "/api.service", true),
            (Text::Unit("api.service".into()), tag::CGROUP, "/user.slice/user@1.service/api.service", false),
            (Text::Unit("api.service".into()), tag::CGROUP, "/system.slice/api.service/sub", false),
            (Text::Unit("pg@*.service".into()), tag::CGROUP, "/a.slice/a-b.slice/pg@15.service", true),
            (Text::Cgroup("/".into()), tag::CGROUP, "/", true),
            (Text::Cgroup("/a/*".into()), tag::CGROUP, "/a/b", true),
            (Text::Cgroup("/a".into()), tag::SOCKET, "/a", false),
            (Text::Socket("/run/*/s".into()), tag::SOCKET, "/run/x/s", true),
            (Text::Contains("--dump".into()), tag::ARGUMENTS, "psql\0-x\0--dump=1\0", true),
            (Text::Contains("--dump".into()), tag::ARGUMENTS, "--dump\0-x\0", false),
            (Text::Contains("a b".into()), tag::ARGUMENTS, "x\0a\0b\0", false),
            (Text::Argument("--f=*".into()), tag::ARGUMENTS, "x\0y\0--f=/a/b\0z\0", true),
            (Text::Argument("--f=*".into()), tag::ARGUMENTS, "--f=1\0y\0", false),
            (Text::Argument("-?".into()), tag::ARGUMENTS, "x\0-ab\0", false),
            (Text::Argument("-?".into()), tag::ARGUMENTS, "x\0-a\0", true),
        ];
        for (pattern, tag, text, expected) in rows {
            let globs = compile(&[(pattern.clone(), one(1))]).unwrap();
            assert_eq!(globs.tagged(tag, text.as_bytes()) == one(1), expected, "{pattern:?} {text:?}");
            assert_eq!(globs.matches(text.as_bytes()), Membership::NONE, "{pattern:?} is no file");
        }
    }

    proptest! {
        /// Against globset, an independent reading of the same language.
        #[test]
        fn agrees_with_globset(glob in r"(/([ab*?]{1,3}|[*][*]|\[ab\]|\{a,bb\})){1,4}", path in "(/[ab]{1,3}){1,4}") {
            // Three and more stars in a row are no glob of ours.
            prop_assume!(glob.split('/').all(|part| part == "**" || !part.contains("**")));
            let theirs = globset::GlobBuilder::new(&glob).literal_separator(true).build().unwrap().compile_matcher();
            prop_assert_eq!(matches(&glob, &path), theirs.is_match(&path), "{} {}", glob, path);
        }
    }
}
