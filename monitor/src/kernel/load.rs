//! Loads the kernel programs, tells them the policy, and attaches them.

mod programs;

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use aya::{
    Btf as KernelTypes, Ebpf, EbpfLoader,
    maps::{Array, HashMap, LpmTrie, MapData, lpm_trie::Key},
    programs::{CgroupAttachMode, CgroupSkbAttachType, Program, links::FdLink},
};
use aya_log::EbpfLogger;
use monitor_common::{
    addr::Addr,
    count::{OUTCOMES, PACKET_COUNTERS, PacketCount, SLOTS, STATS, database_slots},
    event::{KINDS, Ring},
    layout::KernelLayout,
    limit::{Ban, BanKey, CAUSES},
    limits,
    policy::{
        Masks, Membership, Rule, RuleSet, WorkloadSet,
        masks::{Direction, Kin},
    },
    settings::{Control, Settings},
    sources::{Set, all_sets},
};

pub use self::programs::Loaded;
use super::{
    object,
    pins::{Pins, Shape},
    probes::{PROBES, Probe},
};
use crate::{config::Rings, host::cgroup::Scope, policy::Compiled};

/// The kernel programs and maps of one generation. Dropping it takes everything out of the kernel but what is pinned.
pub struct Kernel {
    ebpf: Ebpf,
    /// Until all is loaded: they take some 30 MB.
    types: Option<Arc<KernelTypes>>,
    generation: u64,
    pins: Option<Arc<Pins>>,
    /// The maps that were taken over from a generation before, with what is in them.
    inherited: Vec<&'static str>,
    /// What is attached to hooks, by program.
    links: Vec<(&'static str, FdLink)>,
}

/// How much the kernel programs log for those who debug them; below the chosen level the verifier leaves the code out.
/// The discriminants are aya-log's levels.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum KernelLog {
    /// Nothing.
    #[default]
    Off = 0,
    /// What should not happen.
    Warn = 2,
    /// Every exec, too.
    Debug = 4,
}

/// How many entries tables have that grow with what the host does.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Processes.
    pub processes: u32,
    /// Connections to and of databases.
    pub connections: u32,
}

impl Room {
    /// As many as are usual.
    pub const USUAL: Self = Self { processes: limits::PROCESSES, connections: limits::CONNECTIONS };
}

/// What the sizes of maps depend on.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// How many `[[database]]` there are.
    pub databases: usize,
    /// How many `[[listen]]` there are.
    pub listens: usize,
    /// How many `[[rate_limit]]` there are.
    pub rate_limits: usize,
    /// Sets in the table of sources.
    pub source_sets: u32,
    /// Bytes of the rings.
    pub rings: Rings,
    /// What the host takes.
    pub room: Room,
}

impl Sizes {
    /// How many entries maps have that are sized by the policy.
    fn entries(self) -> [(&'static str, u32); 18] {
        let none_if = |none: bool, entries: u32| if none { 1 } else { entries };
        let ports = monitor_common::policy::ports::PORT_INDICES;
        let databases = database_slots(self.databases.max(1) as u32);
        let no_packets = self.rate_limits == 0;
        [
            ("SCRATCH", scratch_buffers()),
            ("DATABASE_PORTS", none_if(self.databases == 0, ports)),
            ("LISTEN_PORTS", none_if(self.listens == 0, ports)),
            ("DATABASE_COUNTS", databases),
            ("TRAFFIC", databases),
            ("PROCESSES", self.room.processes),
            ("CONNECTIONS", none_if(self.databases == 0, self.room.connections)),
            ("ATTEMPTS", none_if(self.databases == 0, limits::ATTEMPTS)),
            ("REFUSED", none_if(self.databases == 0, limits::REFUSED_SOURCES)),
            ("RATE_PORTS", none_if(no_packets, 2 * ports)),
            ("SOURCES", none_if(no_packets, all_sets(self.source_sets))),
            ("BANS", none_if(no_packets, limits::BANS)),
            ("BAN_BITS", none_if(no_packets, limits::BAN_BITS)),
            ("BAN_NETS", limits::BAN_NETS),
            (Ring::Events.map(), self.rings.events),
            (Ring::Execs.map(), self.rings.findings),
            (Ring::Sockets.map(), self.rings.findings),
            (Ring::Packets.map(), self.rings.findings),
        ]
    }

    /// The maps that all generations share, and what they must be like.
    fn shapes(self) -> Vec<(&'static str, Shape)> {
        const INDEX: u32 = size_of::<u32>() as u32;
        const WORD: u32 = size_of::<u64>() as u32;
        let entries = self.entries();
        let sized = |name: &str| entries.iter().find(|(map, _)| *map == name).map_or(0, |(_, count)| *count);
        let rules = limits::RULES as u32;
        [
            ("CONTROL", INDEX, size_of::<Control>() as u32, 1),
            ("DELIVERED", INDEX, WORD, KINDS),
            ("COUNTS", INDEX, WORD, KINDS * SLOTS),
            ("STATS", INDEX, WORD, STATS),
            ("PACKETS", INDEX, size_of::<PacketCount>() as u32, PACKET_COUNTERS * OUTCOMES),
            ("OVER", INDEX, WORD, rules * CAUSES),
            ("UNPARSED", INDEX, WORD, 4 * OUTCOMES),
            ("SOURCES", INDEX, size_of::<Set>() as u32, sized("SOURCES")),
            ("BANS", size_of::<BanKey>() as u32, size_of::<Ban>() as u32, sized("BANS")),
            ("BAN_BITS", INDEX, WORD, sized("BAN_BITS")),
            ("BAN_NETS", INDEX + size_of::<Addr>() as u32, size_of::<Ban>() as u32, sized("BAN_NETS")),
        ]
        .map(|(name, key, value, entries)| (name, Shape { key, value, entries }))
        .to_vec()
    }
}

impl Kernel {
    /// Creates the maps and hands over the globals, for nobody but us; loads no program yet.
    pub fn open(
        types: &Arc<KernelTypes>,
        layout: &KernelLayout,
        settings: &Settings,
        sizes: Sizes,
        log: KernelLog,
    ) -> Result<Self> {
        let mut kernel = Self::create(types, layout, settings, sizes, log, None)?;
        let alone = Control { agent_pid: std::process::id(), ..Control::NONE };
        kernel.fill::<Control>("CONTROL", &[alone])?;
        Ok(kernel)
    }

