//! Files on disk: which are read, and what happens if one can't be.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

use super::show;
use crate::config::{Config, Loaded, Severity, lint};

fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    directory
}

const WORKLOAD: &str = "[[workload]]\nname = \"w\"\nexe = [\"/bin/true\"]\n";
const RULE: &str = "[[exec]]\nname = \"r\"\nby = [\"w\"]\ndeny = [\"/x\"]\n";

#[test]
fn policy_d_is_read_in_name_order() {
    let rule = |name: &str| format!("[[exec]]\nname = \"{name}\"\nby = [\"w\"]\ndeny = [\"/{name}\"]\n");
    let files = directory(&[
        ("monitor.toml", "mode = \"enforce\"\n"),
        ("policy.d/20.toml", &rule("second")),
        ("policy.d/10.toml", &rule("first")),
        ("policy.d/30-workloads.toml", WORKLOAD),
        ("policy.d/.hidden.toml", "not read"),
        ("policy.d/notes.txt", "not read"),
    ]);
    let main = files.path().join("monitor.toml");
    let (config, warnings) = Config::load(Some(&main)).unwrap();
    assert!(warnings.is_empty());
    let names: Vec<_> = config.execs.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(names, ["first", "second"]);
    assert_eq!(config.workloads[0].place.file, files.path().join("policy.d/30-workloads.toml"));
    // Naming a fragment too changes nothing.
    let twice = Loaded::from_files(&[main, files.path().join("policy.d/10.toml")]);
    assert_eq!(twice.config.unwrap(), config);
}

#[test]
fn all_errors_of_all_files_are_reported_in_file_order() {
    let files = directory(&[
        ("monitor.toml", "mode = \"on\"\n[[exec]]\nname = \"r\"\ndeny = [\"x\"]\n"),
        ("policy.d/1.toml", "[metrics]\nlisten = \"1\"\n[[exec]]\nname = \"r\"\ndeny = []\n"),
        ("policy.d/2.toml", "oops\n"),
    ]);
    let report = Config::load(Some(&files.path().join("monitor.toml"))).unwrap_err();
    let place = |place: crate::config::Place| {
        format!("{}:{}:{}", place.file.file_name().unwrap().to_string_lossy(), place.line, place.column)
    };
    let found: Vec<_> = report.diagnostics().iter().map(|found| place(found.place())).collect();
    assert_eq!(
        found,
        [
            "monitor.toml:1:8",
            "monitor.toml:4:9",
            "1.toml:1:1",
            "1.toml:2:10",
            "1.toml:4:8",
            "1.toml:5:8",
            "2.toml:1:5"
        ]
    );
    let twice =
        report.diagnostics().iter().find(|found| found.message() == "two rules are named `r`").unwrap();
    let (first, label) = twice.related_places().remove(0);
    assert_eq!((place(first).as_str(), label), ("monitor.toml:3:8", "the name is used here first"));
    assert!(report.to_string().starts_with("7 errors in the configuration\n"));
}

#[test]
fn settings_stand_in_the_main_file_only() {
    let files = directory(&[
        ("monitor.toml", ""),
        ("policy.d/a.toml", "mode = \"enforce\"\n[agent]\n[metrics]\n[[sink]]\ntype = \"stdout\"\n"),
    ]);
    let loaded = Loaded::from_files(&[files.path().join("monitor.toml")]);
    let help = "move it to the main file, `monitor.toml` beside `policy.d`";
    let expected = [("1:8", "mode"), ("2:1", "[agent]"), ("3:1", "[metrics]"), ("4:1", "[[sink]]")];
    let line = |(at, what)| format!("{at} error: `{what}` can't be given in a file of `policy.d` | {help}");
    assert_eq!(show(&loaded), expected.map(line));
}

