//! `monitor explain packet`.

use std::{fmt::Write as _, path::PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::{
    agent::{
        bans::prefix::Prefix,
        evaluate::packets::{Charged, PacketEvaluator},
    },
    config::Config,
    control::{
        self,
        bans::{Ban, List, Listed},
        client::Client,
    },
    event::Text,
    host::ssh::Ssh,
    policy::ask::{
        Asker,
        packet::{Packet, PacketStory},
    },
};

/// Arguments of `monitor explain packet`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The packet.
    #[command(flatten)]
    pub packet: Packet,
    /// Run directory of the agent that is asked for bans and penalties, if one runs.
    #[arg(long, value_name = "DIR", default_value = "/run/monitor")]
    pub run_dir: PathBuf,
}

/// The answer, and what the running agent knows.
#[derive(Serialize)]
struct Told {
    #[serde(flatten)]
    story: PacketStory,
    /// Bans and penalties that the sender serves; none if no agent could be asked.
    bans: Option<Vec<Row>>,
    /// Why no agent could be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    bans_unknown: Option<String>,
}

/// A ban or a penalty.
#[derive(Serialize)]
struct Row {
    address: Text,
    /// The rule whose penalty it is; none by hand.
    rule: Option<Text>,
    until: Option<String>,
}

/// An answer in a batch: of the policy alone.
#[derive(Serialize)]
struct Brief {
    limits: Vec<String>,
    protected: bool,
}

/// Explains one packet.
pub(super) fn one(args: &Args, json: bool, kernel: bool, config: &Config, asker: &Asker) -> Result<String> {
    let mut story = asker.explain_packet(&args.packet, &Ssh::now())?;
    let (bans, bans_unknown) = match bans(args) {
        Ok(bans) => (Some(bans), None),
        Err(error) => (None, Some(format!("{error:#}"))),
    };
    // Protection holds against bans as well.
    if let (Some(first), None) = (bans.iter().flatten().find(|ban| ban.rule.is_none()), &story.protected) {
        story.verdict = "drop";
        story.sentence = format!("it is dropped at every port: {} is banned by hand", first.address);
    }
    let told = Told { story, bans, bans_unknown };
    let mut out = match json {
        true => serde_json::to_string_pretty(&told).context("can't write the answer as JSON")? + "\n",
        false => text(&told),
    };
    if kernel {
        let there = PacketEvaluator::new(config)?.ask(&args.packet)?;
        if there.rules != in_file_order(&told.story, config) {
            let rules = some(&there.rules);
            let _ = writeln!(
                out,
                "\nThe kernel charges it to {rules}: that is a mistake in monitor, please report it."
            );
        }
    }
    Ok(out)
}

/// The answers to packets in a batch.
pub(super) struct Batch {
    kernel: Option<PacketEvaluator>,
}

impl Batch {
    pub(super) fn new(config: &Config, kernel: bool) -> Result<Self> {
        Ok(Self { kernel: if kernel { Some(PacketEvaluator::new(config)?) } else { None } })
    }

    pub(super) fn answer(
        &mut self,
        packet: &Packet,
        config: &Config,
        asker: &Asker,
    ) -> Result<impl Serialize> {
        Ok(match &mut self.kernel {
            Some(kernel) => {
                let Charged { rules: limits, protected } = kernel.ask(packet)?;
                Brief { limits, protected }
            }
            None => {
                let story = asker.explain_packet(packet, &Ssh::default())?;
                let limits = in_file_order(&story, config);
                Brief { protected: story.protected.is_some() && !limits.is_empty(), limits }
            }
        })
    }
}

fn in_file_order(story: &PacketStory, config: &Config) -> Vec<String> {
    let names = config.rate_limits.iter().map(|rule| &rule.name);
    names.filter(|name| story.limits.iter().any(|limit| limit.rule == **name)).cloned().collect()
}

/// Asks the running agent what the sender serves.
fn bans(args: &Args) -> Result<Vec<Row>> {
    let from = args.packet.from.to_canonical();
    let sender = Prefix::of(from, if from.is_ipv4() { 32 } else { 128 });
    let mut found = Vec::new();
    let mut client = Client::connect(&args.run_dir)?;
    let _: Listed = client.ask(&control::Request::BanList(List {}), |ban: Ban| {
        if ban.address.parse::<Prefix>().is_ok_and(|prefix| prefix.contains(&sender)) {
            found.push(Row {
                address: Text::from(&*ban.address),
                rule: ban.rule.as_deref().map(Text::from),
                until: ban
                    .until
                    .and_then(|until| jiff::Timestamp::from_second(until).ok())
                    .map(|time| time.to_string()),
            });
        }
        Ok(())
    })?;
    Ok(found)
}

fn some(names: &[String]) -> String {
    match names.is_empty() {
        true => "no rule".to_owned(),
        false => {
            names.iter().map(|name| Text::from(&name[..]).quoted().to_string()).collect::<Vec<_>>().join(", ")
        }
    }
}

fn text(told: &Told) -> String {
    let Told { story, bans, bans_unknown } = told;
    let mut out = String::from("bans and penalties\n");
    for ban in bans.iter().flatten() {
        let by =
            ban.rule.as_ref().map_or("by hand".to_owned(), |rule| format!("penalty of {}", rule.quoted()));
        let until = ban.until.as_deref().unwrap_or("it is taken out");
        let _ = writeln!(out, "  {}  {by}, until {until}", ban.address);
    }
    match bans_unknown {
        Some(why) => drop(writeln!(out, "  not known: {why}")),
        None if bans.iter().flatten().count() == 0 => out.push_str("  none\n"),
        None => {}
    }
    let _ = writeln!(out, "\nprotected\n  {}\n", story.protected.as_deref().unwrap_or("no"));
    if !story.limits.is_empty() {
        out.push_str("limits that it is charged to\n");
    }
    for (number, limit) in story.limits.iter().enumerate() {
        let _ = writeln!(out, "  {} {} ({}), {}", number + 1, shown(&limit.rule), limit.mode, limit.counted);
        for amount in &limit.limits {
            let at_once =
                amount.at_once.map(|count| format!(" ({count} packets of this size)")).unwrap_or_default();
            let _ =
                writeln!(out, "      {}: {}, {} at once{at_once}", amount.what, amount.rate, amount.burst);
        }
        if let Some(penalty) = &limit.penalty {
            let _ = writeln!(out, "      penalty: {penalty}");
        }
    }
    if !story.others.is_empty() {
        let _ =
            writeln!(out, "{}rate limits that don't apply", if story.limits.is_empty() { "" } else { "\n" });
    }
    let wide = story.others.iter().map(|step| shown(&step.rule).chars().count()).max().unwrap_or(0);
    for step in &story.others {
        let why = step.why_not.as_ref().map(|reason| format!("{}: {}", reason.key, reason.why));
        let _ = writeln!(out, "  {:<wide$}  {}", shown(&step.rule), why.unwrap_or_default());
    }
    let _ = writeln!(out, "\n{}: {}", story.verdict, story.sentence);
    out
}

fn shown(name: &str) -> String {
    Text::from(name).to_string()
}
