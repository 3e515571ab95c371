//! What a running process does to who it is: another cgroup, another user; and units that come and go.

use anyhow::Result;
use tests::{agent::Mode, life::Life, wait::slowdown};

use super::scene::Scene;

const POLICY: &str = r#"
[[workload]]
name = "unit"
unit = ["api.service"]

[[workload]]
name = "cgroup"
cgroup = ["{slice}/pods"]

[[workload]]
name = "user"
user = [4242]

[[workload]]
name = "unit of the user"
unit = ["api.service"]
user = [4242]
"#;

const WORKLOADS: [&str; 4] = ["unit", "cgroup", "user", "unit of the user"];

/// One process, step by step, and what it reaches right after each.
const STEPS: &[(&str, &[&str])] = &[
    ("pid", &[]),
    ("enter group={groups}/api.service", &["unit"]),
    ("enter group={groups}/pods", &["cgroup"]),
    ("enter group={groups}/pods/one", &["cgroup"]),
    ("enter group={groups}/other", &[]),
    ("identity user=4242", &["user"]),
    ("enter group={groups}/api.service", &["unit", "user", "unit of the user"]),
    ("identity user=4243", &["unit"]),
    ("fork", &["unit"]),
    ("exec program={b} -- obey", &["unit"]),
    ("identity user=4242", &["unit", "user", "unit of the user"]),
    ("enter group={groups}/other", &["user"]),
    ("identity user=0", &[]),
];

#[test]
fn who_moves_is_judged_by_where_it_is() -> Result<()> {
    for mode in Mode::BOTH {
        let scene = Scene::new(&WORKLOADS)?;
        let groups = ["other", "api.service", "pods", "pods/one"].map(|name| scene.slice.below(name));
        let [other, unit, ..] = groups;
        let (other, unit) = (other?, unit?);
        // One is moved by itself, and has lived before the agent; the other one is moved by somebody else.
        let program = scene.place.join("a");
        let mut own = Life::start(scene.program(&program, &other)?)?;
        let agent = scene.agent(mode, POLICY)?;
        let mut moved = Life::start(scene.program(&program, &other)?)?;
        let expected = |workloads: &[&'static str]| match mode {
            Mode::Observe => scene.all().to_vec(),
            Mode::Enforce => workloads.to_vec(),
        };
        for (step, workloads) in STEPS {
            own.tell(&scene.fill(step))?;
            assert_eq!(scene.workloads(&mut own)?, expected(workloads), "{step}, {mode:?}");
        }
        for (group, workloads) in [(&unit, &["unit"][..]), (&other, &[]), (&unit, &["unit"])] {
            group.take(moved.pid())?;
            assert_eq!(scene.workloads(&mut moved)?, expected(workloads), "{}, {mode:?}", group.scope());
        }
        agent.stop()?;
    }
    Ok(())
}

#[test]
fn a_unit_that_comes_again_is_known_at_once() -> Result<()> {
    let scene = Scene::new(&WORKLOADS)?;
    let agent = scene.agent(Mode::Enforce, POLICY)?;
    let program = scene.place.join("b");
    let times = if slowdown() > 1.0 { 10 } else { 50 };
    for round in 0..times {
        // Under the same number of a cgroup there may be a unit in one round and none in the next.
        for (name, workloads) in [("api.service", &["unit"][..]), ("aqi.service", &[])] {
            let unit = scene.slice.below(name)?;
            let mut life = Life::start(scene.program(&program, &unit)?)?;
            assert_eq!(scene.workloads(&mut life)?, workloads, "{name}, round {round}");
            life.finish()?;
            unit.remove()?;
        }
    }
    agent.stop()?;
    Ok(())
}

/// The kernel programs look at 16 levels of cgroups: what is below counts as what is above.
#[test]
fn a_cgroup_below_the_16th_level_counts_as_those_above_it() -> Result<()> {
    const POLICY: &str = "[[workload]]\nname = \"above\"\ncgroup = [\"{slice}/top\"]\n\n\
                          [[workload]]\nname = \"at the end\"\ncgroup = [\"/**/l15\"]\n\n\
                          [[workload]]\nname = \"below\"\ncgroup = [\"/**/l16\"]\n";
    let scene = Scene::new(&["above", "at the end", "below"])?;
    let agent = scene.agent(Mode::Enforce, POLICY)?;
    // The root is level 0, the slice 1.
    let mut path = String::from("top");
    let mut groups = vec![scene.slice.below(&path)?];
    for level in 3..=20 {
        path += &format!("/l{level}");
        groups.push(scene.slice.below(&path)?);
    }
    groups.reverse();
    let at = |level: usize| groups.get(20 - level);
    for (level, workloads) in [
        (2, &["above"][..]),
        (14, &["above"]),
        (15, &["above", "at the end"]),
        (20, &["above", "at the end"]),
    ] {
        let group = at(level).ok_or_else(|| anyhow::anyhow!("no level {level}"))?;
        let mut life = Life::start(scene.program(&scene.place.join("b"), group)?)?;
        assert_eq!(scene.workloads(&mut life)?, workloads, "level {level}");
    }
    agent.stop()?;
    Ok(())
}
