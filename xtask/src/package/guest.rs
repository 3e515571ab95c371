//! Installs the package where systemd is process 1: in an emulated machine, whose file system is made of packages that this
//! machine has installed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    context::Context,
    shell::{Cmd, step},
    vm::{self, Archive},
};

/// The kernel that is booted. The verifier of 6.1 takes five times as long.
const KERNEL: &str = "6.12";

/// How long the check may take, emulated.
const LIMIT: Duration = Duration::from_secs(900);

/// What the machine has besides packages that every Debian system has.
const PACKAGES: [&str; 3] = ["systemd", "systemd-sysv", "dbus"];

/// Directories whose files nobody reads there.
const DULL: [&str; 5] =
    ["/usr/share/doc/", "/usr/share/man/", "/usr/share/locale/", "/usr/share/info/", "/usr/share/zoneinfo/"];

/// Links at the top of a merged `/usr`.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// Whether this machine has what the other one is made of.
pub(super) fn is_possible(context: &Context) -> bool {
    PACKAGES.iter().all(|name| Cmd::new(context, "dpkg-query").args(["-W", name]).succeeds())
}

/// Installs, uses, upgrades and removes the package under systemd.
pub(super) fn check(context: &Context, deb: &Path) -> Result<()> {
    let directory = context.path("target/package/guest");
    fs::create_dir_all(&directory).with_context(|| format!("making {}", directory.display()))?;
    let newer = newer(context, deb, &directory)?;
    let image = directory.join("system.cpio");
    let mut archive = Archive::create(&image)?;
    let packages = Packages::installed(context)?;
    let files = packages.files(&packages.closure(&PACKAGES))?;
    system(&mut archive, &files)?;
    archive.copy("root/monitor.deb", deb)?;
    archive.copy("root/newer.deb", &newer)?;
    archive.file("root/check", CHECK.as_bytes())?;
    let size = archive.finish()?;
    step(&format!("a system with systemd: {} files, {} MB", files.len(), size >> 20));
    vm::boot_other(context, KERNEL, image, size, "systemd.unit=multi-user.target", LIMIT)
}

/// The same package as a version to upgrade to.
fn newer(context: &Context, deb: &Path, directory: &Path) -> Result<PathBuf> {
    let (tree, newer) = (directory.join("tree"), directory.join("newer.deb"));
    if tree.exists() {
        fs::remove_dir_all(&tree).with_context(|| format!("removing {}", tree.display()))?;
    }
    Cmd::new(context, "dpkg-deb").arg("--raw-extract").arg(deb).arg(&tree).run()?;
    let control = tree.join("DEBIAN/control");
    let text = fs::read_to_string(&control).context("reading the package's control file")?;
    let lines: Vec<String> = text
        .lines()
        .map(|line| line.strip_prefix("Version: ").map_or(line.to_owned(), |old| format!("Version: {old}.1")))
        .collect();
    fs::write(&control, lines.join("\n") + "\n").context("writing the package's control file")?;
    // Nothing is won by packing it well.
    let cmd = Cmd::new(context, "dpkg-deb").args(["--root-owner-group", "-Znone", "--build"]);
    cmd.arg(&tree).arg(&newer).read()?;
    Ok(newer)
}

/// A package as dpkg knows it.
struct Package {
    /// Where its list of files is, below dpkg's directory.
    list: String,
    essential: bool,
    /// What it depends on, as the package says.
    depends: String,
}

struct Packages(BTreeMap<String, Package>);

impl Packages {
    fn installed(context: &Context) -> Result<Self> {
        const FORMAT: &str = r"${Package}\t${binary:Package}\t${Essential}\t${Pre-Depends}, ${Depends}\n";
        let said = Cmd::new(context, "dpkg-query").args(["-W", "-f", FORMAT]).read()?;
        Ok(Self::read(&said))
    }