#[test]
fn two_main_files_may_not_contradict() {
    let files = directory(&[("a.toml", "mode = \"enforce\"\n"), ("b.toml", "mode = \"enforce\"\n")]);
    let loaded = Loaded::from_files(&["a.toml", "b.toml"].map(|name| files.path().join(name)));
    assert_eq!(show(&loaded), ["1:8 error: `mode` is given in two files | keep it in one file"]);
    assert!(loaded.diagnostics[0].render(false).contains("given here first"));
}

#[test]
fn files_that_cannot_be_read() {
    let files = directory(&[("big.toml", &"#".repeat(8 * 1024 * 1024 + 1)), ("plain", "")]);
    fs::write(files.path().join("bytes.toml"), b"# \xc3\xa9\nmode = \"\xff\"\n").unwrap();
    let read = |name: &str| show(&Loaded::from_files(&[files.path().join(name)]));
    assert_eq!(
        read("missing.toml"),
        ["0:0 error: can't be read: No such file or directory (os error 2) | check the path; \
          `monitor check --print-default` prints a file to begin with"]
    );
    assert_eq!(
        read("plain/x.toml"),
        ["0:0 error: can't be read: Not a directory (os error 20) | check the path: a part of it is a file"]
    );
    assert_eq!(
        read(""),
        [
            "0:0 error: is a directory, not a file | name a file in it; files in a `policy.d` are read together with \
          the `monitor.toml` beside it"
        ]
    );
    assert_eq!(
        read("big.toml"),
        [
            "0:0 error: is larger than 8 MiB | check that it is the right file; split it into files in `policy.d`"
        ]
    );
    assert_eq!(read("bytes.toml"), ["2:9 error: the byte 0xff is not valid UTF-8 | save the file as UTF-8"]);
    let device = show(&Loaded::from_files(&["/dev/zero".into()]));
    assert_eq!(device, ["0:0 error: is not a regular file | write the configuration to a file"]);
}

#[test]
fn lints_look_at_the_disk() {
    let files = directory(&[("open/tool", ""), ("tool", "")]);
    fs::set_permissions(files.path().join("open"), fs::Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(files.path().join("tool"), fs::Permissions::from_mode(0o757)).unwrap();
    let at = |name: &str| files.path().join(name).to_string_lossy().into_owned();
    let text = format!(
        "[[workload]]\nname = \"w\"\nexe = [\n\"{}\",\n\"{}\",\n\"/nowhere/x\"]\n[[exec]]\nname = \"r\"\ndeny = [\"/nowhere/y\"]\n",
        at("open/tool"),
        at("tool")
    );
    fs::write(files.path().join("a.toml"), text).unwrap();
    let mut loaded = Loaded::from_files(&[files.path().join("a.toml")]);
    lint(&mut loaded);
    assert!(loaded.diagnostics.iter().all(|found| found.severity() == Severity::Warning));
    let shown = show(&loaded);
    let messages: Vec<_> = shown.iter().map(|line| line.split(" | ").next().unwrap()).collect();
    let writable = |name: &str| {
        format!("warning: any user may change this executable: `{}` is writable by others", at(name))
    };
    assert_eq!(
        messages,
        [
            "1:1 warning: nothing uses the workload `w`".to_owned(),
            format!("4:1 {}", writable("open")),
            format!("5:1 {}", writable("tool")),
            "6:1 warning: `/nowhere/x` does not exist on this host".to_owned(),
            "9:9 warning: `/nowhere/y` does not exist on this host".to_owned(),
        ]
    );
}

#[test]
fn a_used_workload_and_a_good_path_have_no_lints() {
    let files = directory(&[("a.toml", &format!("{WORKLOAD}{}", RULE.replace("/x", "/bin/true")))]);
    let mut loaded = Loaded::from_files(&[files.path().join("a.toml")]);
    lint(&mut loaded);
    assert_eq!(show(&loaded), [""; 0]);
}

#[test]
fn without_a_file_the_built_in_configuration_is_used() {
    if !Path::new(crate::config::DEFAULT_PATH).exists() {
        assert_eq!(Config::load(None).unwrap().0, Config::builtin().unwrap());
    }
}
