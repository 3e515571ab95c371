//! The lines of JSON that the agent writes to a file.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::wait::{Deadline, eventually};

/// The file of an agent's sink.
#[derive(Debug)]
pub struct Records {
    path: PathBuf,
}

impl Records {
    /// The records in this file, which may not be there yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where they are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Looks at each complete line, in order; a last line without an end isn't complete.
    ///
    /// # Errors
    /// When a line isn't one JSON object, or the file can't be read.
    pub fn for_each(&self, mut look: impl FnMut(Value)) -> Result<()> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).with_context(|| format!("opening {}", self.path.display())),
        };
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            if line.last() == Some(&b'\n') {
                let text = str::from_utf8(&line).with_context(|| format!("not UTF-8: {line:?}"))?;
                let value: Value = serde_json::from_str(text).with_context(|| format!("not JSON: {text}"))?;
                ensure!(value.is_object(), "not an object: {text}");
                look(value);
            }
            line.clear();
        }
        Ok(())
    }

    /// All records that fulfil a condition.
    ///
    /// # Errors
    /// As [`Records::for_each`].
    pub fn matching(&self, fulfils: impl Fn(&Value) -> bool) -> Result<Vec<Value>> {
        let mut found = Vec::new();
        self.for_each(|record| {
            if fulfils(&record) {
                found.push(record);
            }
        })?;
        Ok(found)
    }

    /// All events of a kind.
    ///
    /// # Errors
    /// As [`Records::for_each`].
    pub fn events(&self, kind: &str) -> Result<Vec<Value>> {
        self.matching(|record| record["type"] == "event" && record["kind"] == kind)
    }

    /// All findings of a rule.
    ///
    /// # Errors
    /// As [`Records::for_each`].
    pub fn findings(&self, rule: &str) -> Result<Vec<Value>> {
        self.matching(|record| record["type"] == "finding" && record["rule"] == rule)
    }

    /// Waits for a record that fulfils a condition; the first one is returned.
    ///
    /// # Errors
    /// When there is none by the deadline; the error bears the last records there were.
    pub fn wait_for(
        &self,
        what: &str,
        deadline: Deadline,
        fulfils: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let found = eventually(what, deadline, || {
            let mut found = None;
            self.for_each(|record| {
                if found.is_none() && fulfils(&record) {
                    found = Some(record);
                }
            })?;
            Ok(found)
        });
        found.with_context(|| format!("the last records:\n{}", self.tail()))
    }

    fn tail(&self) -> String {
        let all = self.matching(|_| true).unwrap_or_default();
        let last = all.iter().rev().take(20).rev().map(|record| format!("{record}\n"));
        last.collect()
    }
}
