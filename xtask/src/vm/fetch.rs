//! Debian's kernel packages, fetched and unpacked below `target/vm` without root and without a change to the machine.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use super::{
    kernels::{Kernel, newest},
    mirror::Mirror,
    modules,
};
use crate::{
    context::Context,
    shell::{Cmd, note, step},
};

/// Debian's own keys, of the package `debian-archive-keyring`, which every Debian system has.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Settings of the machine's apt that say how to reach a mirror. Everything else is left behind.
const KEPT: [&str; 5] =
    ["Acquire::http", "Acquire::https", "Acquire::Check-", "Acquire::Retries", "Acquire::Force"];

/// Where a kernel's things are: `target/vm/NAME`.
pub fn directory(context: &Context, kernel: &Kernel) -> PathBuf {
    context.target("vm").join(kernel.name)
}

/// A kernel's unpacked packages. While this lives, no other process uses or changes what is in its [`directory`].
#[derive(Debug)]
pub struct Unpacked {
    /// The directory with their files.
    pub root: PathBuf,
    _lock: File,
}

/// Makes a kernel's files present.
///
/// What is there is taken as it is; `update` asks the mirror for a newer release.
pub fn ensure(context: &Context, kernel: &Kernel, update: bool) -> Result<Unpacked> {
    let directory = directory(context, kernel);
    let lock = lock(kernel, &directory)?;
    let root = directory.join("root");
    fetch(context, kernel, &directory, &root, update)?;
    Ok(Unpacked { root, _lock: lock })
}

fn lock(kernel: &Kernel, directory: &Path) -> Result<File> {
    fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
    let path = directory.join("lock");
    let file = File::create(&path).with_context(|| format!("opening {}", path.display()))?;
    if file.try_lock().is_err() {
        note(&format!("kernel {}: another guest of this clone runs; waiting for its end", kernel.name));
        file.lock().with_context(|| format!("locking {}", path.display()))?;
    }
    Ok(file)
}

fn fetch(context: &Context, kernel: &Kernel, directory: &Path, root: &Path, update: bool) -> Result<()> {
    let record = directory.join("packages");
    let present = fs::read_to_string(&record).unwrap_or_default();
    if !present.is_empty() && root.is_dir() && !update {
        return Ok(());
    }
    let apt = Apt::new(context, kernel, directory)?;
    step(&format!("kernel {}: reading the package index of {}", kernel.name, kernel.suite));
    apt.command("apt-get").args(["--quiet", "update"]).read()?;
    let packages = apt.resolve(kernel)?;
    if packages.join("\n") == present && root.is_dir() {
        return Ok(());
    }
    // The record is written last: an interrupted fetch isn't taken for a finished one.
    drop(fs::remove_file(&record));
    remove_tree(root)?;
    for package in &packages {
        let file = apt.download(package)?;
        step(&format!("kernel {}: unpacking {package}", kernel.name));
        Cmd::new(context, "dpkg-deb").arg("--extract").arg(&file).arg(root).read()?;
        fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
    }
    fs::write(&record, packages.join("\n")).with_context(|| format!("writing {}", record.display()))?;
    Ok(())
}

/// The kernel itself, among the files of its packages.
pub fn image(root: &Path) -> Result<PathBuf> {
    let named =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz"));
    for directory in [root.join("boot"), modules::tree(root)?] {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        if let Some(path) = entries.filter_map(|entry| Some(entry.ok()?.path())).find(named) {
            return Ok(path);
        }
    }
    bail!("{} has no kernel: remove it, and it is fetched again", root.display())
}

/// apt with a state of its own.
struct Apt<'a> {
    context: &'a Context,
    directory: PathBuf,
}

impl<'a> Apt<'a> {
    fn new(context: &'a Context, kernel: &Kernel, directory: &Path) -> Result<Self> {
        if !Path::new(KEYRING).is_file() {
            bail!("{KEYRING} is missing: install the package debian-archive-keyring");
        }
        let mirror = Mirror::of_machine()?;
        let address = mirror.address(kernel.suite)?;
        let directory = directory.join("apt");
        for part in ["lists/partial", "cache/archives/partial", "empty", "packages"] {
            let path = directory.join(part);
            fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        }
        let machine = Cmd::new(context, "apt-config").args(["dump", "Acquire"]).read()?;
        let write = |name: &str, text: &str| {
            let path = directory.join(name);
            fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
        };
        write("apt.conf", &configuration(&directory, &machine))?;
        write("status", "")?;
        write("sources.list", &format!("deb [signed-by={KEYRING}] {address} {} main\n", kernel.suite))?;
        Ok(Self { context, directory })
    }

