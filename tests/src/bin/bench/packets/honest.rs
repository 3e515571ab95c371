//! What an honest client notices: goodput and latency of TCP through the agent, none of whose rules it breaks.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::Instant,
};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::{
    agent::{Mode, Setup},
    cgroup::Cgroup,
    interrupt,
};

use super::{
    program::{PASS, Program},
    stage::{FAR, PORT, SERVER, Stage},
    subject::At,
};
use crate::ratio::{quantile, quartiles};

/// Questions in a block.
const QUESTIONS: usize = 4000;
/// Bytes in a block.
const BYTES: usize = 64 << 20;
const CHUNK: usize = 64 << 10;

/// What is in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Nothing,
    NothingAgain,
    Pass,
    AgentXdp,
    AgentTcx,
}

const WAYS: [Way; 5] = [Way::Nothing, Way::NothingAgain, Way::Pass, Way::AgentXdp, Way::AgentTcx];

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "no agent",
            Self::NothingAgain => "nothing",
            Self::Pass => "an XDP program that only passes",
            Self::AgentXdp => "monitor, native XDP",
            Self::AgentTcx => "monitor, tcx",
        }
    }

    /// What it is compared with: a virtual link copies packets as soon as there is an XDP program, whatever that does, which a
    /// network card doesn't.
    fn against(self) -> Self {
        if self == Self::AgentXdp { Self::Pass } else { Self::Nothing }
    }

    fn start<'a>(self, stage: &'a Stage, scope: &Cgroup) -> Result<Option<At<'a>>> {
        let attach = match self {
            Self::Nothing | Self::NothingAgain => return Ok(None),
            Self::Pass => return Ok(Some(At::Bare(stage.attach(&Program::always(PASS)?)?))),
            Self::AgentXdp => "xdp",
            Self::AgentTcx => "tcx",
        };
        let rules = format!(
            "[packets]\nattach = \"{attach}\"\n[[rate_limit]]\nname = \"high\"\nports = [{PORT}]\n\
             packets = \"10000000/s\"\nburst = 10000000\n"
        );
        let setup = Setup::new(Mode::Enforce, scope).without_events().within(&stage.server);
        Ok(Some(At::Agent(Box::new(setup.interfaces(&FAR).rules(&rules).start_beside(None)?))))
    }
}

/// A block: seconds of the bytes, and the median and 99th percentile of the questions.
#[derive(Debug, Clone, Copy)]
struct Block {
    goodput: f64,
    median: f64,
    p99: f64,
}

/// Measures each way in turn, each between two blocks of what it is compared with.
pub fn run(rounds: usize, scope: &Cgroup) -> Result<Vec<Value>> {
    let stages: Vec<Stage> = WAYS.iter().map(|_| Stage::new()).collect::<Result<_>>()?;
    let (mut running, mut clients) = (Vec::new(), Vec::new());
    for (way, stage) in WAYS.into_iter().zip(&stages) {
        running.extend(way.start(stage, scope)?);
        clients.push(connect(stage)?);
    }
    let mut trios: Vec<Vec<[Block; 3]>> = WAYS.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        interrupt::check()?;
        eprintln!("bench: an honest client, round {} of {rounds}", round + 1);
        for (index, way) in WAYS.into_iter().enumerate().skip(1) {
            let against = way.against() as usize;
            let before = block(&mut clients[against])?;
            let at = block(&mut clients[index])?;
            trios[index].push([before, at, block(&mut clients[against])?]);
        }
    }
    drop(clients);
    running.into_iter().try_for_each(At::stop)?;
    Ok(WAYS.into_iter().zip(&trios).skip(1).map(|(way, trios)| result(way, trios)).collect())
}

fn result(way: Way, trios: &[[Block; 3]]) -> Value {
    let over = |take: fn(&Block) -> f64, of: fn([f64; 3]) -> f64| {
        quartiles(trios.iter().map(|trio| of(trio.each_ref().map(take))).collect())
    };
    let ratio: fn([f64; 3]) -> f64 = |[before, at, after]| at / ((before + after) / 2.0);
    let itself: fn([f64; 3]) -> f64 = |[_, at, _]| at;
    json!({
        "beside": way.name(),
        "against": way.against().name(),
        "goal": matches!(way, Way::AgentXdp | Way::AgentTcx).then_some(0.02),
        "goodput_bytes_per_s": over(|block| block.goodput, itself),
        "median_ns": over(|block| block.median, itself),
        "p99_ns": over(|block| block.p99, itself),
        "goodput_ratio": over(|block| block.goodput, ratio),
        "median_ratio": over(|block| block.median, ratio),
        "p99_ratio": over(|block| block.p99, ratio),
    })
}

/// A connection to a server that answers each byte with one, and after [`BYTES`] that follow a one with another.
fn connect(stage: &Stage) -> Result<TcpStream> {
    let listener = stage.server.run(|| Ok(TcpListener::bind((SERVER, PORT))?))?;
    let client = stage.client.run(|| Ok(TcpStream::connect((SERVER, PORT))?))?;
    client.set_nodelay(true)?;
    let (server, _) = listener.accept().context("accepting the honest client")?;
    server.set_nodelay(true)?;
    thread::spawn(move || serve(server));
    Ok(client)
}

fn serve(mut client: TcpStream) -> std::io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let mut first = [0];
        client.read_exact(&mut first)?;
        let mut left = if first[0] == 1 { BYTES } else { 0 };
        while left > 0 {
            let room = left.min(CHUNK);
            let read = client.read(&mut buffer[..room])?;
            if read == 0 {
                return Ok(());
            }
            left -= read;
        }
        client.write_all(&first)?;
    }
}

fn block(client: &mut TcpStream) -> Result<Block> {
    let mut answer = [0];
    let mut times = Vec::with_capacity(QUESTIONS);
    for _ in 0..QUESTIONS {
        let begin = Instant::now();
        client.write_all(&[0])?;
        client.read_exact(&mut answer)?;
        times.push(begin.elapsed().as_nanos() as f64);
    }
    times.sort_by(f64::total_cmp);
    let chunk = vec![0; CHUNK];
    let begin = Instant::now();
    client.write_all(&[1])?;
    for _ in 0..BYTES / CHUNK {
        client.write_all(&chunk)?;
    }
    client.read_exact(&mut answer)?;
    let goodput = BYTES as f64 / begin.elapsed().as_secs_f64();
    Ok(Block { goodput, median: quantile(&times, 0.5), p99: quantile(&times, 0.99) })
}
