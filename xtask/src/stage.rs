//! A row of stages that all run, whatever the earlier ones ended with, and a summary.

use std::time::Instant;

use anyhow::{Result, bail};

use crate::{
    shell::{note, step},
    table::{Align, Table},
};

/// The stages so far.
#[derive(Debug)]
pub struct Stages {
    table: Table,
    failed: Vec<String>,
    left_out: Vec<String>,
}

impl Stages {
    /// None yet.
    pub fn new() -> Self {
        let columns = [("stage", Align::Left), ("result", Align::Left), ("seconds", Align::Right)];
        Self { table: Table::new(&columns), failed: Vec::new(), left_out: Vec::new() }
    }

    /// Runs one and remembers how it ended.
    pub fn run(&mut self, name: &str, stage: impl FnOnce() -> Result<()>) {
        step(&format!("stage {name}"));
        let begun = Instant::now();
        let result = stage();
        let seconds = format!("{:.1}", begun.elapsed().as_secs_f32());
        match result {
            Ok(()) => self.table.row([name, "passed", &seconds]),
            Err(error) => {
                anstream::eprintln!("\x1b[1;31merror:\x1b[0m {name}: {error:#}");
                self.table.row([name, "FAILED", &seconds]);
                self.failed.push(name.to_owned());
            }
        }
    }

    /// Remembers one that can't run here.
    pub fn leave_out(&mut self, name: &str, why: &str) {
        self.table.row([name, "left out"]);
        self.left_out.push(format!("left out: {name}: {why}"));
    }

    /// Prints the summary; an error when a stage failed.
    pub fn finish(self) -> Result<()> {
        anstream::println!("\n{}", self.table);
        self.left_out.iter().for_each(|text| note(text));
        if !self.failed.is_empty() {
            bail!("failed: {}", self.failed.join(", "));
        }
        Ok(())
    }
}
