//! Scripts: which files an exec is about, one after the other.

use std::{fs::File, io::Read as _, path::Path};

use anyhow::{Context as _, Result, bail};

use super::{
    Exec,
    facts::{Files, Located},
};
use crate::event::Text;

/// As much of a file's beginning as the kernel reads (`BINPRM_BUF_SIZE`).
const BEGINNING: usize = 256;
/// As many interpreters as the kernel follows (`exec_binprm`).
const MOST: usize = 5;

/// What an exec is about.
pub(super) struct Chain {
    /// Scripts, the one that is named first.
    pub(super) scripts: Vec<Located>,
    /// What runs in the end.
    pub(super) file: Located,
    /// What that gets as arguments, its own name first.
    pub(super) arguments: Vec<Vec<u8>>,
}

/// The first line of a script.
#[derive(Debug, PartialEq, Eq)]
struct FirstLine {
    interpreter: String,
    /// All that follows, as one argument.
    argument: Option<Vec<u8>>,
}

impl Files<'_> {
    /// Finds the files that an exec is about, and the arguments of the last.
    ///
    /// # Errors
    /// If they can't be told from what the request says.
    pub(super) fn follow(&mut self, exec: &Exec) -> Result<Chain> {
        let mut arguments: Vec<Vec<u8>> = exec.args.iter().map(|text| text.clone().into_bytes()).collect();
        let mut scripts = Vec::new();
        let mut file = match (&exec.script, &exec.file) {
            (Some(script), Some(interpreter)) => {
                scripts.push(self.locate(script)?);
                arguments.insert(0, script.clone().into_bytes());
                interpreter.clone()
            }
            (Some(script), None) => {
                if self.first_line(script)?.is_none() {
                    bail!(
                        "{} is no script that can be read here, so its interpreter isn't known; name that with --file",
                        Text::from(&script[..]).quoted()
                    );
                }
                script.clone()
            }
            (None, Some(file)) => file.clone(),
            (None, None) => bail!("say what is executed: `file`, or `script`"),
        };
        while let Some(FirstLine { interpreter, argument }) = self.first_line(&file)? {
            if scripts.len() == MOST {
                bail!("the kernel follows {MOST} scripts that interpret each other, and refuses more");
            }
            scripts.push(self.locate(&file)?);
            arguments.insert(0, file.into_bytes());
            arguments.splice(0..0, argument);
            file = interpreter;
        }
        arguments.insert(0, file.clone().into_bytes());
        Ok(Chain { scripts, file: self.locate(&file)?, arguments })
    }

    /// The first line of a script; none if it is something else, or can't be read here.
    fn first_line(&self, given: &str) -> Result<Option<FirstLine>> {
        let Some(tree) = self.tree().filter(|_| given.starts_with('/')) else { return Ok(None) };
        let Ok(Some(file)) = tree.open_regular(Path::new(given)) else { return Ok(None) };
        let mut beginning = Vec::new();
        let read = File::from(file).take(BEGINNING as u64).read_to_end(&mut beginning);
        if read.is_err() {
            return Ok(None);
        }
        parse(&beginning).with_context(|| format!("the first line of {}", Text::from(given).quoted()))
    }
}

/// As the kernel reads it (`load_script`).
fn parse(beginning: &[u8]) -> Result<Option<FirstLine>> {
    let Some(rest) = beginning.strip_prefix(b"#!") else { return Ok(None) };
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let ends = |byte: &u8| matches!(byte, b'\n' | 0);
    let whole = rest.iter().any(ends) || beginning.len() < BEGINNING;
    let line = rest.split(ends).next().unwrap_or_default();
    let start = line.iter().position(|byte| !is_blank(byte)).unwrap_or(line.len());
    let line = &line[start..];
    let name = line.split(is_blank).next().unwrap_or_default();
    if name.is_empty() || !whole && name.len() == line.len() {
        bail!("it names no interpreter, or one whose name is too long: the kernel doesn't execute it");
    }
    let argument = &line[name.len()..];
    let first = argument.iter().position(|byte| !is_blank(byte));
    let last = argument.iter().rposition(|byte| !is_blank(byte));
    let argument = first.zip(last).map(|(first, last)| argument[first..=last].to_vec());
    let Some(interpreter) = std::str::from_utf8(name).ok().filter(|name| name.starts_with('/')) else {
        bail!(
            "its interpreter {} is no absolute path, so it depends on who executes it; name it with --file",
            Text::new(name).quoted()
        );
    };
    Ok(Some(FirstLine { interpreter: interpreter.to_owned(), argument }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_line_is_read_as_the_kernel_does() {
        let line = |text: &[u8]| parse(text).unwrap().map(|line| (line.interpreter, line.argument));
        let is = |interpreter: &str, argument: Option<&[u8]>| {
            Some((interpreter.to_owned(), argument.map(<[u8]>::to_vec)))
        };
        assert_eq!(line(b"#!/bin/sh\nexit"), is("/bin/sh", None));
        assert_eq!(line(b"#! \t/bin/sh -e  -u \n"), is("/bin/sh", Some(b"-e  -u")));
        assert_eq!(line(b"#!/bin/sh"), is("/bin/sh", None));
        assert_eq!(line(b"#!/bin/sh -e\0 more"), is("/bin/sh", Some(b"-e")));
        assert_eq!(line(b"\x7fELF"), None);
        assert_eq!(line(b"#"), None);
        let long = [b"#!/bin/sh ".to_vec(), vec![b'x'; 400]].concat();
        assert_eq!(line(&long[..BEGINNING]), is("/bin/sh", Some(&long[10..BEGINNING])));
        for broken in [&b"#!\n"[..], b"#!sh\n", &[b"#!/".to_vec(), vec![b'x'; 254]].concat()[..]] {
            assert!(parse(broken).is_err(), "{broken:?}");
        }
    }
}