    fn read(said: &str) -> Self {
        let package = |line: &str| {
            let mut fields = line.split('\t');
            let (name, list) = (fields.next()?.to_owned(), fields.next()?.to_owned());
            let (essential, depends) = (fields.next()? == "yes", fields.next()?.to_owned());
            Some((name, Package { list, essential, depends }))
        };
        Self(said.lines().filter_map(package).collect())
    }

    /// Those packages, the essential ones, and all that they need.
    fn closure(&self, names: &[&str]) -> BTreeSet<&str> {
        let essential = self.0.iter().filter(|(_, package)| package.essential);
        let mut waiting: Vec<&str> = essential.map(|(name, _)| name.as_str()).collect();
        waiting.extend(self.0.keys().map(String::as_str).filter(|name| names.contains(name)));
        let mut found = BTreeSet::new();
        while let Some(name) = waiting.pop() {
            let Some(package) = self.0.get(name).filter(|_| found.insert(name)) else { continue };
            for need in package.depends.split(',') {
                // Of alternatives the first that is installed; `name:any (>= 1)` is `name`.
                let mut names = need.split('|').filter_map(|one| one.trim().split([' ', ':']).next());
                waiting
                    .extend(names.find_map(|name| self.0.get_key_value(name)).map(|(name, _)| name.as_str()));
            }
        }
        found
    }

    /// Their files, as they are called on this machine.
    fn files(&self, names: &BTreeSet<&str>) -> Result<BTreeSet<PathBuf>> {
        let mut files = BTreeSet::new();
        for package in names.iter().filter_map(|name| self.0.get(*name)) {
            let list = format!("/var/lib/dpkg/info/{}.list", package.list);
            let text = fs::read_to_string(&list).with_context(|| format!("reading {list}"))?;
            files.extend(text.lines().filter(|path| !is_dull(path)).filter_map(|path| real(Path::new(path))));
        }
        ensure!(!files.is_empty(), "no package has files");
        Ok(files)
    }
}

fn is_dull(path: &str) -> bool {
    DULL.iter().any(|directory| path.starts_with(directory))
}

/// The path with the links of its directories followed; none of what isn't there.
fn real(path: &Path) -> Option<PathBuf> {
    let meta = fs::symlink_metadata(path).ok()?;
    let name = path.file_name()?;
    // The links of a merged /usr are made apart.
    let merged = path.parent() == Some(Path::new("/")) && meta.is_symlink();
    let directory = fs::canonicalize(path.parent()?).ok()?;
    (!merged).then(|| directory.join(name))
}

/// A system that boots, as far as packages have it.
fn system<W: std::io::Write>(archive: &mut Archive<W>, files: &BTreeSet<PathBuf>) -> Result<()> {
    for path in files {
        let inside = path.strip_prefix("/").unwrap_or(path);
        let inside = inside.to_str().context("a package has a file whose name isn't valid UTF-8")?;
        let meta = fs::symlink_metadata(path).with_context(|| format!("looking at {}", path.display()))?;
        if meta.is_symlink() {
            let target = fs::read_link(path).with_context(|| format!("reading {}", path.display()))?;
            archive.link(inside, target.to_str().context("a link's target isn't valid UTF-8")?)?;
        } else if meta.is_dir() {
            archive.directory(inside)?;
        } else if meta.is_file() {
            archive.copy(inside, path)?;
        }
    }
    for name in MERGED {
        if let Ok(target) = fs::read_link(Path::new("/").join(name)) {
            archive.link(name, target.to_str().context("a link's target isn't valid UTF-8")?)?;
        }
    }
    // What packages make when they are configured.
    archive.link("init", "/usr/lib/systemd/systemd")?;
    archive.file("etc/passwd", b"root:x:0:0:root:/root:/bin/bash\nmessagebus:x:100:100::/nonexistent:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n")?;
    archive.file(
        "etc/group",
        b"root:x:0:\nadm:x:4:\nsystemd-journal:x:101:\nmessagebus:x:100:\nnogroup:x:65534:\n",
    )?;
    archive.file("etc/nsswitch.conf", b"passwd: files\ngroup: files\nhosts: files\n")?;
    archive.file("etc/machine-id", b"0123456789abcdef0123456789abcdef\n")?;
    archive.file("etc/hostname", b"guest\n")?;
    archive.file("etc/fstab", b"")?;
    archive.file("var/lib/dpkg/status", b"")?;
    archive.file("var/lib/dpkg/available", b"")?;
    for directory in ["info", "updates", "triggers", "parts", "alternatives"] {
        archive.directory(&format!("var/lib/dpkg/{directory}"))?;
    }
    for directory in ["proc", "sys", "dev", "run", "tmp", "root", "mnt", "var/log", "var/tmp", "opt"] {
        archive.directory(directory)?;
    }
    archive.file("etc/systemd/system/check.service", UNIT.as_bytes())?;
    archive
        .link("etc/systemd/system/multi-user.target.wants/check.service", "/etc/systemd/system/check.service")
}

