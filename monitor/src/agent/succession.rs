//! How one generation follows another: what the kernel still has of the one before, and what was kept of it on the disk.
//!
//! A generation is one loaded kernel object with what is attached of it. It is pinned, so it goes on judging when its agent
//! has gone. Whoever comes next (the same agent with another policy, another run of it, another version) does the same in
//! each case: loads its own beside it, takes over who is who, switches, and takes the old one off.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use aya::maps::{Map, MapData};
use monitor_common::event::Ring;
use serde::{Deserialize, Serialize};

use super::counters::{self, Sums};
use crate::{
    config::{Config, Loaded, Mode},
    host::{clock::since_boot_ns, whole},
    kernel::{pins::Pins, tables::Processes},
    pipeline::source::Source,
    policy::{Names, RateCounters},
};

/// The file of a generation in the run directory.
fn file(run_dir: &Path, generation: u64) -> PathBuf {
    run_dir.join(format!("generation-{generation}"))
}

/// Its format.
const FORMAT: u32 = 1;

/// What is kept of the generation in force for the next: what the kernel doesn't know.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    format: u32,
    /// The kernel's boot that it is of.
    boot: String,
    /// The generation.
    pub(super) generation: u64,
    /// How many policies there were, with this one.
    pub(super) policies: u64,
    /// The configuration's files.
    texts: Vec<(PathBuf, String)>,
    /// Modes that were set at run time: the rule, and whether it enforces.
    modes: Vec<(Option<String>, bool)>,
    /// How many workloads it has, those without a name included.
    workloads: usize,
    /// Rate limits by their counters.
    rate_counters: Vec<String>,
    /// What generations before it counted.
    carried: counters::Kept,
}

impl Kept {
    pub(super) fn new(
        (generation, policies): (u64, u64),
        config: &Config,
        workloads: usize,
        rate_counters: &RateCounters,
        carried: &Sums,
    ) -> Result<Self> {
        Ok(Self {
            format: FORMAT,
            boot: boot()?,
            generation,
            policies,
            texts: config.texts(),
            modes: config.modes.iter().map(|(rule, mode)| (rule.clone(), *mode == Mode::Enforce)).collect(),
            workloads,
            rate_counters: rate_counters.names().iter().map(ToString::to_string).collect(),
            carried: counters::Kept::from(&carried.folded()),
        })
    }

    /// Writes it as a whole: whoever reads finds the old one or this.
    pub(super) fn write(&self, run_dir: &Path) -> Result<()> {
        let text = serde_json::to_vec(self).context("can't write down the generation")?;
        whole::write(&file(run_dir, self.generation), |mut file| {
            file.write_all(&text)?;
            Ok(file)
        })
    }

    fn read(run_dir: &Path, generation: u64) -> Result<Self> {
        let path = file(run_dir, generation);
        let text = fs::read(&path).with_context(|| format!("can't read {}", path.display()))?;
        let kept: Self = serde_json::from_slice(&text)
            .with_context(|| format!("{} isn't what an agent wrote", path.display()))?;
        if kept.format != FORMAT || kept.boot != boot()? {
            bail!("{} is of another version, or of before the last boot", path.display());
        }
        Ok(kept)
    }

