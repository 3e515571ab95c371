//! Exactly so many events, by what made them, while the agent is held up in the middle: each is accounted for, in the kernel and
//! behind it.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::Value;
use tests::{
    agent::{
        Agent, Mode, Setup,
        books::{Book, Books},
    },
    cgroup::Cgroup,
    place::Place,
    server::Server,
    wait::{deadline, eventually, slowdown},
};

use super::{connect, spawn};

/// How often 50,000 events are made.
const ROUNDS: u64 = 5;
/// Events of a round.
const EVENTS: u64 = 50_000;

/// How many events of each kind there must have been.
type Made = BTreeMap<&'static str, u64>;

/// What is done in a third of a round.
struct Third {
    programs: u64,
    connects: u64,
    datagrams: u64,
    refused: u64,
}

impl Third {
    /// Before the agent is held up, while it is, and after.
    fn all() -> [Self; 3] {
        // An emulated machine takes longer.
        let share = if slowdown() > 1.0 { 20 } else { 1 };
        [658, 658, 660].map(|refused| Self {
            programs: 3000 / share,
            connects: 2500 / share,
            datagrams: 1000 / share,
            refused: refused / share,
        })
    }

    /// Does it, and adds up what that makes.
    fn happen(&self, scene: &Scene, made: &mut Made) -> Result<()> {
        let ran = spawn(&scene.group, &scene.program, self.programs)?;
        assert_eq!(ran["ended"]["code 0"], self.programs, "{ran}");
        connect(&scene.group, scene.open, ("udp", self.connects), "ok")?;
        connect(&scene.group, scene.open, ("sendto", self.datagrams), "ok")?;
        connect(&scene.group, scene.denied, ("tcp", self.refused), "EPERM")?;
        let mut add = |kind, count| *made.entry(kind).or_default() += count;
        // Four programs of ours are begun elsewhere, run and end.
        add("exec", self.programs + 4);
        add("fork", self.programs);
        add("exit", self.programs + 4);
        add("bind", self.connects + self.datagrams);
        add("connect", self.connects + self.datagrams + self.refused);
        Ok(())
    }
}

struct Scene {
    place: Place,
    group: Cgroup,
    program: PathBuf,
    _server: Server,
    open: SocketAddr,
    denied: SocketAddr,
}

impl Scene {
    fn new() -> Result<Self> {
        let place = Place::new()?;
        let program = place.copy("exit0", "program")?;
        let server = Server::start(&place, None, &["127.0.0.1:0"], &["127.0.0.1:0"])?;
        let (denied, open) = (server.tcp()[0], server.udp()[0]);
        Ok(Self { group: Cgroup::new()?, program, open, denied, _server: server, place })
    }

    fn folded(&self) -> PathBuf {
        self.place.join("folded.jsonl")
    }

    /// With a ring that is full before the agent goes on, and a sink that folds beside the one that has everything.
    fn agent(&self) -> Result<Agent<'static>> {
        let ring = if slowdown() > 1.0 { "64KiB" } else { "1MiB" };
        let settings = format!("ring = {ring:?}\nevents_per_cgroup = \"off\"");
        let rules =
            format!("[[database]]\nname = \"orders\"\nports = [{}]\nclients = []\n", self.denied.port());
        let folds = format!("[[sink]]\ntype = \"file\"\npath = {:?}\nfold = \"1h\"\n", self.folded());
        Setup::new(Mode::Enforce, &self.group).agent(&settings).settings(&folds).rules(&rules).start()
    }
}

/// How many of each kind were made and what became of them, against what the kernel counted.
fn compare(made: &Made, books: &Books) {
    for (kind, book) in books {
        let made = made.get(kind.as_str()).copied().unwrap_or(0);
        assert_eq!(book.made(), made as f64, "{kind}: {book:?}");
    }
}

/// What a sink counted: written, folded and lost.
fn sink(agent: &Agent<'_>, name: &str) -> Result<(f64, f64, f64)> {
    let metrics = agent.metrics()?;
    let count = |metric: &str| metrics.sum(metric, &[("sink", name)]);
    Ok((
        count("monitor_sink_delivered_total"),
        count("monitor_sink_folded_total"),
        count("monitor_sink_lost_total"),
    ))
}

/// Waits until a sink has done with all that it was offered.
fn settled(agent: &Agent<'_>, name: &str, offered: f64) -> Result<(f64, f64, f64)> {
    let mut last = Default::default();
    let settled = eventually(&format!("{offered} in the books of sink {name}"), deadline(60.0), || {
        last = sink(agent, name)?;
        let (written, folded, lost) = last;
        Ok((written + folded + lost == offered).then_some(last))
    });
    settled.with_context(|| format!("{last:?}"))
}

fn lines(path: &Path) -> Result<Vec<Value>> {
    fs::read_to_string(path)?.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

#[test]
fn every_event_is_accounted_for_however_often_the_agent_is_held_up() -> Result<()> {
    let scene = Scene::new()?;
    let mut agent = scene.agent()?;
    let mut made = Made::new();
    for round in 1..=ROUNDS {
        let [before, meanwhile, after] = Third::all();
        before.happen(&scene, &mut made)?;
        agent.stands_still()?;
        meanwhile.happen(&scene, &mut made)?;
        agent.goes_on()?;
        after.happen(&scene, &mut made)?;
        if slowdown() <= 1.0 {
            assert_eq!(made.values().sum::<u64>(), round * EVENTS, "what was made: {made:?}");
        }
        compare(&made, &agent.balanced(deadline(30.0))?);
    }
    let books = agent.balanced(deadline(30.0))?;
    println!("{books:#?}");
    let sum = |column: fn(&Book) -> f64| books.values().map(column).sum::<f64>();
    assert!(sum(|book| book.lost) > 0.0, "the ring was never full");
    let refused = ROUNDS * Third::all().iter().map(|third| third.refused).sum::<u64>();
    let datagrams = ROUNDS * Third::all().iter().map(|third| third.datagrams).sum::<u64>();
    assert_eq!(sum(|book| book.suppressed - book.own), datagrams as f64, "datagrams that no rule speaks of");

    let (written, folded, lost) = settled(&agent, "file", sum(|book| book.delivered))?;
    let summed = settled(&agent, "file-2", refused as f64)?;
    let all = agent.stop()?;
    let found = lines(all.records().path())?;
    assert_eq!((found.len() as f64, folded), (written, 0.0), "lines of the file; {lost} lost");
    let findings = all.records().findings("orders")?;
    assert_eq!(findings.len() as u64, refused, "no finding is lost");
    // The first of each kind is told by itself, the rest with how many they are. Of a client whose exec found no room on the
    // ring it isn't known what it ran: another kind.
    assert!(summed.0 <= 2.0 && summed.2 == 0.0, "{summed:?}");
    let told: u64 = lines(&scene.folded())?.iter().map(|line| line["count"].as_u64().unwrap_or(0)).sum();
    assert_eq!(told, refused);
    Ok(())
}
