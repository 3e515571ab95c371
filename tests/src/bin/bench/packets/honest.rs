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
    stage::{FAR, PORT, SERVER, Stage, pin},
    subject::At,
};
use crate::ratio::{quantile, quartiles};

/// Questions to each in a round.
const QUESTIONS: usize = 4000;
/// Pieces of bulk to each in a round, and bytes in one.
const PIECES: usize = 64;
const BYTES: usize = 1 << 20;
const CHUNK: usize = 64 << 10;

/// What is in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Nothing,
    NothingAgain,
    Pass,
    /// The agent, with a limit for another port.
    AgentXdpElsewhere,
    AgentTcxElsewhere,
    /// With one that the client keeps to.
    AgentXdpWithin,
    AgentTcxWithin,
}

const WAYS: [Way; 7] = [
    Way::Nothing,
    Way::NothingAgain,
    Way::Pass,
    Way::AgentXdpElsewhere,
    Way::AgentTcxElsewhere,
    Way::AgentXdpWithin,
    Way::AgentTcxWithin,
];

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "no agent",
            Self::NothingAgain => "nothing",
            Self::Pass => "an XDP program that only passes",
            Self::AgentXdpElsewhere => "monitor, native XDP, no rule for it",
            Self::AgentTcxElsewhere => "monitor, tcx, no rule for it",
            Self::AgentXdpWithin => "monitor, native XDP, within a limit",
            Self::AgentTcxWithin => "monitor, tcx, within a limit",
        }
    }

    /// What it is compared with: a virtual link copies packets as soon as there is an XDP program, whatever that does, which a
    /// network card doesn't.
    fn against(self) -> Self {
        match self {
            Self::AgentXdpElsewhere | Self::AgentXdpWithin => Self::Pass,
            _ => Self::Nothing,
        }
    }

    /// How much less the client may notice of it at most.
    fn goal(self) -> Option<f64> {
        (!matches!(self, Self::Nothing | Self::NothingAgain | Self::Pass)).then_some(0.02)
    }

    fn start<'a>(self, stage: &'a Stage, scope: &Cgroup) -> Result<Option<At<'a>>> {
        let (attach, port) = match self {
            Self::Nothing | Self::NothingAgain => return Ok(None),
            Self::Pass => return Ok(Some(At::Bare(stage.attach(&Program::always(PASS)?)?))),
            Self::AgentXdpElsewhere => ("xdp", PORT + 1),
            Self::AgentTcxElsewhere => ("tcx", PORT + 1),
            Self::AgentXdpWithin => ("xdp", PORT),
            Self::AgentTcxWithin => ("tcx", PORT),
        };
        let rules = format!(
            "[packets]\nattach = \"{attach}\"\n[[rate_limit]]\nname = \"high\"\nports = [{port}]\n\
             packets = \"10000000/s\"\nburst = 10000000\n"
        );
        let setup = Setup::new(Mode::Enforce, scope).without_events().within(&stage.server);
        Ok(Some(At::Agent(Box::new(setup.interfaces(&FAR).rules(&rules).start_beside(None)?))))
    }
}

/// What came of a round.
#[derive(Debug, Clone, Copy)]
struct Block {
    /// Bytes a second of the median piece.
    goodput: f64,
    /// Of the questions, nanoseconds.
    median: f64,
    p99: f64,
}

/// Measures each way beside what it is compared with. Clients and servers are on one CPU: how long it takes to wake another one is
/// nothing of ours, and most of the time if it is waited for.
pub fn run(rounds: usize, cpu: usize, scope: &Cgroup) -> Result<Vec<Value>> {
    let stages: Vec<Stage> = WAYS.iter().map(|_| Stage::new()).collect::<Result<_>>()?;
    let (mut running, mut clients) = (Vec::new(), Vec::new());
    for (way, stage) in WAYS.into_iter().zip(&stages) {
        running.extend(way.start(stage, scope)?);
        clients.push(connect(stage, cpu)?);
    }
    let mut pairs: Vec<Vec<[Block; 2]>> = WAYS.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        interrupt::check()?;
        eprintln!("bench: an honest client, round {} of {rounds}", round + 1);
        for (index, way) in WAYS.into_iter().enumerate().skip(1) {
            let both = [&clients[way.against() as usize], &clients[index]];
            let pair = thread::scope(|threads| threads.spawn(|| in_turn(both, cpu)).join());
            pairs[index].push(pair.ok().context("the honest client panicked")??);
        }
    }
    drop(clients);
    running.into_iter().try_for_each(At::stop)?;
    Ok(WAYS.into_iter().zip(&pairs).skip(1).map(|(way, pairs)| result(way, pairs)).collect())
}

