//! Parents, ancestors and descendants, by every way to make a process or to become another program.

use anyhow::Result;
use tests::life::Life;

use super::scene::{Case, Scene, check};

const WORKLOADS: [&str; 6] = ["maker", "parent", "ancestor", "kept", "claimed", "kept for a user"];

const POLICY: &str = r#"
[[workload]]
name = "maker"
exe = ["{a}"]

[[workload]]
name = "parent"
parent = ["maker"]

[[workload]]
name = "ancestor"
ancestor = ["maker"]

[[workload]]
name = "kept"
exe = ["{a}"]
descendants = true

[[workload]]
name = "claimed"
exe = ["{b}"]

[[workload]]
name = "kept for a user"
exe = ["{a}"]
user = [4242]
descendants = true
"#;

const fn case(
    what: &'static str,
    program: &'static str,
    steps: &'static [&'static str],
    workloads: &'static [&'static str],
) -> Case {
    Case { what, group: "family", program, steps, workloads, later: true }
}

/// A life that leaves no trace of where it began.
const fn untraceable(case: Case) -> Case {
    Case { later: false, ..case }
}

const BECOME_B: &str = "exec program={b} -- obey";
const BECOME_C: &str = "exec program={c} -- obey";
const DOUBLE: &str = "fork how=double";
const HEIR_B: &[&str] = &["parent", "ancestor", "kept", "claimed"];

const CASES: &[Case] = &[
    case("nobody's child", "b", &[], &["claimed"]),
    case("nobody's grandchild", "c", &[DOUBLE, BECOME_B], &["claimed"]),
    case("the maker", "a", &[], &["maker", "kept"]),
    case("its child", "a", &["fork"], &["maker", "parent", "ancestor", "kept"]),
    case("its child, another program", "a", &["fork", BECOME_B], HEIR_B),
    case(
        "its child, with shared memory until it was another program",
        "a",
        &["vfork program={b} -- obey"],
        HEIR_B,
    ),
    case("its child from a second thread", "a", &["fork", "thread program={b} -- obey"], HEIR_B),
    untraceable(case("its child by CLONE_PARENT", "a", &["fork how=clone-parent", BECOME_B], HEIR_B)),
    untraceable(case("its child's child, whose parent has ended", "a", &[DOUBLE, BECOME_B], HEIR_B)),
    case("the child of its child", "a", &["fork", BECOME_B, "fork", BECOME_C], &["ancestor", "kept"]),
    untraceable(case(
        "the child of its child, whose parent has ended",
        "a",
        &["fork", BECOME_B, DOUBLE, BECOME_C],
        &["ancestor", "kept"],
    )),
    untraceable(case("itself as another program", "a", &[BECOME_B], &["ancestor", "kept", "claimed"])),
    untraceable(case(
        "itself as another program from a second thread",
        "a",
        &["thread program={b} -- obey"],
        &["ancestor", "kept", "claimed"],
    )),
    untraceable(case("itself as a third program", "a", &[BECOME_B, BECOME_C], &["ancestor", "kept"])),
    untraceable(case(
        "itself again",
        "a",
        &[BECOME_B, "exec program={a} -- obey"],
        &["maker", "ancestor", "kept"],
    )),
    untraceable(case(
        "the child of itself as another program",
        "a",
        &[BECOME_B, "fork", BECOME_C],
        &["ancestor", "kept"],
    )),
    untraceable(case("itself from memory", "a", &["memfd program={b} -- obey"], &["ancestor", "kept"])),
    case("the maker as somebody's child", "b", &["fork", "exec program={a} -- obey"], &["maker", "kept"]),
    case("a user's maker", "a", &["identity user=4242"], &["maker", "kept", "kept for a user"]),
    untraceable(case(
        "a user's descendant that is another user",
        "a",
        &["identity user=4242", "fork", "identity user=0", BECOME_C],
        &["parent", "ancestor", "kept", "kept for a user"],
    )),
];

#[test]
fn nobody_leaves_the_family() -> Result<()> {
    check(&Scene::new(&WORKLOADS)?, POLICY, CASES)
}

/// Somebody who gets the number of a member that has ended is nobody by that.
#[test]
fn a_process_number_that_comes_again_says_nothing() -> Result<()> {
    let scene = Scene::new(&WORKLOADS)?;
    let group = scene.slice.below("family")?;
    let agent = scene.agent(tests::agent::Mode::Enforce, POLICY)?;
    let start = |name: &str| Life::start(scene.program(&scene.place.join(name), &group)?);
    for round in 0..10 {
        let mut member = start("a")?;
        let number = member.pid();
        assert_eq!(scene.workloads(&mut member)?, ["maker", "kept"], "the member, round {round}");
        member.finish()?;
        let mut stranger = start("c")?;
        stranger.tell(&format!("fork pid={number}"))?;
        assert_eq!(stranger.pid(), number, "the same number");
        assert_eq!(scene.workloads(&mut stranger)?, [""; 0], "a child with its number, round {round}");
        stranger.tell(&scene.fill(BECOME_B))?;
        assert_eq!(scene.workloads(&mut stranger)?, ["claimed"], "as another program, round {round}");
    }
    agent.stop()?;
    Ok(())
}
