//! Files that policy names.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use super::{Facts, database, directory, exec, host, linted, linted_on, workload};

#[test]
fn a_script_is_known_only_by_its_interpreter() {
    let (_files, at) = directory(&[("script", "#! /bin/false -x\n"), ("program", "\u{7f}ELF")]);
    let text = workload("w", &format!("exe = [\"{at}script\", \"{at}program\"]"))
        + &exec("e", &format!("by = [\"w\"]\ndeny = [\"{at}script\"]"));
    assert_eq!(linted(&text), [""; 0]);
    let facts = Facts { modules: Some("yama".into()), ..host() };
    let message = format!(
        "`{at}script` is a script: without BPF LSM it is known only by its interpreter, `/bin/false`"
    );
    assert_eq!(
        linted_on(&text, &facts),
        [
            format!(
                "3:8 warning: {message} | choose the members by `unit`, `user` or `cgroup` instead; or boot with `lsm=yama,bpf`"
            ),
            format!(
                "7:9 warning: {message} | deny its interpreter, with the script's name in `args`: `args = {{ contains = [\"...\"] }}`; or boot with `lsm=yama,bpf`"
            ),
        ]
    );
}

#[test]
fn the_content_may_be_another() {
    let (_files, at) = directory(&[("program", "")]);
    let found = |digest: &str| {
        let keys = format!("exe = [\"{at}program\"]\nsha256 = [\"{digest}\"]");
        linted(&(workload("w", &keys) + &exec("e", "by = [\"w\"]\ndeny = [\"/x/*\"]")))
    };
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(found(empty), [""; 0]);
    assert_eq!(
        found(&"0".repeat(64)),
        [format!(
            "3:8 warning: the content of `{at}program` is none of those in `sha256` | if it is the right file, add `\"{empty}\"`"
        )]
    );
}

#[test]
fn sockets_may_be_missing_or_made_by_anybody() {
    let (files, at) = directory(&[("file", "")]);
    let _listener = UnixListener::bind(files.path().join("socket")).unwrap();
    let keys = format!("sockets = [\n\"{at}socket\",\n\"{at}file\",\n\"{at}none\"]");
    assert_eq!(
        linted(&database("d", &format!("{keys}\nclients = []"))),
        [
            format!("5:1 warning: `{at}file` is not a unix socket | write the path that `ss -xl` shows"),
            format!(
                "6:1 warning: `{at}none` does not exist on this host | check the path; the socket is there only while its server runs"
            ),
        ]
    );
    fs::set_permissions(files.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    let keys = format!("sockets = [\"{at}socket\"]");
    let open = at.trim_end_matches('/');
    assert_eq!(
        linted(&database("d", &format!("{keys}\nclients = []"))),
        [format!(
            "3:12 warning: any user may make this socket: `{open}` is writable by others | say who may listen with `servers`, or have the socket in a directory of its server"
        )]
    );
    assert_eq!(linted(&database("d", &format!("{keys}\nservers = []"))), [""; 0]);
}

#[test]
fn what_a_list_allows_must_not_be_made_by_anybody() {
    let (files, at) = directory(&[("program", "")]);
    fs::set_permissions(files.path().join("program"), fs::Permissions::from_mode(0o757)).unwrap();
    assert_eq!(
        linted(&exec("e", &format!("user = [4711]\nallow = [\"{at}program\"]"))),
        [format!(
            "4:10 warning: any user may change this executable: `{at}program` is writable by others | take write permission from others: `chmod o-w`; else the list allows what anybody puts there"
        )]
    );
}
