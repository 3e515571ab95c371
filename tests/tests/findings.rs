//! Findings: what they tell beside the event, and where they go. The oracles are what programs say of themselves, and receivers
//! that aren't ours.

mod flood;
mod receivers;

use std::{fs, path::Path};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::{
    agent::{Mode, Setup},
    cgroup::Cgroup,
    place::Place,
    program::Program,
    wait::deadline,
};

/// Shells that each tell their id and start the next one; the last starts `victim`.
fn chain(place: &Place, victim: &Path, levels: u32) -> Result<Program> {
    for level in 0..levels {
        let next = match level {
            0 => victim.display().to_string(),
            level => format!("sh {}", place.join(format!("{}.sh", level - 1)).display()),
        };
        // Something comes after it, or the shell would become what it starts.
        fs::write(place.join(format!("{level}.sh")), format!("echo $$\n{next}\ntrue\n"))?;
    }
    Ok(Program::new("/bin/sh").arg(place.join(format!("{}.sh", levels - 1))))
}

#[test]
fn a_finding_tells_its_rule_and_five_ancestors() -> Result<()> {
    let (place, group) = (Place::new()?, Cgroup::new()?);
    let victim = place.copy("exit0", "victim")?;
    let rule = format!(
        "[[exec]]\nname = \"victims\"\ndeny = [{victim:?}]\naction = \"alert\"\nseverity = \"high\"\n\
         practice = \"least-privilege\"\nattack = [\"T1059.004\"]\n"
    );
    let agent = Setup::new(Mode::Observe, &group).rules(&rule).start()?;
    let ran = chain(&place, &victim, 4)?.inside(&group)?.finish(deadline(30.0))?;
    let mut pids: Vec<u32> = ran.stdout.iter().map(|line| line.parse()).collect::<Result<_, _>>()?;
    pids.reverse();
    pids.push(std::process::id());
    let finding =
        agent.records().wait_for("the finding", deadline(30.0), |record| record["rule"] == "victims")?;
    let ancestry = finding["ancestry"].as_array().context("no ancestry")?;
    let told: Vec<_> = ancestry.iter().filter_map(|known| known["pid"].as_u64()).collect();
    assert_eq!(told[..5], pids.iter().map(|pid| u64::from(*pid)).collect::<Vec<_>>(), "{finding}");
    let shell = fs::canonicalize("/bin/sh")?;
    for known in &ancestry[..4] {
        assert_eq!(known["exe"].as_str().map(Path::new), Some(&*shell), "{finding}");
    }
    let host = fs::read_to_string("/proc/sys/kernel/hostname")?;
    let expected = json!({
        "version": 1, "host": host.trim_end(), "severity": "high", "practice": "least-privilege", "attack": ["T1059.004"],
        "phase": "after", "generation": 1, "mode": "observe", "count": 1, "object": victim.display().to_string(),
        "subject": shell.display().to_string(), "ppid": pids[0],
    });
    for (key, value) in expected.as_object().context("an object")? {
        assert_eq!(&finding[key], value, "{key} of {finding}");
    }
    agent.stop()?;
    Ok(())
}

/// A sink for findings tells of repeats once a window; one that has every event tells them all.
#[test]
fn repeats_are_told_in_a_summary() -> Result<()> {
    const RUNS: usize = 50;
    let (place, group) = (Place::new()?, Cgroup::new()?);
    let victim = place.copy("exit0", "victim")?;
    let folded = place.join("folded.jsonl");
    let rules = format!(
        "[[exec]]\nname = \"victims\"\ndeny = [{victim:?}]\naction = \"alert\"\n\n\
         [[sink]]\ntype = \"file\"\npath = {folded:?}\nfold = \"2s\"\n"
    );
    let agent = Setup::new(Mode::Observe, &group).rules(&rules).start()?;
    for _ in 0..RUNS {
        Program::new(&victim).inside(&group)?.finish(deadline(10.0))?;
    }
    let counted = [("rule", "victims"), ("verdict", "alert")];
    agent.wait_for_metric("monitor_findings_total", &counted, RUNS as f64, deadline(30.0))?;
    let stopped = agent.stop()?;
    assert_eq!(stopped.records().findings("victims")?.len(), RUNS);
    let text = fs::read_to_string(&folded)?;
    let lines: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let counts: Vec<_> = lines.iter().filter_map(|line| line["count"].as_u64()).collect();
    assert_eq!(counts.iter().sum::<u64>(), RUNS as u64, "{counts:?}");
    assert!(counts.len() < RUNS / 2 && counts[0] == 1, "{counts:?}");
    assert!(lines.iter().skip(1).any(|line| line["first"].is_string()), "{text}");
    Ok(())
}
