//! Installs the package as dpkg does, runs what it brought, and removes it: over this system's own files, but in an overlay
//! and a mount namespace that are thrown away, so that nothing of the machine is touched.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

use crate::{context::Context, shell::Cmd};

/// What the package must bring: a path, and how `dpkg-deb --contents` begins its line.
const CONTENT: [(&str, &str); 9] = [
    ("./usr/bin/monitor", "-rwxr-xr-x 0/0"),
    ("./etc/monitor/monitor.toml", "-rw-r----- 0/0"),
    ("./etc/monitor/policy.d/README", "-rw-r--r-- 0/0"),
    ("./usr/share/monitor/policies/90-shells.toml", "-rw-r--r-- 0/0"),
    ("./usr/lib/systemd/system/monitor.service", "-rw-r--r-- 0/0"),
    ("./usr/share/doc/monitor/policy.md", "-rw-r--r-- 0/0"),
    ("./usr/share/doc/monitor/copyright", "-rw-r--r-- 0/0"),
    ("./usr/share/bash-completion/completions/monitor", "-rw-r--r-- 0/0"),
    ("./usr/share/zsh/vendor-completions/_monitor", "-rw-r--r-- 0/0"),
];

/// What is done in the overlay, by a shell of this system. Each line that fails ends it.
const SCRIPT: &str = r#"set -eu
deb=$1; dir=$2
mount -t tmpfs none "$dir"
mkdir "$dir/upper" "$dir/work" "$dir/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$dir/upper,workdir=$dir/work" "$dir/root"
cp "$deb" "$dir/root/tmp/monitor.deb"
for name in proc sys dev; do mount --rbind "/$name" "$dir/root/$name"; done
mount -t tmpfs none "$dir/root/run"
root() { chroot "$dir/root" "$@"; }
# Nothing of an earlier installation.
root sh -c '! dpkg-query -W monitor 2>/dev/null' && rm -rf "$dir/root/etc/monitor"
root dpkg --install /tmp/monitor.deb
root dpkg --verify monitor
echo "VERSION $(root monitor --version | tr '\n' ' ')"
root monitor check --deny warnings /etc/monitor/monitor.toml
# With all that it brings to begin with.
root sh -c 'cp /usr/share/monitor/policies/*.toml /etc/monitor/policy.d/'
root monitor check /etc/monitor/monitor.toml
root sh -c 'rm /etc/monitor/policy.d/*.toml'
test -L "$dir/root/etc/systemd/system/multi-user.target.wants/monitor.service"
# An upgrade keeps what the administrator wrote.
echo '# mine' >> "$dir/root/etc/monitor/monitor.toml"
root dpkg --install /tmp/monitor.deb
tail -n 1 "$dir/root/etc/monitor/monitor.toml" | grep -qx '# mine'
# It runs as installed: by its own policy, with nothing of the machine's own state.
mkdir -p "$dir/root/run/monitor"
# Not by the function: the signals below are for the agent, not for a shell around it.
chroot "$dir/root" monitor run > "$dir/out" 2> "$dir/err" &
agent=$!
trap 'kill -KILL $agent 2>/dev/null || true' EXIT
tries=0
until grep -q 'ready: observe mode' "$dir/err"; do
  tries=$((tries + 1))
  if [ $tries -gt 300 ] || ! kill -0 $agent 2>/dev/null; then cat "$dir/err"; exit 1; fi
  sleep 0.1
done
kill -TERM $agent
wait $agent
root dpkg --remove monitor
test -e "$dir/root/etc/monitor/monitor.toml"
test ! -e "$dir/root/usr/bin/monitor"
mkdir -p "$dir/root/var/lib/monitor"
root dpkg --purge monitor
for path in etc/monitor var/lib/monitor usr/share/doc/monitor; do test ! -e "$dir/root/$path"; done
echo DONE
"#;

/// Looks at the package, and installs it.
pub(super) fn check(context: &Context, deb: &Path) -> Result<()> {
    contents(context, deb)?;
    if !context.is_root() {
        bail!("only root can install the package: run\n  {}", context.how_to_be_root());
    }
    let dir = context.path("target/package/overlay");
    std::fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    let shell =
        Cmd::new(context, "unshare").args(["--mount", "--propagation", "private", "sh", "-c", SCRIPT, "sh"]);
    let said = shell.arg(deb).arg(&dir).read().context("installing the package failed")?;
    ensure!(said.lines().any(|line| line == "DONE"), "it was not removed:\n{said}");
    let version =
        said.lines().find_map(|line| line.strip_prefix("VERSION ")).context("no version was said")?;
    // Of this object and no other: the hash is asked of another program.
    let object = context.target("ebpf/monitor.bpf.o");
    let hash = Cmd::new(context, "sha256sum").arg(&object).read()?;
    let hash = hash.split_whitespace().next().context("sha256sum said nothing")?;
    ensure!(
        version.contains(hash),
        "`monitor --version` says {version:?}, and {} has {hash}",
        object.display()
    );
    Ok(())
}

fn contents(context: &Context, deb: &Path) -> Result<()> {
    let list = Cmd::new(context, "dpkg-deb").arg("--contents").arg(deb).read()?;
    for (path, begin) in CONTENT {
        let line = list.lines().find(|line| line.split_whitespace().nth(5) == Some(path));
        let line = line.with_context(|| format!("{path} is not in the package:\n{list}"))?;
        ensure!(line.starts_with(begin), "{path} isn't {begin}: {line}");
    }
    let control = Cmd::new(context, "dpkg-deb").args(["--field"]).arg(deb).read()?;
    for field in ["Package: monitor", "Architecture: amd64", "Section: admin"] {
        ensure!(control.lines().any(|line| line == field), "no {field:?}:\n{control}");
    }
    let depends = control.lines().find_map(|line| line.strip_prefix("Depends:")).unwrap_or_default();
    ensure!(depends.trim().is_empty(), "a static binary needs no library: {depends}");
    Ok(())
}
