//! Feeds a function with mutations of a kept corpus, for a bounded time, on a stable compiler.
//!
//! It isn't guided by what the code does with an input; a corpus of inputs that reach far makes up for some of that. An input
//! on which the function panics is written beside the corpus (`crash-*`), and is tried first from then on: keep it in the
//! corpus under a name that says what it was.

use std::{
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Seconds for each target; how `cargo xtask fuzz --seconds N` tells.
pub const SECONDS: &str = "FUZZ_SECONDS";
/// The seed, to do a run again.
pub const SEED: &str = "FUZZ_SEED";

/// Bytes of an input, at most.
const MOST: usize = 1 << 14;

/// Tries every input of the corpus, then mutations of them; how many there were.
///
/// # Panics
/// On the first input on which `target` does; the seed and the input are said.
pub fn run(corpus: &Path, words: &[&[u8]], mut target: impl FnMut(&[u8])) -> u64 {
    let inputs = read(corpus);
    assert!(!inputs.is_empty(), "there is no corpus in {}", corpus.display());
    let seed = number(SEED).unwrap_or_else(|| fastrand::u64(..));
    let end = Instant::now() + Duration::from_secs(number(SECONDS).unwrap_or(1));
    let mut random = fastrand::Rng::with_seed(seed);
    let mut tried = 0;
    let mut attempt = |input: &[u8]| {
        tried += 1;
        let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(input))) else { return };
        let crash = corpus.join(format!("crash-{seed:x}-{tried}"));
        let kept = fs::write(&crash, input);
        eprintln!("{SEED}={seed}: input {tried}, kept as {}: {kept:?}", crash.display());
        resume_unwind(panic);
    };
    inputs.iter().for_each(|input| attempt(input));
    while Instant::now() < end {
        // The clock is asked seldom: most targets take a microsecond.
        for _ in 0..64 {
            attempt(&mutation(&inputs, words, &mut random));
        }
    }
    println!("{tried} inputs, {} of them kept ones, {SEED}={seed}", inputs.len());
    tried
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok()?.parse().ok()
}

/// The files of a corpus, in name order.
fn read(corpus: &Path) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(corpus).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths.iter().filter_map(|path| fs::read(path).ok()).collect()
}

/// An input of the corpus with some changes.
fn mutation(inputs: &[Vec<u8>], words: &[&[u8]], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut input = inputs[random.usize(..inputs.len())].clone();
    for _ in 0..=random.u32(..6) {
        let at = random.usize(..=input.len());
        let to = at + random.usize(..=(input.len() - at).min(40));
        match random.u32(..9) {
            0 if at < input.len() => input[at] ^= 1 << random.u32(..8),
            1 if at < input.len() => input[at] = random.u8(..),
            2 if at < input.len() => {
                input[at] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'\\', b'\n'][random.usize(..8)]
            }
            3 => drop(input.drain(at..to)),
            4 => {
                let copy = input[at..to].to_vec();
                let there = random.usize(..=input.len());
                drop(input.splice(there..there, copy));
            }
            5 => drop(
                input.splice(at..at, (0..random.usize(..9)).map(|_| fastrand::u8(..)).collect::<Vec<_>>()),
            ),
            6 if !words.is_empty() => {
                let word = words[random.usize(..words.len())];
                drop(input.splice(at..to, word.iter().copied()));
            }
            7 => {
                let other = &inputs[random.usize(..inputs.len())];
                input.truncate(at);
                input.extend_from_slice(&other[random.usize(..=other.len())..]);
            }
            _ => input.truncate(at),
        }
    }
    input.truncate(MOST);
    input
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use super::*;

    /// A directory with one input, removed when dropped.
    struct Corpus(PathBuf);

    impl Corpus {
        fn new() -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let name = format!("monitor-fuzz-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
            let path = env::temp_dir().join(name);
            fs::create_dir(&path).unwrap();
            fs::write(path.join("one"), b"hello, world").unwrap();
            Self(path)
        }
    }

    impl Drop for Corpus {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_breaks_on_a_mutation_is_found_and_kept() {
        let corpus = Corpus::new();
        let broken = |input: &[u8]| assert!(!input.windows(4).any(|part| part == b"EVIL"), "found it");
        assert!(catch_unwind(|| run(&corpus.0, &[b"EVIL"], broken)).is_err());
        let kept = read(&corpus.0);
        assert_eq!(kept.len(), 2);
        assert!(kept.iter().any(|input| input.windows(4).any(|part| part == b"EVIL")));
    }

    #[test]
    fn every_kind_of_change_is_made() {
        let corpus = Corpus::new();
        let (mut longer, mut shorter, mut other) = (0, 0, 0);
        let tried = run(&corpus.0, &[b"word"], |input| match input.len().cmp(&12) {
            std::cmp::Ordering::Greater => longer += 1,
            std::cmp::Ordering::Less => shorter += 1,
            std::cmp::Ordering::Equal => other += u64::from(input != b"hello, world"),
        });
        assert!(
            tried > 1000 && longer > 50 && shorter > 50 && other > 50,
            "{tried} {longer} {shorter} {other}"
        );
    }
}