/// Runs the check when the system is up.
const UNIT: &str = "[Unit]
Description=Check of the package
After=basic.target dbus.service

[Service]
Type=oneshot
ExecStart=/bin/bash /root/check
TimeoutStartSec=infinity
StandardOutput=file:/dev/ttyS1
StandardError=file:/dev/ttyS1
";

/// What is done there. Its words are those of `tests/src/bin/guest-init.rs` and of libtest. A program that is denied by the policy
/// leaves a file when it runs all the same.
const CHECK: &str = r#"
passed=0 now=preparations
off() { echo "@guest off $1"; sleep 1; echo b > /proc/sysrq-trigger; }
failed() {
  echo "test package::$now ... FAILED (line $1)"
  systemctl --no-pager status monitor; journalctl --no-pager -n 60 -u monitor; tail -n 20 /root/log
  echo "test result: FAILED. $passed passed; 1 failed; 0 ignored"
  echo "@guest end package exit=101"
  off 17; exit 1
}
trap 'failed $LINENO' ERR
set -E
begin() { now=$1; }
ok() { passed=$((passed + 1)); echo "test package::$now ... ok"; }
runs() { rm -f /run/ran; /opt/denied /run/ran 2>/run/said; [ -e /run/ran ]; }
refused() { rm -f /run/ran; if /opt/denied /run/ran 2>/run/said; then return 1; fi; [ ! -e /run/ran ] && grep -q 'not permitted' /run/said; }
# A loop of attempts, from `hold` to `held`.
hold() { rm -f /run/ran; touch /run/go; (n=0; while [ -e /run/go ]; do /opt/denied /run/ran 2>/dev/null || n=$((n + 1)); done; echo $n > /run/tries) & holder=$!; }
held() { rm /run/go; wait $holder; [ ! -e /run/ran ] && [ "$(cat /run/tries)" -gt 20 ]; }
pid() { systemctl show --property MainPID --value monitor; }
policy() { cat > /etc/monitor/policy.d/10-denied.toml; chmod 640 /etc/monitor/policy.d/10-denied.toml; }
echo "@guest up"
echo "@guest begin package"
cp /usr/bin/touch /opt/denied
runs

begin it_is_installed_and_runs_at_once
dpkg --install /root/monitor.deb > /root/log 2>&1
systemctl --quiet is-active monitor
systemctl --quiet is-enabled monitor
monitor status --quiet
journalctl --no-pager -u monitor | grep -q 'ready: observe mode'
runs
ok

begin a_changed_policy_is_in_force_after_a_restart
policy <<T
[[exec]]
name = "denied"
deny = ["/opt/denied"]
mode = "enforce"
severity = "high"
T
printf '\n[[sink]]\ntype = "journald"\n' >> /etc/monitor/monitor.toml
monitor check --deny warnings /etc/monitor/monitor.toml >> /root/log 2>&1
# A sink is opened at the start: that it takes a restart is said.
if monitor reload >> /root/log 2>&1; then failed $LINENO; fi
grep -q 'restart' /root/log
systemctl restart monitor
refused
ok

