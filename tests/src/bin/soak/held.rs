//! What an agent holds, and whether it grows.

use std::{fs, time::Duration};

use anyhow::{Context, Result, bail};
use tests::{
    agent::{Agent, books::Books},
    kernel::Inventory,
};

/// Megabytes that an agent may grow by, as its slope says, in the time that it was watched: what the allocator keeps comes and
/// goes by some.
const MOST_GROWTH: f64 = 4.0;
/// Reads one of the numbers that are counted.
type Count = fn(&Held) -> usize;

/// What is counted, and by how much it may be more in the end: descriptors by those of a scrape.
const COUNTED: [(&str, Count, usize); 4] = [
    ("descriptors", |held| held.descriptors, 4),
    ("programs in the kernel", |held| held.programs, 0),
    ("maps in the kernel", |held| held.maps, 0),
    ("links in the kernel", |held| held.links, 0),
];

/// What an agent holds at one time.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    /// Memory of its own that is resident, megabytes.
    anonymous: f64,
    /// All that is resident: with its program file and what it shares with the kernel.
    resident: f64,
    descriptors: usize,
    programs: usize,
    maps: usize,
    links: usize,
}

impl Held {
    pub fn by(agent: &Agent<'_>) -> Result<Self> {
        let pid = agent.pid();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).context("reading its status")?;
        let megabytes = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
            let kilobytes: f64 = line?.trim().strip_suffix(" kB")?.parse().ok()?;
            Some(kilobytes / 1024.0)
        };
        let inventory = Inventory::of(pid)?;
        Ok(Self {
            anonymous: megabytes("RssAnon").context("no RssAnon")?,
            resident: megabytes("VmRSS").context("no VmRSS")?,
            descriptors: fs::read_dir(format!("/proc/{pid}/fd"))?.count(),
            programs: inventory.count("program"),
            maps: inventory.count("map"),
            links: inventory.count("link"),
        })
    }
}

/// What one agent held, round by round.
#[derive(Debug, Default)]
pub struct Life(Vec<Held>);

impl Life {
    pub fn add(&mut self, held: Held) {
        self.0.push(held);
    }

    /// Whether it held more and more.
    pub fn judge(&self) -> Result<()> {
        // At first it learns what there is.
        let settled = &self.0[self.0.len() / 4..];
        let [first, .., last] = settled else { bail!("too short: {} rounds with one agent", self.0.len()) };
        let growth = slope(settled) * (settled.len() - 1) as f64;
        println!(
            "memory: {:.1} to {:.1} MB of its own, by the slope {growth:+.2} MB in {} rounds (at most {MOST_GROWTH})",
            first.anonymous,
            last.anonymous,
            settled.len()
        );
        let mut grown = Vec::new();
        if growth > MOST_GROWTH {
            grown.push("memory");
        }
        // For a moment two generations are held: so the least of each half is compared.
        let (early, late) = settled.split_at(settled.len() / 2);
        for (what, of, more) in COUNTED {
            let least = |half: &[Held]| half.iter().map(of).min().unwrap_or(0);
            let (before, after) = (least(early), least(late));
            println!("{what}: {before} to {after} (at most {more} more)");
            if after > before + more {
                grown.push(what);
            }
        }
        if !grown.is_empty() {
            bail!("grew: {}", grown.join(", "));
        }
        Ok(())
    }
}

/// Megabytes a round, by least squares.
fn slope(rows: &[Held]) -> f64 {
    let count = rows.len() as f64;
    let mean_x = (count - 1.0) / 2.0;
    let mean_y = rows.iter().map(|row| row.anonymous).sum::<f64>() / count;
    let (mut over, mut under) = (0.0, 0.0);
    for (index, row) in rows.iter().enumerate() {
        let x = index as f64 - mean_x;
        over += x * (row.anonymous - mean_y);
        under += x * x;
    }
    over / under
}

/// A line of the table.
pub struct Row(String);

impl Row {
    pub fn head() {
        println!(
            "{:>7} {:>5} {:>8} {:>8} {:>5} {:>8} {:>5} {:>5} {:>10} {:>10} {:>10} {:>8}",
            "seconds",
            "round",
            "own MB",
            "all MB",
            "fds",
            "programs",
            "maps",
            "links",
            "seen",
            "delivered",
            "suppressed",
            "lost"
        );
    }

    pub fn new(after: Duration, round: u32, held: &Held, books: &Books) -> Self {
        let sum = |column: fn(&tests::agent::books::Book) -> f64| books.values().map(column).sum::<f64>();
        Self(format!(
            "{:>7.0} {round:>5} {:>8.1} {:>8.1} {:>5} {:>8} {:>5} {:>5} {:>10} {:>10} {:>10} {:>8}",
            after.as_secs_f64(),
            held.anonymous,
            held.resident,
            held.descriptors,
            held.programs,
            held.maps,
            held.links,
            sum(|book| book.seen),
            sum(|book| book.delivered),
            sum(|book| book.suppressed),
            sum(|book| book.lost),
        ))
    }

    pub fn print(&self) {
        println!("{}", self.0);
    }
}
