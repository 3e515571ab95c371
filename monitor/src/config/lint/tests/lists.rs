//! Lists of all that may be executed.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::thread::yield_now;
use std::time::{Duration, Instant};

use super::{directory, exec, linted, messages, workload};

#[test]
fn an_interpreter_runs_any_script() {
    let (files, at) = directory(&[("python3", ""), ("program", "")]);
    symlink("python3", files.path().join("tool")).unwrap();
    let keys = format!("user = [4711]\nallow = [\"{at}python3\", \"{at}tool\", \"{at}program\"]");
    let python = format!("`{at}python3` is an interpreter: who may execute it may run any script");
    let tool = format!("`{at}tool` is an interpreter: who may execute it may run any script");
    let column = 15 + at.len() + "python3".len();
    assert_eq!(
        messages(&exec("e", &keys)),
        [format!("4:10 warning: {python}"), format!("4:{} warning: {tool}", column - 1)]
    );
    assert!(linted(&exec("e", &keys))[0].contains("`deny` with `args`"));
    let shells = |list: &str| messages(&exec("e", &format!("user = [4711]\nallow = [{list}]")));
    let by_glob = shells("\"/bin/*sh\"").remove(0);
    assert!(
        by_glob.starts_with("1:1 warning: `e` allows interpreters, which run any script: `/"),
        "{by_glob}"
    );
    let dash = fs::canonicalize("/bin/sh").unwrap().display().to_string();
    assert_eq!(shells(&format!("\"{dash}\", \"{dash}*\"")).len(), 1);
}

#[test]
fn a_script_needs_its_interpreter_on_the_list() {
    let (files, at) = directory(&[("runner", "")]);
    fs::write(files.path().join("script"), format!("#!{at}runner\n")).unwrap();
    let found = |list: &str| linted(&exec("e", &format!("user = [4711]\nallow = [{list}]")));
    assert_eq!(
        found(&format!("\"{at}script\"")),
        [format!(
            "4:10 warning: would break: `{at}script` is a script for `{at}runner`, which the same list doesn't allow | add the interpreter, which may run any script then, or replace the script by a program"
        )]
    );
    assert_eq!(found(&format!("\"{at}script\", \"{at}runner\"")), [""; 0]);
    assert_eq!(found(&format!("\"{at}script\", \"{at}r*\"")), [""; 0]);
}

/// Ends a process when the test does.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_list_may_break_what_runs() {
    let own = std::env::current_exe().unwrap();
    // Until the child has become another program, it is no concern of the list.
    let child = Running(Command::new("sleep").arg("600").spawn().unwrap());
    let exe = format!("/proc/{}/exe", child.0.id());
    let deadline = Instant::now() + Duration::from_secs(10);
    while fs::read_link(&exe).is_ok_and(|exe| exe == own) && Instant::now() < deadline {
        yield_now();
    }
    let sleep = fs::read_link(&exe).unwrap().display().to_string();
    let text = |list: &str| {
        workload("tests", &format!("exe = [\"{}\"]", own.display()))
            + &exec("nothing else", &format!("by = [\"tests\"]\nallow = [{list}]"))
    };
    let found = linted(&text(""));
    let would_break =
        found.iter().find(|line| line.starts_with("4:1 warning: `nothing else` would break")).unwrap();
    // Other tests have children, too.
    assert!(
        would_break.contains(&sleep) || would_break.contains("more | add what is needed"),
        "{would_break}"
    );
    let breaks = |list: &str| linted(&text(list)).iter().any(|line| line.contains(&sleep));
    assert!(!breaks(&format!("\"{sleep}\"")));
    assert!(!breaks(&format!("\"{}*\"", sleep.trim_end_matches('p'))));
}