begin findings_are_in_the_journal_with_fields
for tries in $(seq 50); do journalctl --no-pager -o json MONITOR_RULE=denied > /run/journal; [ -s /run/journal ] && break; sleep 0.2; done
grep -q '"MONITOR_VERDICT":"deny"' /run/journal
grep -q '"PRIORITY":"3"' /run/journal
grep -q '"MONITOR_OBJECT":"/opt/denied"' /run/journal
grep -q '"_SYSTEMD_UNIT":"monitor.service"' /run/journal
ok

begin systemctl_reload_takes_a_policy_without_a_gap
policy <<T
[[exec]]
name = "denied"
deny = ["/opt/denied", "/opt/another"]
mode = "enforce"
severity = "high"
T
cp /usr/bin/touch /opt/another
hold; before=$(pid)
systemctl reload monitor
for tries in $(seq 300); do if ! /opt/another /run/another 2>/dev/null; then break; fi; sleep 0.2; done
rm -f /run/another
if /opt/another /run/another 2>/dev/null; then failed $LINENO; fi
held
[ "$(pid)" = "$before" ]
ok

begin a_restart_opens_no_gap
hold; before=$(pid)
systemctl restart monitor
held
[ "$(pid)" != "$before" ]
ok

begin what_is_in_force_stays_so_without_the_service
systemctl stop monitor
refused
ok
begin a_killed_agent_comes_again
systemctl start monitor
hold; before=$(pid)
kill -KILL "$before"
for tries in $(seq 600); do [ "$(pid)" != "$before" ] && systemctl --quiet is-active monitor && break; sleep 0.2; done
systemctl --quiet is-active monitor
held
ok

begin an_upgrade_opens_no_gap_and_keeps_the_policy
hold; before=$(pid)
dpkg --install /root/newer.deb >> /root/log 2>&1
systemctl --quiet is-active monitor
held
[ "$(pid)" != "$before" ]
refused
monitor status --quiet
ok

begin a_removed_package_leaves_nothing_in_force
dpkg --remove monitor >> /root/log 2>&1
runs
[ ! -e /sys/fs/bpf/monitor ] || [ -z "$(find /sys/fs/bpf/monitor -type f)" ]
[ -e /etc/monitor/monitor.toml ]
if systemctl --quiet is-active monitor; then failed $LINENO; fi
dpkg --purge monitor >> /root/log 2>&1
[ ! -e /etc/monitor/monitor.toml ] && [ ! -e /var/lib/monitor ] && [ ! -e /run/monitor ]
ok
echo "test result: ok. $passed passed; 0 failed; 0 ignored"
echo "@guest end package exit=0"
off 16
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_come_with_what_they_need_and_nothing_else() {
        let packages = Packages::read(
            "bash\tbash\tyes\tlibc6 (>= 2.36), \n\
             libc6\tlibc6:amd64\tno\t, libgcc-s1\n\
             libgcc-s1\tlibgcc-s1:amd64\tno\t, gcc-12-base (= 12), libc6\n\
             mawk\tmawk\tno\t, \n\
             dbus\tdbus\tno\t, default-init | mawk:any, absent (>= 1)\n\
             editor\teditor\tno\t, dbus\n",
        );
        let found: Vec<&str> = packages.closure(&["dbus"]).into_iter().collect();
        assert_eq!(found, ["bash", "dbus", "libc6", "libgcc-s1", "mawk"]);
        assert_eq!(packages.0["libc6"].list, "libc6:amd64");
    }

    #[test]
    fn what_is_not_there_and_what_links_to_usr_is_left_out() {
        assert_eq!(real(Path::new("/no/such/file")), None);
        assert!(is_dull("/usr/share/doc/bash/README") && !is_dull("/usr/bin/bash"));
    }
}
