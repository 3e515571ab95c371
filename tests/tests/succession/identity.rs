//! Who is who, over the end of the agent that saw it.

use anyhow::Result;
use serde_json::{Value, json};
use tests::{
    agent::{Mode, Setup},
    program::{Program, Running},
    wait::deadline,
};

use super::{Scene, again};

/// Somebody below the service: a grandchild whose parent has ended, which runs another program by now.
fn descendant(scene: &Scene) -> Result<Running> {
    let service = scene.place.join("service");
    if !service.exists() {
        scene.place.copy("probe", "service")?;
    }
    let other = scene.place.copy("probe", "other")?;
    let mut led = Program::new(service).arg("obey").inside(&scene.group)?.start()?;
    led.json_line(deadline(10.0))?;
    led.tell("fork how=double")?;
    led.json_line(deadline(10.0))?;
    led.tell(&format!("exec program={} -- obey", other.display()))?;
    led.json_line(deadline(10.0))?;
    Ok(led)
}

fn connect(scene: &Scene, led: &mut Running, tag: &str) -> Result<Value> {
    led.tell(&format!("connect to={} tag={tag}", scene.address()))?;
    led.json_line(deadline(20.0))
}

/// A workload whose members can't be told from `/proc`, and one that is nobody's.
fn rules(scene: &Scene, first: &str) -> String {
    let service = scene.place.join("service");
    format!(
        "{first}[[workload]]\nname = \"service\"\nexe = [{service:?}]\ndescendants = true\n\n\
         [[database]]\nname = \"orders\"\nports = [{}]\nclients = [\"service\"]\n",
        scene.address().port()
    )
}

#[test]
fn whose_descendant_somebody_is_outlives_the_agent_and_the_policy() -> Result<()> {
    let scene = Scene::new()?;
    let mut agent = Setup::new(Mode::Enforce, &scene.group).rules(&rules(&scene, "")).start()?;
    let mut led = descendant(&scene)?;
    let stranger = || {
        let way = Program::new(scene.place.join("other")).arg("connect");
        way.with("to", scene.address().to_string()).inside(&scene.group)?.json(deadline(20.0))
    };
    assert_eq!(connect(&scene, &mut led, "first")?, json!({ "ok": 1 }));
    assert_eq!(stranger()?, json!({ "EPERM": 1 }));
    agent = again(agent)?;
    assert_eq!(connect(&scene, &mut led, "second")?, json!({ "ok": 1 }), "forgotten by the next agent");
    assert_eq!(stranger()?, json!({ "EPERM": 1 }));
    // Another workload in front: the index of the service is another.
    let before = "[[workload]]\nname = \"before\"\nexe = [\"/nowhere\"]\n\n";
    agent.reconfigure(|text| text.replacen("[[workload]]", &format!("{before}[[workload]]"), 1))?;
    agent.wait_for_metric("monitor_policy_reloads_total", &[("outcome", "applied")], 1.0, deadline(30.0))?;
    assert_eq!(connect(&scene, &mut led, "third")?, json!({ "ok": 1 }), "forgotten by the next policy");
    assert_eq!(stranger()?, json!({ "EPERM": 1 }));
    // The service is something else now: what was known of its descendants is worth nothing.
    let service = scene.place.join("service");
    agent.reconfigure(|text| text.replace(&format!("{service:?}"), "\"/somewhere/else\""))?;
    agent.wait_for_metric("monitor_policy_reloads_total", &[("outcome", "applied")], 2.0, deadline(30.0))?;
    assert_eq!(connect(&scene, &mut led, "fourth")?, json!({ "EPERM": 1 }));
    agent.stop()?;
    Ok(())
}

#[test]
fn nobody_is_unknown_to_the_next_agent() -> Result<()> {
    let scene = Scene::new()?;
    // A file that is made while there is no agent is known to nobody.
    scene.place.copy("probe", "service")?;
    let agent = Setup::new(Mode::Enforce, &scene.group).rules(&rules(&scene, "")).start()?;
    agent.wait_for_metric("monitor_processes_unknown", &[], 0.0, deadline(10.0))?;
    let before = agent.metrics()?.sum("monitor_unknown_process_decisions_total", &[]);
    let gone = agent.kill()?;
    let mut led = descendant(&scene)?;
    let agent = gone.start()?;
    agent.wait_for_metric("monitor_processes_unknown", &[], 0.0, deadline(10.0))?;
    assert_eq!(connect(&scene, &mut led, "alone")?, json!({ "ok": 1 }), "made while there was no agent");
    assert_eq!(agent.metrics()?.sum("monitor_unknown_process_decisions_total", &[]), before);
    agent.stop()?;
    Ok(())
}