    /// The same for a generation that others come before and after: what all share is taken over, what the next will want is
    /// pinned. Nothing judges before [`Control::generation`] says so.
    pub fn open_next(
        types: &Arc<KernelTypes>,
        layout: &KernelLayout,
        settings: &Settings,
        sizes: Sizes,
        log: KernelLog,
        pins: &Arc<Pins>,
    ) -> Result<Self> {
        let mut inherited = Vec::new();
        for (map, shape) in sizes.shapes() {
            match pins.shape(map) {
                Some(is) if is == shape => inherited.push(map),
                Some(_) => {
                    pins.give_up(map)?;
                    tracing::info!("what was in {map} is given up: it has another size now");
                }
                None => {}
            }
        }
        let mut kernel = Self::create(types, layout, settings, sizes, log, Some(Arc::clone(pins)))?;
        pins.begin(settings.generation, &kernel.ebpf)?;
        kernel.inherited = inherited;
        Ok(kernel)
    }

    fn create(
        types: &Arc<KernelTypes>,
        layout: &KernelLayout,
        settings: &Settings,
        sizes: Sizes,
        log: KernelLog,
        pins: Option<Arc<Pins>>,
    ) -> Result<Self> {
        let mut loader = EbpfLoader::new();
        let level = log as u8;
        loader
            .btf(Some(types))
            .override_global("LAYOUT", layout, true)
            .override_global("SETTINGS", settings, true)
            .override_global(aya_log::LEVEL, &level, true);
        for (map, entries) in sizes.entries() {
            loader.map_max_entries(map, entries);
        }
        if let Some(pins) = &pins {
            for (map, _) in sizes.shapes() {
                loader.map_pin_path(map, pins.shared(map));
            }
        }
        let ebpf = loader.load(object::bytes()?).context("can't create the maps of the kernel programs")?;
        Ok(Self {
            ebpf,
            types: Some(Arc::clone(types)),
            generation: settings.generation,
            pins,
            inherited: Vec::new(),
            links: Vec::new(),
        })
    }

    /// Attaches a program that belongs to no interface.
    pub fn attach(&mut self, probe: &Probe, scope: &Scope) -> Result<()> {
        let mode = CgroupAttachMode::Single;
        let words = || format!("can't attach program {}", probe.program);
        let link: FdLink = match program(&mut self.ebpf, probe)? {
            Program::BtfTracePoint(program) => {
                program.attach().and_then(|id| program.take_link(id)).with_context(words)?.into()
            }
            Program::Lsm(program) => {
                program.attach().and_then(|id| program.take_link(id)).with_context(words)?.into()
            }
            Program::FEntry(program) => {
                program.attach().and_then(|id| program.take_link(id)).with_context(words)?.into()
            }
            Program::CgroupSockAddr(program) => {
                let attached = program.attach(&scope.root, mode).and_then(|id| program.take_link(id));
                attached.with_context(words)?.try_into()?
            }
            Program::CgroupSock(program) => {
                let attached = program.attach(&scope.root, mode).and_then(|id| program.take_link(id));
                attached.with_context(words)?.try_into()?
            }
            Program::CgroupSkb(program) => {
                let attached = program.attach(&scope.root, CgroupSkbAttachType::Ingress, mode);
                attached.and_then(|id| program.take_link(id)).with_context(words)?.try_into()?
            }
            _ => bail!("program {} is attached to interfaces only", probe.program),
        };
        let link = match &self.pins {
            Some(pins) => FdLink::from(pins.pin_link(self.generation, probe.program, link)?),
            None => link,
        };
        self.links.push((probe.program, link));
        Ok(())
    }

    /// Whether a map was taken over from a generation before, with what is in it.
    pub fn inherited(&self, map: &str) -> bool {
        self.inherited.contains(&map)
    }

