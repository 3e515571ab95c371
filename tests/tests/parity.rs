//! One evaluator: `monitor explain`, the kernel's own code and real system calls decide alike, for random policies and requests.
//!
//! The seed is printed; `PARITY_SEED` repeats a run.

mod calls;
mod packets;
mod random;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{
    agent,
    place::Place,
    program::Program,
    wait::{deadline, slowdown},
};

/// A random number generator whose seed is printed, so that a failure can be repeated.
fn seeded() -> Result<fastrand::Rng> {
    let seed = match std::env::var("PARITY_SEED") {
        Ok(seed) => seed.parse().context("PARITY_SEED is a number")?,
        Err(_) => fastrand::u64(..),
    };
    println!("PARITY_SEED={seed}");
    Ok(fastrand::Rng::with_seed(seed))
}

/// What `monitor explain --batch` answers to requests about the policy in a file.
fn explain(place: &Place, config: &Path, requests: &[Value], kernel: bool) -> Result<Vec<Value>> {
    let file = place.join("requests.jsonl");
    let lines: Vec<String> = requests.iter().map(Value::to_string).collect();
    fs::write(&file, lines.join("\n"))?;
    let mut program = Program::monitor()?.args(["explain", "--batch"]).arg(&file).arg("--config").arg(config);
    if kernel {
        program = program.arg("--kernel");
    }
    let finished = program.finish(deadline(120.0))?;
    ensure!(finished.status.success(), "explain: {}\n{}", finished.stderr, fs::read_to_string(config)?);
    ensure!(finished.stdout.len() == requests.len(), "{} answers", finished.stdout.len());
    finished.stdout.iter().map(|line| serde_json::from_str(line).context("an answer")).collect()
}

#[test]
fn user_space_and_the_kernel_decide_alike() -> Result<()> {
    let _turn = agent::turn();
    let (policies, each) = if slowdown() > 1.0 { (2, 250) } else { (24, 500) };
    let mut random = seeded()?;
    let place = Place::new()?;
    let config = place.join("policy.toml");
    let mut verdicts: BTreeMap<String, usize> = BTreeMap::new();
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let mut rules: BTreeSet<(usize, String)> = BTreeSet::new();
    let mut members = 0;
    for policy in 0..policies {
        let written = random::policy(&mut random);
        fs::write(&config, &written.text)?;
        let requests: Vec<Value> = (0..each).map(|_| random::request(&mut random, &written)).collect();
        let here = explain(&place, &config, &requests, false)?;
        let there = explain(&place, &config, &requests, true)?;
        for ((request, here), there) in requests.iter().zip(&here).zip(&there) {
            assert_eq!(here, there, "{request}\n{}", written.text);
            let verdict = here["verdict"].as_str().context("a verdict")?;
            *verdicts.entry(verdict.to_owned()).or_default() += 1;
            let kind = request.as_object().and_then(|request| request.keys().next()).context("a kind")?;
            *kinds.entry(kind.clone()).or_default() += 1;
            members += usize::from(here["workloads"].as_array().is_some_and(|list| !list.is_empty()));
            if let Some(rule) = here["rule"].as_str() {
                rules.insert((policy, rule.to_owned()));
            }
        }
    }
    let cases = policies * each;
    println!(
        "{cases} cases over {policies} policies: {verdicts:?}; {kinds:?}; {members} by members; {} rules decided",
        rules.len()
    );
    for verdict in ["allow", "deny", "none"] {
        let count = verdicts.get(verdict).copied().unwrap_or(0);
        ensure!(count * 10 >= cases, "only {count} of {cases} cases are {verdict}");
    }
    Ok(())
}