fn result(way: Way, pairs: &[[Block; 2]]) -> Value {
    let itself = |take: fn(&Block) -> f64| quartiles(pairs.iter().map(|pair| take(&pair[1])).collect());
    let ratio = |take: fn(&Block) -> f64| {
        quartiles(pairs.iter().map(|pair| take(&pair[1]) / take(&pair[0])).collect())
    };
    json!({
        "beside": way.name(),
        "against": way.against().name(),
        "goal": way.goal(),
        "goodput_bytes_per_s": itself(|block| block.goodput),
        "median_ns": itself(|block| block.median),
        "p99_ns": itself(|block| block.p99),
        "goodput_ratio": ratio(|block| block.goodput),
        "median_ratio": ratio(|block| block.median),
        "p99_ratio": ratio(|block| block.p99),
    })
}

/// A connection to a server that answers each byte with one, and after [`BYTES`] that follow a one with another.
fn connect(stage: &Stage, cpu: usize) -> Result<TcpStream> {
    let listener = stage.server.run(|| Ok(TcpListener::bind((SERVER, PORT))?))?;
    let client = stage.client.run(|| Ok(TcpStream::connect((SERVER, PORT))?))?;
    client.set_nodelay(true)?;
    let (server, _) = listener.accept().context("accepting the honest client")?;
    server.set_nodelay(true)?;
    thread::spawn(move || pin(cpu).map(|()| serve(server)));
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

/// Asks two servers in turn, a question or a piece each, so that what else the machine does meets both.
fn in_turn(clients: [&TcpStream; 2], cpu: usize) -> Result<[Block; 2]> {
    pin(cpu)?;
    let mut questions = [const { Vec::new() }; 2];
    let mut pieces = [const { Vec::new() }; 2];
    for turn in 0..QUESTIONS {
        for place in [turn % 2, (turn + 1) % 2] {
            questions[place].push(question(clients[place])?);
        }
    }
    let chunk = vec![0; CHUNK];
    for turn in 0..PIECES {
        for place in [turn % 2, (turn + 1) % 2] {
            pieces[place].push(piece(clients[place], &chunk)?);
        }
    }
    let block = |place: usize| {
        let sorted = |times: &[f64]| {
            let mut times = times.to_vec();
            times.sort_by(f64::total_cmp);
            times
        };
        let (questions, pieces) = (sorted(&questions[place]), sorted(&pieces[place]));
        let goodput = BYTES as f64 / quantile(&pieces, 0.5) * 1e9;
        Block { goodput, median: quantile(&questions, 0.5), p99: quantile(&questions, 0.99) }
    };
    Ok([block(0), block(1)])
}

/// Nanoseconds of a question and its answer.
fn question(mut client: &TcpStream) -> Result<f64> {
    let begin = Instant::now();
    client.write_all(&[0])?;
    client.read_exact(&mut [0])?;
    Ok(begin.elapsed().as_nanos() as f64)
}

/// Nanoseconds until the server has a piece of bulk.
fn piece(mut client: &TcpStream, chunk: &[u8]) -> Result<f64> {
    let begin = Instant::now();
    client.write_all(&[1])?;
    for _ in 0..BYTES / CHUNK {
        client.write_all(chunk)?;
    }
    client.read_exact(&mut [0])?;
    Ok(begin.elapsed().as_nanos() as f64)
}
