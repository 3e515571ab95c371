//! Allow-lists: whoever they speak of may execute what they name, and nothing else.

use std::path::PathBuf;

use anyhow::{Context, Result};
use tests::{
    agent::{Mode, Setup},
    wait::deadline,
};

use super::{Scene, killed, ran};

#[test]
fn who_has_an_allow_list_executes_nothing_else() -> Result<()> {
    let scene = Scene::new()?;
    let place = |name: &str| scene.place.copy("first", name);
    let (listed, tool, deep) = (place("listed")?, place("tools/one")?, place("tools/a/b")?);
    let (other, beside) = (place("other program")?, place("toolsmith")?);
    let linked = scene.place.join("tools/linked");
    std::fs::hard_link(&other, &linked)?;
    let cases: [(&str, &PathBuf, bool); 5] = [
        ("listed", &listed, true),
        ("in a listed directory", &tool, true),
        ("below it", &deep, true),
        ("not listed", &other, false),
        ("beside the directory", &beside, false),
    ];
    for (what, program, _) in cases {
        assert_eq!(scene.spawn(&scene.service, program, 3)?, ran(3), "{what}, without an agent");
    }
    let base = scene.place.path().display();
    let rules = format!(
        "[[workload]]\nname = \"service\"\nexe = [{:?}]\n\n\
         [[exec]]\nname = \"only these\"\nby = [\"service\"]\n\
         allow = [\"{base}/listed\", \"{base}/tools/**\", {:?}]\naction = \"kill\"\n",
        scene.service, scene.service
    );
    for mode in Mode::BOTH {
        let agent = Setup::new(mode, &scene.group).rules(&rules).start()?;
        for (what, program, allowed) in cases {
            let passes = allowed || mode == Mode::Observe;
            let expected = if passes { ran(3) } else { killed(3) };
            assert_eq!(scene.spawn(&scene.service, program, 3)?, expected, "{what}, {mode:?}");
            assert_eq!(scene.spawn(&scene.other, program, 3)?, ran(3), "{what}, by another, {mode:?}");
        }
        let labels = [("rule", "only these"), ("verdict", "kill"), ("mode", mode.name())];
        agent.wait_for_metric("monitor_findings_total", &labels, 6.0, deadline(10.0))?;
        let finding = agent.records().wait_for("a finding", deadline(5.0), |record| {
            record["type"] == "finding" && record["exe"]["path"] == other.to_str().unwrap_or_default()
        })?;
        assert_eq!(finding["by"]["path"], scene.service.to_str().context("a path")?, "{finding}");
        agent.stop()?;
    }
    Ok(())
}

/// The first rule in the file that matches decides, whichever kind of list it has.
#[test]
fn an_allow_list_and_a_deny_list_are_tried_in_order() -> Result<()> {
    let scene = Scene::new()?;
    let place = |name: &str| scene.place.copy("first", name);
    let (listed, both, neither) = (place("listed")?, place("both")?, place("neither")?);
    let rules = format!(
        "[[workload]]\nname = \"service\"\nexe = [{service:?}]\n\n\
         [[exec]]\nname = \"denied\"\ndeny = [{both:?}]\naction = \"kill\"\n\n\
         [[exec]]\nname = \"allowed\"\nby = [\"service\"]\nallow = [{listed:?}, {both:?}, {service:?}]\naction = \"kill\"\n",
        service = scene.service
    );
    let agent = Setup::new(Mode::Enforce, &scene.group).rules(&rules).start()?;
    let cases = [(&listed, ran(2), ""), (&both, killed(2), "denied"), (&neither, killed(2), "allowed")];
    for (program, expected, rule) in cases {
        assert_eq!(scene.spawn(&scene.service, program, 2)?, expected, "{}", program.display());
        if !rule.is_empty() {
            let labels = [("rule", rule), ("verdict", "kill")];
            agent.wait_for_metric("monitor_findings_total", &labels, 2.0, deadline(10.0))?;
        }
    }
    assert_eq!(scene.spawn(&scene.other, &both, 2)?, killed(2), "by another");
    assert_eq!(scene.spawn(&scene.other, &neither, 2)?, ran(2), "by another");
    agent.stop()?;
    Ok(())
}

/// A rule for a user speaks of the real one.
#[test]
fn a_rule_for_a_user_leaves_others_alone() -> Result<()> {
    let scene = Scene::new()?;
    let place = |name: &str| scene.place.copy("first", name);
    let (denied, listed, other) = (place("denied")?, place("listed")?, place("other program")?);
    // Whoever runs, the program's first act must not fail for lack of rights.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(scene.place.join("work"), open)?;
    let rules = format!(
        "[[exec]]\nname = \"not for the user\"\nuser = [\"4242\"]\ndeny = [{denied:?}]\naction = \"kill\"\n\n\
         [[exec]]\nname = \"only this for the other\"\nuser = [4243]\nallow = [{listed:?}, {service:?}]\naction = \"kill\"\n",
        service = scene.service
    );
    let cases = [
        (0, &denied, true),
        (0, &other, true),
        (4242, &denied, false),
        (4242, &other, true),
        (4243, &denied, false),
        (4243, &listed, true),
        (4243, &other, false),
        (4244, &denied, true),
    ];
    let spawn = |user: u32, program: &PathBuf| {
        let spawn = scene.program(&scene.service)?.user(user).arg("spawn").with("program", program);
        spawn.with("count", "2").json(deadline(20.0))
    };
    for (user, program, _) in cases {
        assert_eq!(spawn(user, program)?, ran(2), "{user} {}, without an agent", program.display());
    }
    let agent = Setup::new(Mode::Enforce, &scene.group).rules(&rules).start()?;
    for (user, program, passes) in cases {
        let expected = if passes { ran(2) } else { killed(2) };
        assert_eq!(spawn(user, program)?, expected, "{user} {}", program.display());
    }
    agent.stop()?;
    Ok(())
}
