//! What `build` says about each kernel program.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::object::Object;
use crate::{
    context::Context,
    shell::{Cmd, note},
    table::{Align, Table},
};

/// What the agent says about a program that it asked the kernel to load.
#[derive(Debug, Deserialize)]
struct Loaded {
    program: String,
    #[serde(default)]
    verified_instructions: Option<u64>,
    #[serde(default)]
    jited_bytes: Option<u64>,
    #[serde(default)]
    load_ms: Option<f64>,
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    reason: Option<String>,
}

/// Prints a row for each program. The verifier's numbers are there when there is an agent, or else why there is none,
/// and when it could load the programs here.
pub fn print(context: &Context, object: &Path, agent: Result<&PathBuf, &str>) -> Result<()> {
    let bytes = fs::read(object).with_context(|| format!("reading {}", object.display()))?;
    let object = Object::parse(&bytes)?;
    let loaded = match agent {
        Err(why) => Err(why.to_owned()),
        Ok(_) if !context.is_root() => {
            Err(format!("only root loads programs; for all columns run\n  {}", context.how_to_be_root()))
        }
        Ok(agent) => ask(context, agent).map_err(|error| format!("{error:#}")),
    };
    let mut columns = vec![
        ("program", Align::Left),
        ("section", Align::Left),
        ("bytes", Align::Right),
        ("insns", Align::Right),
        ("linked", Align::Right),
    ];
    if loaded.is_ok() {
        columns.extend([
            ("verified", Align::Right),
            ("jited", Align::Right),
            ("load ms", Align::Right),
            ("state", Align::Left),
        ]);
    }
    let mut table = Table::new(&columns);
    for program in object.programs() {
        let mut cells = vec![
            program.name.clone(),
            program.section.clone(),
            program.size.to_string(),
            program.instructions().to_string(),
            object.linked_instructions(program).to_string(),
        ];
        if let Ok(loaded) = &loaded {
            cells.extend(
                loaded.iter().find(|row| row.program == program.name).map(Loaded::cells).unwrap_or_default(),
            );
        }
        table.row(cells);
    }
    anstream::print!("{table}");
    match loaded {
        Ok(loaded) => {
            let milliseconds: f64 = loaded.iter().filter_map(|row| row.load_ms).sum();
            anstream::println!("loading took {milliseconds:.0} ms altogether");
        }
        Err(why) => note(&format!("the verifier's columns are left out: {why}")),
    }
    Ok(())
}

/// Asks the agent. It may end with an error because a program was refused; its rows say which and why.
fn ask(context: &Context, agent: &Path) -> Result<Vec<Loaded>> {
    let mut command = Cmd::new(context, agent).args(["doctor", "--programs", "--json"]).into_inner();
    let output = command.output().with_context(|| format!("starting {}", agent.display()))?;
    serde_json::from_slice(&output.stdout).with_context(|| {
        let said = String::from_utf8_lossy(&output.stderr);
        format!("`monitor doctor --programs --json` gave no answer ({}): {}", output.status, said.trim())
    })
}

impl Loaded {
    fn cells(&self) -> Vec<String> {
        let number = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        let state = self.state.as_deref().unwrap_or_default();
        let reason = self.reason.as_deref().filter(|reason| !reason.is_empty());
        vec![
            number(self.verified_instructions),
            number(self.jited_bytes),
            self.load_ms.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}")),
            reason.map_or_else(|| state.to_owned(), |reason| format!("{state}: {reason}")),
        ]
    }
}
