//! `cargo xtask test`: every test, in the order in which a failure tells most.

use std::ffi::OsString;

use anyhow::Result;
use clap::ValueEnum;

use crate::{
    bench,
    build::{self, Profile},
    context::Context,
    docs, package,
    setup::{self, Purpose, Step},
    shell::Cmd,
    soak,
    stage::Stages,
    vm,
};

/// What `test` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this stage; may be given several times
    #[arg(long = "only", value_name = "STAGE")]
    only: Vec<Stage>,
    /// Not this stage; may be given several times
    #[arg(long = "skip", value_name = "STAGE")]
    skip: Vec<Stage>,
    /// For the test programs: a part of the names of the tests to run, or options of theirs (`-- --nocapture`).
    /// With these, stages that aren't test programs (docs, package, soak, bench, vm) run only when `--only` names them.
    #[arg(last = true, value_name = "FILTER")]
    arguments: Vec<OsString>,
}

/// A stage of the tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// Unit tests of every crate
    Unit,
    /// Whether the generated docs are current
    Docs,
    /// The alert rules, by promtool
    Alerts,
    /// Scenarios on this machine's kernel; need root
    Scenarios,
    /// The Debian package, installed and removed over a copy of this system; needs root
    Package,
    /// Two minutes of everything at once, after which the agent must not have grown; needs root
    Soak,
    /// The benchmark of packets, a quick one: its report is kept, no time is judged; needs root
    Bench,
    /// The kernel programs on another kernel, in a guest
    Vm,
}

/// What is run in a guest with another kernel: every program loaded and attached there, each kind of verdict once, and what
/// this kernel may not have (execs refused by a security hook). Emulation takes some fifty times as long;
/// `cargo xtask vm` runs all scenarios.
const IN_GUEST: &[&str] = &[
    "exec_rule::a_denied_program_does_not_run_and_the_finding_says_how",
    "exec_rule::an_alert_lets_the_program_run",
    "exec_rule::shapes::the_loader_started_by_hand_is_its_own_class",
    "exec_rule::shapes::a_script_counts_as_its_interpreter_and_once",
    // Only there helpers are started, scripts judged by themselves, and readers of memory refused.
    "exec_rule::limits::helpers_of_the_kernel_run_under_a_rule_that_denies_everything",
    "exec_rule::scripts::",
    "process_memory::only_those_named_get_at_the_memory_of_others",
    "database::only_the_clients_of_a_database_reach_it",
    "database::unix::",
    "events::an_exec_tells_who_ran_what",
    "events::forks_and_exits_tell_of_children_and_codes",
    "events::sockets_tell_both_ends_of_a_conversation",
    "rate_limit::an_interface_that_is_not_named_is_not_touched",
    "lifecycle::a_stopped_agent_leaves_nothing_behind",
];

/// Minutes of a soak.
const SOAK: u32 = 2;

/// Runs the subcommand.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    let mut stages = Stages::new();
    let wanted = |stage: &Stage| match () {
        _ if args.skip.contains(stage) => false,
        _ if !args.only.is_empty() => args.only.contains(stage),
        _ => args.arguments.is_empty() || matches!(stage, Stage::Unit | Stage::Scenarios),
    };
    for stage in Stage::value_variants().iter().filter(|stage| wanted(stage)) {
        match stage {
            Stage::Unit => unit(args, context, &mut stages),
            Stage::Docs => stages.run("docs are current", || docs::generate(context, true)),
            Stage::Alerts => match setup::out_of_reach(context, Purpose::Alerts)? {
                Some(missing) => {
                    stages.leave_out("alert rules", &format!("only root can install the {missing}"))
                }
                None => stages.run("alert rules", || alerts(context)),
            },
            Stage::Scenarios if !context.is_root() => stages.leave_out(
                "scenarios",
                &format!("they load kernel programs, which needs root: run\n  {}", context.how_to_be_root()),
            ),
            Stage::Scenarios => stages.run("scenarios", || scenarios(args, context)),
            Stage::Package if !context.is_root() => stages.leave_out("package", "only root can install it"),
            Stage::Package => stages.run("package", || package::build_and_check(context)),
            Stage::Soak if !context.is_root() => stages.leave_out("soak", "it loads kernel programs"),
            Stage::Soak => stages.run("soak", || soak::soak(context, SOAK)),
            Stage::Bench if !context.is_root() => stages.leave_out("benchmark", "it loads kernel programs"),
            Stage::Bench => stages.run("benchmark", || bench::keep_a_quick_one(context)),
            Stage::Vm => match setup::out_of_reach(context, Purpose::Vm)? {
                Some(missing) => stages.leave_out("guest", &format!("only root can install the {missing}")),
                None => stages.run("guests", || vm::ladder(context, IN_GUEST)),
            },
        }
    }
    stages.finish()
}

/// `cargo test` that goes on after a test program failed; the caller's arguments follow.
fn cargo_test(args: &Args, context: &Context, selection: &[&str], own: &[&str]) -> Result<()> {
    setup::ensure_steps(context, &[Step::Toolchain])?;
    let cargo = Cmd::cargo(context)?.args(["test", "--no-fail-fast"]).args(selection);
    cargo.arg("--").args(own).args(&args.arguments).run()
}

fn unit(args: &Args, context: &Context, stages: &mut Stages) {
    // As the kernel programs see it: without the feature that the agent turns on.
    stages.run("units: monitor-common, kernel side", || {
        cargo_test(args, context, &["--package", "monitor-common"], &[])
    });
    stages.run("units: monitor-common, agent side", || {
        cargo_test(args, context, &["--package", "monitor-common", "--features", "user"], &[])
    });
    stages.run("units: agent and tools", || {
        cargo_test(args, context, &["--workspace", "--exclude", "monitor-common", "--exclude", "tests"], &[])
    });
}

/// Whether the alert rules are sound, and raise what they should and nothing else.
fn alerts(context: &Context) -> Result<()> {
    setup::ensure(context, Purpose::Alerts)?;
    let promtool = |what: &str, file: &str| {
        let rules = Cmd::new(context, "promtool").args([what, "rules"]);
        rules.arg(context.path("deploy/prometheus").join(file)).run()
    };
    promtool("check", "monitor.rules.yml")?;
    promtool("test", "monitor.tests.yml")
}

fn scenarios(args: &Args, context: &Context) -> Result<()> {
    setup::ensure(context, Purpose::Test)?;
    setup::ensure(context, Purpose::Scenarios)?;
    let agent = build::agent(context, Profile::Release)?;
    let probes = build::probes(context)?;
    let cargo = Cmd::cargo(context)?.args([
        "test",
        "--no-fail-fast",
        "--package",
        "tests",
        "--features",
        "scenarios,certificates",
    ]);
    // One at a time: scenarios count events and packets, and the machine may have few cores.
    let cargo = cargo.args(["--lib", "--test", "scenarios", "--", "--test-threads=1"]).args(&args.arguments);
    cargo.env("MONITOR_BIN", agent).env("MONITOR_PROBE_DIR", probes).run()
}
