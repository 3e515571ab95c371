//! Collects what the paths, globs and classes of a policy stand for.

use std::path::{Path, PathBuf};

use monitor_common::{
    policy::{Membership, RuleSet, WorkloadSet},
    settings::class,
};

use super::globs::Text;
use crate::{
    config::{Args, Class, Pattern},
    host::file::Tree,
};

/// Names under which dynamic loaders are installed (`ld.so(8)` and the tables of dynamic linker names in the C
/// libraries). One under another name, in another place, is a program like others.
const LOADERS: [&str; 5] =
    ["/**/ld-linux*.so*", "/**/ld-musl-*.so*", "/**/ld-[0-9]*.so", "/**/ld64.so*", "/**/ld.so"];

/// A file that the policy names by path.
#[derive(Clone, Debug)]
pub struct Named {
    /// The path.
    pub path: PathBuf,
    /// What the file stands for.
    pub member: Membership,
    /// What its content must be (SHA-256, one of these) for it to count as a member; empty: anything.
    pub sha256: Vec<[u8; 32]>,
}

/// What the patterns of a policy stand for, while it is being collected.
pub(super) struct Patterns<'a> {
    tree: Option<&'a Tree>,
    pub(super) paths: Vec<Named>,
    pub(super) globs: Vec<(Text, Membership)>,
    pub(super) classes: [Membership; class::COUNT as usize],
}

impl<'a> Patterns<'a> {
    /// Nothing yet. Links are followed in `tree`; without one they are taken as written.
    pub(super) fn new(tree: Option<&'a Tree>) -> Self {
        let classes = [Membership::NONE; class::COUNT as usize];
        Self { tree, paths: Vec::new(), globs: Vec::new(), classes }
    }

    /// Adds a pattern of executed files.
    pub(super) fn add(&mut self, pattern: &Pattern, member: Membership, sha256: &[[u8; 32]]) {
        match pattern {
            // A directory stands for what is below it.
            Pattern::Path(path) if self.is_directory(path) => self.glob(&format!("{path}/**"), member),
            Pattern::Path(path) => {
                self.paths.push(Named { path: path.into(), member, sha256: sha256.to_vec() })
            }
            Pattern::Glob(glob) => self.glob(glob, member),
            Pattern::Class(Class::Loader) => {
                let loaders = LOADERS.iter().map(|glob| (Text::File((*glob).to_owned()), member));
                self.globs.extend(loaders);
            }
            Pattern::Class(of) => {
                let class = match of {
                    Class::Memfd => class::MEMFD,
                    Class::Deleted => class::DELETED,
                    Class::Unplaced | Class::Loader => class::UNPLACED,
                };
                self.classes[class as usize].add(&member);
            }
        }
    }

    /// Has processes that run a dynamic loader be known as such.
    pub(super) fn know_loaders(&mut self) {
        let member = Membership { flags: Membership::LOADER, ..Membership::NONE };
        self.globs.extend(LOADERS.iter().map(|glob| (Text::File((*glob).to_owned()), member)));
    }

    /// Adds a path or glob of sockets, which may not exist yet.
    pub(super) fn socket(&mut self, pattern: &Pattern, member: Membership) {
        if let Pattern::Path(text) | Pattern::Glob(text) = pattern {
            let real = self.real(text);
            self.globs.push((Text::Socket(real), member));
        }
    }

    /// Adds what an exec rule asks of arguments.
    pub(super) fn arguments(&mut self, args: Option<&Args>, member: Membership) {
        let Some(args) = args else { return };
        let contains = args.contains.iter().map(|text| Text::Contains(text.value.clone()));
        let globs = args.globs.iter().map(|glob| Text::Argument(glob.value.clone()));
        self.globs.extend(contains.chain(globs).map(|text| (text, member)));
    }

    fn glob(&mut self, glob: &str, member: Membership) {
        let real = self.real(glob);
        self.globs.push((Text::File(real), member));
        // A path that is too long to be compared counts as named by a deny-list, never as a workload.
        self.classes[class::OVERLONG as usize].add(&Membership { workloads: WorkloadSet::EMPTY, ..member });
    }

    fn is_directory(&self, path: &str) -> bool {
        self.tree.and_then(|tree| tree.resolve(Path::new(path)).ok()).is_some_and(|found| found.is_dir)
    }

    /// A glob whose directories up to the first wildcard (or the last component) are followed to where they really
    /// are: what runs from `/bin` lies in `/usr/bin` on a merged system.
    fn real(&self, glob: &str) -> String {
        let wild = glob.find(['*', '?', '[', '{']).unwrap_or(glob.len());
        let (directory, rest) = glob.split_at(glob[..wild].rfind('/').unwrap_or(0));
        let real = self
            .tree
            .and_then(|tree| tree.resolve(Path::new(directory)).ok())
            .and_then(|found| found.path.into_os_string().into_string().ok());
        // A name with wildcard characters in it would be read as a glob; then the path is taken as it is written.
        let real = real.filter(|real| real != "/" && !real.contains(['*', '?', '[', '{', '\\']));
        format!("{}{rest}", real.as_deref().unwrap_or(directory))
    }

    /// Takes allow-lists out of what an unreadable path counts as: nobody knows whether it is on the list.
    pub(super) fn distrust_overlong(&mut self, allow: &RuleSet) {
        let overlong = &mut self.classes[class::OVERLONG as usize];
        overlong.rules = overlong.rules.without(allow);
    }
}