    /// Where what outlives the agent is pinned, if anything does.
    pub fn pins(&self) -> Option<&Arc<Pins>> {
        self.pins.as_ref()
    }

    /// A program of the object.
    pub(super) fn program(&mut self, probe: &Probe) -> Result<&mut Program> {
        program(&mut self.ebpf, probe)
    }

    /// Tells the kernel programs the policy. Must come before they are attached.
    pub fn apply(&mut self, policy: &Compiled) -> Result<()> {
        self.fill::<Rule>("EXEC_RULES", &policy.exec_rules)?;
        for (map, direction) in [
            ("CLIENT_RULES", Direction::Client),
            ("SERVER_RULES", Direction::Server),
            ("SOURCE_RULES", Direction::Source),
        ] {
            self.fill::<Rule>(map, &policy.database_rules[direction as usize])?;
        }
        self.fill::<Rule>("RAW_RULES", policy.raw_rule.as_slice())?;
        self.fill::<Rule>("MEMORY_RULES", policy.memory_rule.as_slice())?;
        self.fill::<Masks>("MASKS", &[policy.masks])?;
        self.fill::<Kin>("KIN", &policy.kin)?;
        self.fill::<Membership>("CLASSES", &policy.classes)?;
        self.fill::<Membership>("GLOB_ENDS", &policy.globs.ends)?;
        let mut globs = self.array::<monitor_common::glob::Automaton>("GLOBS")?;
        let automaton: &monitor_common::glob::Automaton = &policy.globs.automaton;
        globs.set(0, automaton, 0).context("can't write the automaton of the globs")?;
        for (map, by_port) in
            [("DATABASE_PORTS", &policy.database_ports), ("LISTEN_PORTS", &policy.listen_ports)]
        {
            let mut ports = self.array::<RuleSet>(map)?;
            for (index, rules) in by_port {
                ports.set(*index, rules, 0).with_context(|| format!("can't write {map}"))?;
            }
        }
        for (map, accounts) in [("USERS", &policy.users), ("GROUPS", &policy.groups)] {
            let mut table: HashMap<_, u32, WorkloadSet> = self.map(map)?.try_into()?;
            for (id, workloads) in accounts {
                table.insert(id, workloads, 0).with_context(|| format!("can't write {map}"))?;
            }
        }
        for (map, prefixes) in [("ADDRESSES", &policy.addresses), ("SENDERS", &policy.senders)] {
            let mut table: LpmTrie<_, Addr, RuleSet> = self.map(map)?.try_into()?;
            for (length, network, rules) in prefixes.entries() {
                table
                    .insert(&Key::new(length, network), rules, 0)
                    .with_context(|| format!("can't write {map}"))?;
            }
        }
        Ok(())
    }

    fn fill<T: aya::Pod>(&mut self, map: &str, values: &[T]) -> Result<()> {
        let mut array = self.array::<T>(map)?;
        for (index, value) in values.iter().enumerate() {
            array.set(index as u32, value, 0).with_context(|| format!("can't write {map}"))?;
        }
        Ok(())
    }

    fn array<T: aya::Pod>(&mut self, map: &str) -> Result<Array<&mut MapData, T>> {
        Ok(self.map(map)?.try_into()?)
    }

    fn map(&mut self, name: &str) -> Result<&mut aya::maps::Map> {
        self.ebpf.map_mut(name).with_context(|| format!("the kernel object has no map {name}"))
    }

    /// A map, which stays here: programs that are loaded later refer to it.
    pub fn lend(&self, name: &str) -> Result<&aya::maps::Map> {
        self.ebpf.map(name).with_context(|| format!("the kernel object has no map {name}"))
    }

    /// Takes a map out, to be used on its own for as long as programs may be loaded.
    pub fn take(&mut self, name: &str) -> Result<aya::maps::Map> {
        self.ebpf.take_map(name).with_context(|| format!("the kernel object has no map {name}"))
    }

    /// What the kernel programs log, as a stream of its own.
    pub fn logger(&mut self) -> Result<EbpfLogger<&'static dyn log::Log>> {
        EbpfLogger::init(&mut self.ebpf).context("can't read what the kernel programs log")
    }

    /// The loaded programs, with the table's row of each.
    pub fn programs(&self) -> impl Iterator<Item = (&'static Probe, &Program)> {
        PROBES.iter().filter_map(|probe| {
            let program = self.ebpf.program(probe.program)?;
            program.fd().is_ok().then_some((probe, program))
        })
    }
}

/// Buffers for the execs that may be inside the kernel programs at one time.
fn scratch_buffers() -> u32 {
    let cpus = aya::util::nr_cpus().map_or(1, |cpus| u32::try_from(cpus).unwrap_or(1));
    limits::SCRATCH_PER_CPU.saturating_mul(cpus)
}

fn program<'a>(ebpf: &'a mut Ebpf, probe: &Probe) -> Result<&'a mut Program> {
    let program = ebpf.program_mut(probe.program);
    program.with_context(|| format!("the kernel object has no program {}", probe.program))
}
