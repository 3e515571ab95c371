//! Wrong input gets an answer, not a trace.

use std::fs;

use anyhow::{Context, Result, ensure};
use tests::{agent, place::Place, program::Program, wait::deadline};

/// An agent that doesn't start: exit code 1 and a message that names `words`, with no trace of its insides.
pub fn refused(program: Program, words: &[&str]) -> Result<String> {
    let end = program.finish(deadline(30.0))?;
    let said = end.stderr;
    assert_eq!(end.status.code(), Some(1), "{said}");
    for word in words {
        ensure!(said.contains(word), "the message doesn't name {word:?}:\n{said}");
    }
    for trace in ["panicked", "backtrace", "RUST_"] {
        ensure!(!said.contains(trace), "a trace of its insides:\n{said}");
    }
    Ok(said)
}

/// Bad configurations, each with where and what the message must name.
const BAD: [(&str, &str, &[&str]); 8] = [
    ("an unknown key", "modus = \"observe\"\n", &[":1:1", "modus", "mode"]),
    ("a wrong type", "[agent]\ncgroup = 7\n", &[":2:10", "string"]),
    ("a wrong word", "mode = \"enforced\"\n", &[":1:8", "enforced", "enforce"]),
    ("no TOML", "mode = \n", &[":1:"]),
    (
        "an unknown workload",
        "[[database]]\nname = \"d\"\nports = [1]\nclients = [\"nobody\"]\n",
        &[":4:12", "nobody"],
    ),
    (
        "the same name twice",
        "[[workload]]\nname = \"w\"\nexe = [\"/bin/a\"]\n[[workload]]\nname = \"w\"\nexe = [\"/bin/b\"]\n",
        &[":5:8", "w"],
    ),
    ("a relative path", "[[workload]]\nname = \"w\"\nexe = [\"bin/a\"]\n", &[":3:8", "absolute"]),
    (
        "a bad rate",
        "[[rate_limit]]\nname = \"r\"\nports = [1]\npackets = \"10 per second\"\n",
        &[":4:11", "10 per second"],
    ),
];

#[test]
fn a_bad_configuration_is_answered_with_where_and_what() -> Result<()> {
    let _turn = agent::turn();
    let place = Place::new()?;
    let config = place.join("bad.toml");
    let name = config.to_str().context("a path")?;
    for (what, text, words) in BAD {
        fs::write(&config, text)?;
        let place_of =
            |word: &&str| if word.starts_with(':') { format!("{name}{word}") } else { word.to_string() };
        let words: Vec<String> = words.iter().map(place_of).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        refused(Program::monitor()?.arg("check").arg(&config), &words).context(what)?;
        let run = Program::monitor()?.arg("run").arg("--config").arg(&config);
        refused(run.arg("--run-dir").arg(place.directory("run")?), &words).context(what)?;
    }
    Ok(())
}

#[test]
fn all_errors_of_a_configuration_are_reported_at_once() -> Result<()> {
    let _turn = agent::turn();
    let place = Place::new()?;
    let config = place.join("bad.toml");
    fs::write(&config, "mode = \"maybe\"\n[agent]\ncgruop = \"/\"\n[metrics]\nlisten = \"nowhere\"\n")?;
    refused(Program::monitor()?.arg("check").arg(&config), &[":1:8", ":3:1", ":5:10"])?;
    refused(Program::monitor()?.arg("check").arg(place.join("absent.toml")), &["absent.toml"])?;
    Ok(())
}