    /// Forgets those of all generations.
    pub(super) fn remove_all(run_dir: &Path) {
        for entry in fs::read_dir(run_dir).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with("generation") {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Forgets that of a generation.
    pub(super) fn remove(run_dir: &Path, generation: u64) {
        let _ = fs::remove_file(file(run_dir, generation));
    }
}

fn boot() -> Result<String> {
    let id =
        fs::read_to_string("/proc/sys/kernel/random/boot_id").context("can't tell which boot this is")?;
    Ok(id.trim().to_owned())
}

/// The generation in force.
pub(super) struct Predecessor {
    pins: Arc<Pins>,
    /// Its number.
    pub(super) generation: u64,
    /// When its agent was last seen alive, nanoseconds since boot.
    pub(super) beat_ns: u64,
    /// What was written down of it.
    pub(super) known: Option<Known>,
}

/// What is known of a generation besides what the kernel has.
pub(super) struct Known {
    pub(super) config: Config,
    pub(super) names: Names,
    pub(super) rate_counters: RateCounters,
    pub(super) policies: u64,
    workloads: usize,
    carried: Sums,
}

impl Predecessor {
    /// Looks for it, and cleans up what others left half done.
    pub(super) fn find(pins: &Arc<Pins>, run_dir: &Path) -> Option<Self> {
        let entry = pins.control().ok().flatten().and_then(|control| control.read().ok());
        let generations = pins.generations();
        // Without it, of an agent of another version, all judge; the last is the newest.
        let in_force =
            entry.map_or_else(|| generations.last().copied(), |entry| Some(entry.in_force(since_boot_ns())));
        for generation in generations.iter().copied() {
            if Some(generation) != in_force {
                tracing::info!(
                    generation,
                    "taking off what isn't in force: of an agent that was ended while it began or ended, or just relieved"
                );
                pins.remove(generation);
                Kept::remove(run_dir, generation);
            }
        }
        let Some(generation) = in_force.filter(|generation| generations.contains(generation)) else {
            pins.take_off_interfaces(&[]);
            return None;
        };
        let known = Self::known(generation, run_dir).unwrap_or_else(|error| {
            tracing::warn!(
                "what is in force still is, but who is in which workload is found out anew: {error:#}"
            );
            None
        });
        let beat_ns = entry.map_or(0, |entry| entry.beat_ns);
        Some(Self { pins: Arc::clone(pins), generation, beat_ns, known })
    }

    fn known(generation: u64, run_dir: &Path) -> Result<Option<Known>> {
        let kept = Kept::read(run_dir, generation)?;
        if kept.generation != generation {
            bail!("what is written down is of generation {}, in force is {generation}", kept.generation);
        }
        let (mut config, _) = Loaded::from_kept(kept.texts).into_result()?;
        for (rule, enforces) in &kept.modes {
            config.set_mode(rule.as_deref(), if *enforces { Mode::Enforce } else { Mode::Observe });
        }
        let rate_counters = RateCounters::of(kept.rate_counters);
        let mut names = Names::counted(&config, &rate_counters);
        names.generation = kept.policies;
        Ok(Some(Known {
            names,
            config,
            rate_counters,
            policies: kept.policies,
            workloads: kept.workloads,
            carried: kept.carried.into(),
        }))
    }

    /// Its table of processes.
    pub(super) fn processes(&self) -> Result<Processes> {
        Ok(Map::HashMap(self.map("PROCESSES")?).try_into()?)
    }

    /// Its rings, with what nobody has taken off them; must be called inside of a tokio runtime.
    pub(super) fn source(&self) -> Result<Source> {
        // One of another version may not have all.
        let rings = Ring::ALL.iter().filter(|ring| self.pins.has_map(self.generation, ring.map()));
        Source::new(rings.map(|ring| Ok((*ring, Map::RingBuf(self.map(ring.map())?)))))
    }

    /// What it and those before it counted by their rules. It should be off its hooks.
    pub(super) fn sums(&self) -> Sums {
        let Some(known) = &self.known else { return Sums::default() };
        let own = Sums::left(|map| self.map(map), &known.names, known.workloads).unwrap_or_else(|error| {
            tracing::warn!("what was counted by rules begins anew: {error:#}");
            Sums::default()
        });
        let mut all = known.carried.clone();
        all.add_ended(own);
        all
    }

    /// How long it was without an agent.
    pub(super) fn alone(&self) -> Duration {
        Duration::from_nanos(since_boot_ns().saturating_sub(self.beat_ns))
    }

    fn map(&self, name: &str) -> Result<MapData> {
        self.pins.map(self.generation, name)
    }

    /// Takes it off its hooks.
    pub(super) fn take_off(&self) {
        self.pins.take_off(self.generation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[[workload]]\nname = \"a\"\nexe = [\"/a\"]\n\n[[rate_limit]]\nname = \"r\"\nports = [80]\npackets = \"9/s\"\n";

    #[test]
    fn what_is_written_down_is_read_again_and_nobody_else_may_read_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let config = Config::from_text(TEXT).unwrap();
        let counters = RateCounters::of(vec!["gone".into(), "r".into()]);
        let kept = Kept::new((7, 3), &config, 1, &counters, &Sums::default()).unwrap();
        kept.write(directory.path()).unwrap();
        let mode = fs::metadata(file(directory.path(), 7)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let known = Predecessor::known(7, directory.path()).unwrap().unwrap();
        assert_eq!(known.config.workloads.len(), 1);
        assert_eq!(known.policies, 3);
        assert_eq!(known.rate_counters.names().len(), 2);
        assert!(Predecessor::known(8, directory.path()).is_err());
        Kept::remove(directory.path(), 7);
        assert!(Predecessor::known(7, directory.path()).is_err());
    }

    #[test]
    fn what_is_of_another_boot_or_broken_is_not_believed() {
        let directory = tempfile::tempdir().unwrap();
        let config = Config::from_text(TEXT).unwrap();
        let mut kept = Kept::new((7, 3), &config, 1, &RateCounters::default(), &Sums::default()).unwrap();
        kept.boot = "another".into();
        kept.write(directory.path()).unwrap();
        assert!(Predecessor::known(7, directory.path()).is_err());
        fs::write(file(directory.path(), 7), "{").unwrap();
        assert!(Predecessor::known(7, directory.path()).is_err());
    }
}
