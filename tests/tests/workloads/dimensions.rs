//! Each dimension decides, alone and together with others.

use anyhow::Result;

use super::scene::{Case, Scene, check};

const WORKLOADS: [&str; 8] =
    ["exe", "user", "group", "unit", "unit pattern", "cgroup", "cgroup pattern", "together"];

const POLICY: &str = r#"
[[workload]]
name = "exe"
exe = ["{a}"]

[[workload]]
name = "user"
user = ["4242"]

[[workload]]
name = "group"
group = [4343]

[[workload]]
name = "unit"
unit = ["api.service", "nobody-has-it.service"]

[[workload]]
name = "unit pattern"
unit = ["w{eb,orker}-?.service"]

[[workload]]
name = "cgroup"
cgroup = ["{slice}/pods"]

[[workload]]
name = "cgroup pattern"
cgroup = ["{slice}/jobs/**/leaf-*"]

[[workload]]
name = "together"
exe = ["{a}", "{c}"]
user = [4242, 4244]
group = ["4343"]
unit = ["api.service"]
"#;

const BOTH_IDS: &str = "identity user=4242 group=4343";

const fn case(
    what: &'static str,
    group: &'static str,
    program: &'static str,
    steps: &'static [&'static str],
    workloads: &'static [&'static str],
) -> Case {
    Case { what, group, program, steps, workloads, later: true }
}

const CASES: &[Case] = &[
    case("nobody", "other", "b", &[], &[]),
    case("the program", "other", "a", &[], &["exe"]),
    case("another program after it", "other", "a", &["exec program={b} -- obey"], &[]),
    case("the real user", "other", "b", &["identity user=4242"], &["user"]),
    case("the effective user", "other", "b", &["identity effective-user=4242"], &[]),
    case("both users", "other", "b", &["identity user=4242 effective-user=4242"], &["user"]),
    case("a child of the user's", "other", "b", &["identity user=4242", "fork"], &["user"]),
    case("the real group", "other", "b", &["identity group=4343"], &["group"]),
    case("the effective group", "other", "b", &["identity effective-group=4343"], &[]),
    case("the unit", "api.service", "b", &[], &["unit"]),
    case("below the unit", "api.service/worker/1", "b", &[], &["unit"]),
    case("the unit in a slice below", "deep.slice/api.service", "b", &[], &["unit"]),
    case("a unit of another name", "xapi.service", "b", &[], &[]),
    case("the unit's name below another unit", "other.service/api.service", "b", &[], &[]),
    case(
        "the unit's name below a user's manager",
        "user-1000.slice/user@1000.service/app.slice/api.service",
        "b",
        &[],
        &[],
    ),
    case("the unit's name below no unit", "delegated/api.service", "b", &[], &[]),
    case("the unit's name below a slice below no unit", "delegated/x.slice/api.service", "b", &[], &[]),
    case("a unit that fits the pattern", "web-1.service", "b", &[], &["unit pattern"]),
    case("another unit that fits the pattern", "worker-x.service", "b", &[], &["unit pattern"]),
    case("a unit that doesn't fit the pattern", "web-12.service", "b", &[], &[]),
    case("the cgroup", "pods", "b", &[], &["cgroup"]),
    case("below the cgroup", "pods/burstable/7/x", "b", &[], &["cgroup"]),
    case("beside the cgroup", "pods2", "b", &[], &[]),
    case("a cgroup that fits the pattern", "jobs/1/2/leaf-3", "b", &[], &["cgroup pattern"]),
    case("a cgroup that doesn't fit the pattern", "jobs/1/2", "b", &[], &[]),
    case("all", "api.service", "a", &[BOTH_IDS], &["exe", "user", "group", "unit", "together"]),
    case("all, by another value", "api.service", "c", &[BOTH_IDS], &["user", "group", "unit", "together"]),
    case("all but the program", "api.service", "b", &[BOTH_IDS], &["user", "group", "unit"]),
    case("all but the user", "api.service", "a", &["identity group=4343"], &["exe", "group", "unit"]),
    case("all but the group", "api.service", "a", &["identity user=4242"], &["exe", "user", "unit"]),
    case("all but the unit", "other", "a", &[BOTH_IDS], &["exe", "user", "group"]),
];

#[test]
fn each_dimension_decides_alone_and_together() -> Result<()> {
    check(&Scene::new(&WORKLOADS)?, POLICY, CASES)
}
