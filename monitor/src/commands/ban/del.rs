//! `monitor ban del`.

use std::process::ExitCode;

use anyhow::Result;

use super::{counted, print};
use crate::control::{
    Request,
    bans::{Del, Deleted, What},
    client::Client,
};

/// Arguments of `monitor ban del`.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Args {
    /// Address or network: its ban by hand, and the penalties that it serves.
    #[arg(value_name = "ADDRESS")]
    pub address: Option<String>,
    /// All penalties of this rate limit.
    #[arg(long, value_name = "NAME")]
    pub rule: Option<String>,
    /// All bans and penalties.
    #[arg(long)]
    pub all: bool,
}

pub(super) fn run(client: &mut Client, args: &Args) -> Result<ExitCode> {
    let what = match (&args.address, &args.rule) {
        (Some(address), _) => What::Address(address.clone()),
        (None, Some(rule)) => What::Rule(rule.clone()),
        (None, None) => What::All,
    };
    let Deleted { bans, penalties, covered_by } =
        client.ask(&Request::BanDel(Del { what }), |_: serde_json::Value| Ok(()))?;
    let mut text = format!("{} and {} taken out", counted(bans, "ban"), counted(penalties, "penalty"));
    if !covered_by.is_empty() {
        text.push_str(&format!("; still banned by {}", covered_by.join(", ")));
    }
    print(&(text + "\n"))?;
    Ok(if bans + penalties > 0 || args.all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
