//! Connections that are older than the policy, and connections that change hands.

use anyhow::Result;
use serde_json::{Value, json};
use tests::{
    agent::{Agent, Mode, Setup},
    cgroup::Cgroup,
    place::Place,
    program::{Program, Running},
    server::Server,
    wait::deadline,
};

struct Scene {
    place: Place,
    group: Cgroup,
    server: Server,
}

impl Scene {
    fn new() -> Result<Self> {
        let place = Place::new()?;
        let patience = [("patience", "120")];
        let at = ["127.0.0.1:0", "[::1]:0"];
        let server = Server::run(Program::probe()?, &place, &at, &[], &patience)?;
        for name in ["allowed", "denied"] {
            place.copy("probe", name)?;
        }
        Ok(Self { place, group: Cgroup::new()?, server })
    }

    fn agent(&self, mode: Mode, more: &str) -> Result<Agent<'static>> {
        let rules = format!(
            "[[workload]]\nname = \"api\"\nexe = [{:?}]\n\n\
             [[database]]\nname = \"orders\"\nports = {:?}\nclients = [\"api\"]\n{more}\n",
            self.place.join("allowed"),
            self.server.ports()
        );
        Setup::new(mode, &self.group).rules(&rules).start()
    }

    fn program(&self, name: &str) -> Result<Program> {
        Program::new(self.place.join(name)).inside(&self.group)
    }

    /// Somebody with a connection over each family.
    fn stay(&self, name: &str, tag: &str) -> Result<Running> {
        let to: Vec<String> = self.server.tcp().iter().map(ToString::to_string).collect();
        let stay = self.program(name)?.arg("stay").with("to", to.join(",")).with("tag", tag);
        let mut stay = stay.start()?;
        stay.json_line(deadline(10.0))?;
        Ok(stay)
    }

    /// Lets somebody say its tag over both connections, and end.
    fn speak(&self, stay: Running, tag: &str) -> Result<()> {
        let end = stay.finish(deadline(10.0))?;
        assert_eq!(end.stdout.last().map(String::as_str), Some(r#"{"ok":2}"#), "{tag}: {:?}", end.stdout);
        self.server.wait_for(tag, 2, deadline(10.0))
    }
}

#[test]
fn a_connection_older_than_the_policy_is_listed_or_closed() -> Result<()> {
    let cases = [
        ("", Mode::Enforce, false),
        ("existing = \"list\"", Mode::Enforce, false),
        ("existing = \"close\"", Mode::Observe, false),
        ("existing = \"close\"", Mode::Enforce, true),
    ];
    for (existing, mode, closed) in cases {
        let scene = Scene::new()?;
        let [one, two] = ["allowed", "denied"].map(|name| scene.stay(name, name));
        let (allowed, mut denied) = (one?, two?);
        // Outside of the scope nobody is looked at.
        let mut outside = Program::new(scene.place.join("denied")).arg("stay").with("tag", "outside");
        for to in scene.server.tcp() {
            outside = outside.with("to", format!("{to},{to}"));
        }
        let mut outside = outside.start()?;
        outside.json_line(deadline(10.0))?;
        let agent = scene.agent(mode, existing)?;
        for _ in scene.server.tcp().iter().filter(|_| closed) {
            let ended = denied.json_line(deadline(5.0))?;
            assert!(ended["ended"].is_string(), "{existing}, {mode:?}: {ended}");
        }
        let pid = denied.pid();
        agent.records().wait_for("the old connection", deadline(10.0), |record| {
            record["type"] == "finding"
                && record["rule"] == "orders"
                && record["kind"] == "held"
                && record["pid"] == pid
                && record["opener_pid"] == Value::Null
                && record["closed"] == closed
                && record["mode"] == mode.name()
        })?;
        let labels = [("rule", "orders"), ("kind", "database"), ("mode", mode.name())];
        agent.wait_for_metric("monitor_findings_total", &labels, 2.0, deadline(5.0))?;
        if closed {
            drop(denied);
            assert_eq!(scene.server.arrived(Some("denied"))?, 0, "said after the end");
        } else {
            scene.speak(denied, "denied")?;
        }
        scene.speak(allowed, "allowed")?;
        scene.speak(outside, "outside")?;
        agent.stop()?;
    }
    Ok(())
}

#[test]
fn a_connection_that_changes_hands_is_reported_with_both_parties() -> Result<()> {
    let scene = Scene::new()?;
    let to = scene.server.tcp()[0].to_string();
    let giver = |name: &str| -> Result<Running> {
        let give = scene.program("allowed")?.arg("give").with("listen", scene.place.join(name));
        let mut give = give.with("to", &to).with("connected", "1").start()?;
        give.json_line(deadline(10.0))?;
        Ok(give)
    };
    // Each has said its tag over the connection, and still has it.
    let speaking = |program: Program, tag: &str| -> Result<Running> {
        let mut speaker = program.with("tag", tag).start()?;
        assert_eq!(speaker.json_line(deadline(10.0))?, json!({ "ok": 1 }), "{tag}");
        Ok(speaker)
    };
    let given = |sockets: &str, to: &str, tag: &str| -> Result<Running> {
        speaking(scene.program(to)?.arg("speak").with("from", scene.place.join(sockets)), tag)
    };
    let inherited = |heir: &str, tag: &str| -> Result<Running> {
        let inherit = scene.program("allowed")?.arg("inherit").with("to", &to);
        speaking(inherit.with("program", scene.place.join(heir)), tag)
    };
    let end = |speaker: Running, tag: &str| -> Result<()> {
        speaker.finish(deadline(10.0))?;
        scene.server.wait_for(tag, 1, deadline(10.0))
    };
    let control = giver("control")?;
    end(given("control", "denied", "given without an agent")?, "given without an agent")?;
    end(inherited("denied", "inherited without an agent")?, "inherited without an agent")?;
    control.finish(deadline(10.0))?;
    let agent = scene.agent(Mode::Enforce, "")?;
    let giver = giver("sockets")?;
    let allowed = [given("sockets", "allowed", "to itself")?, inherited("allowed", "from itself")?];
    let taker = given("sockets", "denied", "given")?;
    let heir = inherited("denied", "inherited")?;
    for (from, speaker, tag) in [(giver.pid(), taker, "given"), (heir.pid(), heir, "inherited")] {
        let finding = agent.records().wait_for("a handover", deadline(10.0), |record| {
            record["type"] == "finding" && record["kind"] == "held" && record["pid"] == speaker.pid()
        })?;
        assert_eq!(finding["rule"], "orders", "{finding}");
        assert_eq!(finding["exe"]["path"], json!(scene.place.join("denied")), "{finding}");
        assert_eq!(finding["opener_pid"], from, "{finding}");
        end(speaker, tag)?;
    }
    let own = allowed.each_ref().map(Running::pid);
    for (speaker, tag) in allowed.into_iter().zip(["to itself", "from itself"]) {
        end(speaker, tag)?;
    }
    let stopped = agent.stop()?;
    for pid in own {
        let found =
            stopped.records().matching(|record| record["type"] == "finding" && record["pid"] == pid)?;
        assert_eq!(found.len(), 0, "{found:?}");
    }
    Ok(())
}

/// An accomplice whom the policy isn't for connects, and hands the connection to somebody who may not have one.
#[test]
fn a_connection_that_an_accomplice_hands_over_is_closed_where_old_ones_are() -> Result<()> {
    let scene = Scene::new()?;
    let to = scene.server.tcp()[0].to_string();
    for (existing, closed) in [("", false), ("existing = \"close\"", true)] {
        let agent = scene.agent(Mode::Enforce, existing)?;
        let sockets = scene.place.join(format!("sockets {closed}"));
        // Not in the cgroup that the policy is for.
        let give = Program::new(scene.place.join("denied")).arg("give").with("listen", &sockets);
        let mut give = give.with("to", &to).with("connected", "1").start()?;
        give.json_line(deadline(10.0))?;
        let speak = scene.program("denied")?.arg("speak").with("from", &sockets);
        let tag = format!("accomplice {closed}");
        let mut speaker = speak.with("tag", &tag).start()?;
        assert_eq!(speaker.json_line(deadline(10.0))?, json!({ "ok": 1 }), "it has the connection");
        agent.records().wait_for("the finding", deadline(12.0), |record| {
            record["type"] == "finding"
                && record["kind"] == "held"
                && record["pid"] == speaker.pid()
                && record["closed"] == closed
        })?;
        // The server counts a connection when it ends: by the close, or by the speaker's end.
        if closed {
            scene.server.wait_for(&tag, 1, deadline(5.0))?;
            assert!(speaker.runs()?, "it has ended by itself");
        } else {
            assert_eq!(scene.server.arrived(Some(&tag))?, 0, "it is still open");
        }
        speaker.finish(deadline(10.0))?;
        give.finish(deadline(10.0))?;
        scene.server.wait_for(&tag, 1, deadline(10.0))?;
        agent.stop()?;
    }
    Ok(())
}
