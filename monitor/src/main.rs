//! The `monitor` command.

use std::{process::ExitCode, sync::LazyLock};

use clap::{CommandFactory as _, Parser, Subcommand};
use monitor::{
    commands,
    config::Report,
    kernel::{canary, load::KernelLog, object},
};
use tracing_subscriber::EnvFilter;

/// Watches who runs what, who talks to which database and how fast clients talk, and enforces one policy in the kernel.
///
/// Without a configuration it only observes. `monitor doctor` says what this host's kernel can enforce; `monitor check`
/// validates a policy before it is used; `monitor run` is the agent.
#[derive(Debug, Parser)]
#[command(name = "monitor", version, long_version = VERSION.as_str(), max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent.
    Run(commands::run::Args),
    /// Put another policy in force in the running agent, for good or on trial.
    ///
    /// As a whole, by one switch; a policy that can't be in force leaves the old one as it is, and the exit code is 1.
    Apply(commands::policy::Apply),
    /// Keep the policy that is on trial (`monitor apply --confirm-within`).
    Confirm(commands::policy::Where),
    /// Go back to the policy before the one in force.
    Rollback(commands::policy::Where),
    /// Observe or enforce, one rule or all of them, until the agent is restarted.
    Mode(commands::policy::SetMode),
    /// Have the agent read its files anew, as SIGHUP does, and say what came of it.
    Reload(commands::policy::Where),
    /// End the agent and take everything off; without an agent, take off what one has left.
    Stop(commands::policy::End),
    /// Validate configuration files.
    Check(commands::check::Args),
    /// Say which rule decides on a request, and why earlier ones don't.
    ///
    /// Asks the same evaluator as the kernel programs do. Needs no privileges, and no file, user or cgroup of the request has
    /// to exist on this host. The exit code is 0 whatever the verdict.
    Explain(Box<commands::explain::Args>),
    /// Compare a policy with what its author expects of it.
    ///
    /// Needs no privileges. The exit code is 1 if an expectation fails.
    Test(commands::test::Args),
    /// Say what the rate limits of a policy would do with captured packets.
    ///
    /// Sends a capture through the very program that the agent would attach, in tables of its own and attached to nothing, beside
    /// an agent that may be running. Needs root.
    Simulate(commands::simulate::Args),
    /// Say what this kernel can do, and what each kind of rule would use here.
    ///
    /// `enforced` was tried out with programs that touch nobody else; `available` can be told only when it is used;
    /// `fallback` and `missing` say what happens instead and how to get it.
    Doctor(commands::doctor::Args),
    /// Say whether the running agent is healthy, and what it does here.
    ///
    /// The exit code is 0 if it is healthy, 1 if something is the matter, 2 if no agent runs.
    Status(commands::status::Args),
    /// Show the last events and findings of the running agent, and those to come.
    ///
    /// The agent keeps some thousands in memory. Who reads too slowly to keep up is told how many are missing; the agent never
    /// waits.
    Events(commands::events::Args),
    /// Watch the running agent on a full screen: rates, sources over a limit, databases, findings, its health.
    Top(commands::top::Args),
    /// Ban addresses and networks by hand, and see who is banned or serves a penalty.
    ///
    /// Asks the running agent. Packets from whoever is banned are dropped on the interfaces that the agent watches, also those
    /// of established connections; who is protected (`[agent] protect`, current SSH sessions) is never dropped.
    Ban(commands::ban::Args),
    /// Write one archive for a bug report, without secrets.
    ///
    /// Versions, what this kernel can do, the configuration, the agent's metrics and log. What looks like a secret is taken out
    /// of all of them; findings and bans are not in it.
    Support(commands::support::Args),
    /// Print the JSON Schema of the configuration, for editors.
    Schema(commands::schema::Args),
    /// Print completions for a shell.
    Completions(commands::completions::Args),
    /// Write the manual pages to a directory.
    #[command(hide = true)]
    Man(commands::man::Args),
    /// Print generated documentation.
    #[command(hide = true)]
    Docs(commands::docs::Args),
    /// Do nothing: what the agent tries to start to see that it can't.
    #[command(hide = true, name = canary::COMMAND)]
    Canary,
}

impl Command {
    /// What is logged unless `MONITOR_LOG` says otherwise.
    fn log_filter(&self) -> &'static str {
        match self {
            // The kernel programs log under the name of their crate, which is ours.
            Self::Run(args) if args.kernel_log == KernelLog::Debug => "info,monitor=debug",
            _ => "info",
        }
    }
}

/// With the kernel programs inside, as metrics have them (`monitor_build_info`).
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let version = env!("CARGO_PKG_VERSION");
    match object::bytes() {
        Ok(_) => format!("{version}\nkernel programs: sha256 {}", object::sha256()),
        Err(_) => format!("{version}\nkernel programs: none; build with `cargo xtask build`"),
    }
});

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter =
        EnvFilter::try_from_env("MONITOR_LOG").unwrap_or_else(|_| EnvFilter::new(cli.command.log_filter()));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
    let outcome = match &cli.command {
        Command::Run(args) => commands::run::run(args),
        Command::Apply(args) => commands::policy::apply(args),
        Command::Confirm(args) => commands::policy::confirm(args),
        Command::Rollback(args) => commands::policy::roll_back(args),
        Command::Mode(args) => commands::policy::mode(args),
        Command::Reload(args) => commands::policy::reload(args),
        Command::Stop(args) => commands::policy::stop(args),
        Command::Check(args) => commands::check::run(args),
        Command::Explain(args) => commands::explain::run(args),
        Command::Test(args) => commands::test::run(args),
        Command::Simulate(args) => commands::simulate::run(args),
        Command::Doctor(args) => commands::doctor::run(args),
        Command::Status(args) => commands::status::run(args),
        Command::Events(args) => commands::events::run(args),
        Command::Top(args) => commands::top::run(args),
        Command::Ban(args) => commands::ban::run(args),
        Command::Support(args) => commands::support::run(args),
        Command::Schema(args) => commands::schema::run(args),
        Command::Completions(args) => commands::completions::run(args, Cli::command()),
        Command::Man(args) => commands::man::run(args, Cli::command()),
        Command::Docs(args) => commands::docs::run(args, Cli::command()),
        Command::Canary => Ok(ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| {
        match error.downcast_ref::<Report>() {
            Some(report) => {
                eprint!("{}", report.render(std::io::IsTerminal::is_terminal(&std::io::stderr())))
            }
            None => eprintln!("monitor: {error:#}"),
        }
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The commands of the guide, but for those whose arguments a shell takes apart.
    #[test]
    fn the_commands_of_the_first_hour_exist() {
        let guide = include_str!("../../docs/first-hour.md");
        let commands: Vec<&str> = guide.lines().filter_map(|line| line.strip_prefix("# monitor ")).collect();
        assert!(commands.len() >= 8, "{commands:?}");
        for command in commands {
            let words = std::iter::once("monitor").chain(command.split_whitespace());
            if let Err(error) = Cli::try_parse_from(words) {
                panic!("monitor {command}: {error}");
            }
        }
    }
}