    fn command(&self, program: &str) -> Cmd {
        let configuration = self.directory.join("apt.conf");
        Cmd::new(self.context, program)
            .dir(self.directory.join("packages"))
            .hidden_env("APT_CONFIG", configuration)
    }

    /// The newest release of each package; those of one kernel are of one release.
    fn resolve(&self, kernel: &Kernel) -> Result<Vec<String>> {
        let names = self.command("apt-cache").args(["pkgnames", "linux-"]).read()?;
        let (mut found, mut release) = (Vec::new(), "*");
        for pattern in kernel.packages {
            let pattern = pattern.replace('*', release);
            let name = newest(&pattern, names.lines()).with_context(|| {
                format!(
                    "the suite {} has no package `{pattern}`: mend the kernel's row in the ladder",
                    kernel.suite
                )
            })?;
            if let Some((before, after)) = pattern.split_once('*') {
                release = &name[before.len()..name.len() - after.len()];
            }
            found.push(name.to_owned());
        }
        Ok(found)
    }

    /// Downloads one package without what it depends on.
    fn download(&self, package: &str) -> Result<PathBuf> {
        let packages = self.directory.join("packages");
        remove_tree(&packages)?;
        fs::create_dir_all(&packages).with_context(|| format!("making {}", packages.display()))?;
        self.command("apt-get").args(["download", package]).run()?;
        let entry =
            fs::read_dir(&packages).with_context(|| format!("reading {}", packages.display()))?.next();
        Ok(entry.with_context(|| format!("apt-get downloaded nothing for {package}"))??.path())
    }
}

/// A complete apt configuration: the machine's own is not read besides it, except for `machine`, which is the output
/// of `apt-config dump Acquire`.
fn configuration(directory: &Path, machine: &str) -> String {
    let mut text: String = machine
        .lines()
        .filter(|line| KEPT.iter().any(|kept| line.starts_with(kept)))
        .flat_map(|line| [line, "\n"])
        .collect();
    let paths = [
        ("Dir::State", ""),
        ("Dir::State::lists", "lists"),
        ("Dir::State::status", "status"),
        ("Dir::Cache", "cache"),
        ("Dir::Etc::main", "empty/none"),
        ("Dir::Etc::parts", "empty"),
        ("Dir::Etc::sourcelist", "sources.list"),
        ("Dir::Etc::sourceparts", "empty"),
        ("Dir::Etc::preferences", "empty/none"),
        ("Dir::Etc::preferencesparts", "empty"),
    ];
    for (name, path) in paths {
        text.push_str(&format!("{name} \"{}\";\n", directory.join(path).display()));
    }
    // The target directory may lie where apt's own user can't reach, and nothing here is installed.
    text.push_str(
        "APT::Sandbox::User \"root\";\nAPT::Architecture \"amd64\";\nAPT::Architectures { \"amd64\"; };\n",
    );
    // Without the mode an index that can't be had is a warning.
    text.push_str("Acquire::Languages \"none\";\nAPT::Update::Error-Mode \"any\";\n");
    text
}

fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_how_to_reach_a_mirror_and_nothing_else() {
        let machine = "Acquire \"\";\nAcquire::http::Proxy \"http://proxy.test:3128\";\n\
                       Acquire::IndexTargets::deb::DEP-11::MetaKey \"x\";\nAcquire::Check-Valid-Until \"false\";\n";
        let text = configuration(Path::new("/t/apt"), machine);
        assert!(text.contains("Acquire::http::Proxy \"http://proxy.test:3128\";\n"));
        assert!(text.contains("Acquire::Check-Valid-Until"));
        assert!(!text.contains("IndexTargets"));
        assert!(text.contains("Dir::State::lists \"/t/apt/lists\";\n"));
    }
}
