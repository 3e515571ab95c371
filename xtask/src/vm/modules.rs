//! Kernel modules: which files a guest needs, and in which order they are loaded.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::{context::Context, shell::Cmd};

/// A module's file, as the kernel loads it.
#[derive(Debug)]
pub struct Module {
    /// Its name, with `_` for `-`.
    pub name: String,
    /// Its ELF object, not compressed.
    pub object: PathBuf,
}

/// Returns the modules wanted and those they depend on, each after what it depends on. `unpacked` is where
/// compressed ones are unpacked to.
pub fn collect(context: &Context, root: &Path, wanted: &[&str], unpacked: &Path) -> Result<Vec<Module>> {
    let mut collector = Collector {
        context,
        unpacked,
        files: HashMap::new(),
        built_in: HashSet::new(),
        seen: HashSet::new(),
        found: Vec::new(),
    };
    collector.index(&tree(root)?)?;
    fs::create_dir_all(unpacked).with_context(|| format!("making {}", unpacked.display()))?;
    for name in wanted {
        collector.add(&normal(name))?;
    }
    Ok(collector.found)
}

/// The directory of the one kernel release unpacked in `root`.
pub fn tree(root: &Path) -> Result<PathBuf> {
    for parent in ["lib/modules", "usr/lib/modules"] {
        let Ok(mut entries) = fs::read_dir(root.join(parent)) else { continue };
        if let Some(entry) = entries.next() {
            return Ok(entry?.path());
        }
    }
    bail!("{} has no kernel modules: remove it, and it is fetched again", root.display())
}

struct Collector<'a> {
    context: &'a Context,
    unpacked: &'a Path,
    files: HashMap<String, PathBuf>,
    built_in: HashSet<String>,
    seen: HashSet<String>,
    found: Vec<Module>,
}

impl Collector<'_> {
    /// Finds all modules. `modules.dep` can't be used: it is only made when a package is installed.
    fn index(&mut self, tree: &Path) -> Result<()> {
        let built_in = fs::read_to_string(tree.join("modules.builtin")).unwrap_or_default();
        self.built_in = built_in.lines().filter_map(|line| module_name(Path::new(line))).collect();
        let mut directories = vec![tree.to_path_buf()];
        while let Some(directory) = directories.pop() {
            for entry in
                fs::read_dir(&directory).with_context(|| format!("reading {}", directory.display()))?
            {
                let entry = entry?;
                let path = entry.path();
                if entry.file_type()?.is_dir() {
                    directories.push(path);
                } else if let Some(name) = module_name(&path) {
                    self.files.insert(name, path);
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, name: &str) -> Result<()> {
        if self.built_in.contains(name) || !self.seen.insert(name.to_owned()) {
            return Ok(());
        }
        let Some(file) = self.files.get(name) else { bail!("this kernel has no module `{name}`") };
        let object = self.unpack(name, file)?;
        let bytes = fs::read(&object).with_context(|| format!("reading {}", object.display()))?;
        for dependency in dependencies(&bytes) {
            self.add(&dependency)?;
        }
        self.found.push(Module { name: name.to_owned(), object });
        Ok(())
    }

    fn unpack(&self, name: &str, file: &Path) -> Result<PathBuf> {
        if file.extension() == Some(OsStr::new("ko")) {
            return Ok(file.to_path_buf());
        }
        let object = self.unpacked.join(format!("{name}.ko"));
        let target = fs::File::create(&object).with_context(|| format!("writing {}", object.display()))?;
        let mut xz = Cmd::new(self.context, "xz").args(["--decompress", "--stdout"]).arg(file).into_inner();
        let status = xz.stdout(target).status().context("starting `xz`: install the package xz-utils")?;
        anyhow::ensure!(status.success(), "unpacking {} with xz failed: {status}", file.display());
        Ok(object)
    }
}

/// `a/b-c.ko.xz` is the module `b_c`.
fn module_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let stem = name.strip_suffix(".ko").or_else(|| name.strip_suffix(".ko.xz"))?;
    Some(normal(stem))
}

fn normal(name: &str) -> String {
    name.replace('-', "_")
}

/// What a module says in its `.modinfo` section, a row of NUL-terminated `key=value` strings of which `depends` is
/// the only one of that name.
fn dependencies(object: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(start) = object.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let value = object[start + KEY.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
    let value = String::from_utf8_lossy(value);
    value.split(',').filter(|name| !name.is_empty()).map(normal).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(module_name(Path::new("kernel/net/sch-x.ko.xz")).as_deref(), Some("sch_x"));
        assert_eq!(module_name(Path::new("kernel/net/veth.ko")).as_deref(), Some("veth"));
        assert_eq!(module_name(Path::new("modules.order")), None);
    }

    #[test]
    fn dependencies_come_from_modinfo() {
        assert_eq!(
            dependencies(b"\x7fELF..\0license=GPL\0depends=garp,mrp-x\0name=8021q\0"),
            ["garp", "mrp_x"]
        );
        assert!(dependencies(b"\x7fELF..\0depends=\0name=veth\0").is_empty());
        assert!(dependencies(b"no such thing").is_empty());
    }
}
