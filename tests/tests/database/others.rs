//! What database rules are known not to judge.

use anyhow::Result;
use serde_json::{Value, json};
use tests::{
    agent::{Mode, Setup},
    cgroup::Cgroup,
    place::Place,
    program::Program,
    server::Server,
    wait::deadline,
};

#[test]
fn other_protocols_and_datagrams_made_by_hand_are_not_judged() -> Result<()> {
    let place = Place::new()?;
    let server = Server::start(&place, None, &[], &["127.0.0.1:0"])?;
    let denied = place.copy("probe", "denied")?;
    let group = Cgroup::new()?;
    let to = server.udp()[0].to_string();
    let attempt = |way: &str, tag: &str| -> Result<Value> {
        let attempt = Program::new(&denied).arg("connect").with("way", way).with("to", &to);
        attempt.with("tag", tag).inside(&group)?.json(deadline(20.0))
    };
    let control = attempt("udplite", "control")?;
    let rules = format!("[[database]]\nname = \"orders\"\nports = {:?}\nclients = []\n", server.ports());
    let agent = Setup::new(Mode::Enforce, &group).rules(&rules).start()?;
    assert_eq!(attempt("udp", "judged")?, json!({ "EPERM": 1 }));
    assert_eq!(attempt("raw", "by hand")?, json!({ "ok": 1 }));
    server.wait_for("by hand", 1, deadline(10.0))?;
    assert_eq!(server.arrived(Some("judged"))?, 0);
    // Where the kernel has UDP-Lite.
    assert_eq!(attempt("udplite", "lite")?, control);
    agent.stop()?;
    // Who may have a raw socket is for another table.
    let rules = "[raw_sockets]\nallow = []\naction = \"deny\"\ndegrade = \"observe\"\n";
    let agent = Setup::new(Mode::Enforce, &group).rules(rules).start()?;
    assert_eq!(attempt("raw", "refused")?, json!({ "EPERM": 1 }));
    assert_eq!(server.arrived(Some("refused"))?, 0);
    agent.stop()?;
    Ok(())
}
