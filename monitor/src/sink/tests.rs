use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
    sync::{Arc, Mutex, mpsc},
};

use super::{stdout::Stdout, *};
use crate::render::samples;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn file(path: &Path, events: bool) -> Spec {
    let target = config::FileSink { path: path.to_owned(), max_size: None, keep: 0 };
    Spec { target: Target::File(target), format: Format::Auto, events, fold: Duration::ZERO }
}

fn sinks(output: Box<dyn Output>, capacity: usize, counters: &Counters) -> Sinks {
    let work = Work::Bytes(output, Style::Json);
    Sinks { sinks: vec![spawn("test", work, true, capacity, counters).unwrap()], keyed: RandomState::new() }
}

/// Delivered, and lost by reason.
fn books(counters: &Counters) -> (u64, Vec<(Loss, u64)>) {
    let (_, sink) = counters.sinks().remove(0);
    let lost = Loss::ALL.map(|reason| (reason, sink.lost_total(reason)));
    (sink.delivered_total(), lost.into_iter().filter(|(_, count)| *count > 0).collect())
}

fn lines(path: &Path) -> Vec<serde_json::Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_file_gets_every_line_and_only_its_owner_may_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let (all, findings) = (dir.path().join("all.jsonl"), dir.path().join("findings.jsonl"));
    let counters = Counters::default();
    let mut sinks = Sinks::open([file(&all, true), file(&findings, false)], &counters).unwrap();
    let (event, finding) = (Arc::new(samples::exec()), Arc::new(samples::denied_connect()));
    for _ in 0..1_000 {
        sinks.send(&event);
    }
    sinks.send(&finding);
    runtime().block_on(sinks.shutdown());
    assert_eq!(lines(&all).len(), 1_001);
    assert_eq!(lines(&findings).len(), 1);
    assert_eq!(lines(&findings)[0]["rule"], "orders");
    assert_eq!(fs::metadata(&all).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(books(&counters), (1_001, vec![]));
}

#[test]
fn what_is_in_a_file_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("findings.jsonl");
    fs::write(&path, "{\"old\":1}\n").unwrap();
    let counters = Counters::default();
    let mut sinks = Sinks::open([file(&path, true)], &counters).unwrap();
    sinks.send(&Arc::new(samples::exec()));
    runtime().block_on(sinks.shutdown());
    assert_eq!(lines(&path).len(), 2);
}

#[test]
fn after_a_rotation_the_new_file_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (path, old) = (dir.path().join("findings.jsonl"), dir.path().join("findings.jsonl.1"));
    let counters = Counters::default();
    let mut sinks = Sinks::open([file(&path, true)], &counters).unwrap();
    let event = Arc::new(samples::exec());
    sinks.send(&event);
    wait_until(|| books(&counters).0 == 1);
    fs::rename(&path, &old).unwrap();
    sinks.reopen();
    // The switch wakes the thread; no event is needed.
    wait_until(|| path.exists());
    sinks.send(&event);
    runtime().block_on(sinks.shutdown());
    assert_eq!((lines(&old).len(), lines(&path).len()), (1, 1));
}

#[test]
fn a_file_that_cannot_be_opened_again_is_written_on() {
    let dir = tempfile::tempdir().unwrap();
    let (inner, moved) = (dir.path().join("log"), dir.path().join("moved"));
    fs::create_dir(&inner).unwrap();
    let counters = Counters::default();
    let mut sinks = Sinks::open([file(&inner.join("f"), true)], &counters).unwrap();
    fs::rename(&inner, &moved).unwrap();
    sinks.reopen();
    sinks.send(&Arc::new(samples::exec()));
    runtime().block_on(sinks.shutdown());
    assert_eq!(lines(&moved.join("f")).len(), 1);
}

fn wait_until(condition: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "nothing happened in 10 s");
        thread::yield_now();
    }
}

#[test]
fn what_cannot_be_opened_is_named_with_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("plain"), "").unwrap();
    std::os::unix::fs::symlink("plain", path("link")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, path("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    for (name, expected) in [
        ("missing/f", "does not exist; make it (mkdir -p"),
        ("plain/f", "is not a directory"),
        ("", "it is a directory"),
        ("link", "it is a symbolic link"),
        ("pipe", "it is not a regular file"),
    ] {
        let error = Sinks::open([file(&path(name), true)], &Counters::default()).unwrap_err();
        let message = format!("{error:#}");
        let named = message.starts_with(&format!("can't open {} for [[sink]]: ", path(name).display()));
        assert!(named && message.contains(expected), "{message}");
    }
}

fn pipe(nonblocking: bool) -> (io::PipeReader, Box<dyn Output>) {
    let (reader, writer) = io::pipe().unwrap();
    if nonblocking {
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
    }
    (reader, Box::new(Stdout::from(std::os::fd::OwnedFd::from(writer))))
}

#[test]
fn a_line_comes_at_once() {
    for nonblocking in [false, true] {
        let (reader, output) = pipe(nonblocking);
        let mut sinks = sinks(output, QUEUE, &Counters::default());
        let mut reader = BufReader::new(reader);
        for _ in 0..3 {
            sinks.send(&Arc::new(samples::exec()));
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            assert!(line.contains("/usr/bin/ls"));
        }
    }
}

#[test]
fn a_reader_that_goes_away_closes_the_sink_and_no_event_is_forgotten() {
    let (reader, output) = pipe(false);
    let counters = Counters::default();
    let mut sinks = sinks(output, QUEUE, &counters);
    drop(reader);
    let event = Arc::new(samples::exec());
    for _ in 0..500 {
        sinks.send(&event);
    }
    wait_until(|| sinks.sinks[0].queue.is_closed());
    sinks.send(&event);
    runtime().block_on(sinks.shutdown());
    assert_eq!(books(&counters), (0, vec![(Loss::Closed, 501)]));
}

#[test]
fn a_reader_that_stops_reading_holds_up_nobody() {
    for nonblocking in [false, true] {
        let (mut reader, output) = pipe(nonblocking);
        let counters = Counters::default();
        let mut sinks = sinks(output, 1_000, &counters);
        let event = Arc::new(samples::exec());
        for _ in 0..10_000 {
            sinks.send(&event);
        }
        let before = std::time::Instant::now();
        runtime().block_on(sinks.shutdown_within(Duration::from_millis(100)));
        assert!(before.elapsed() < Duration::from_secs(3));
        let (delivered, lost) = books(&counters);
        let by = |wanted| lost.iter().find(|(reason, _)| *reason == wanted).map_or(0, |(_, count)| *count);
        assert!(by(Loss::QueueFull) > 0 && by(Loss::Shutdown) > 0, "{lost:?}");
        assert_eq!(delivered + lost.iter().map(|(_, count)| count).sum::<u64>(), 10_000, "{lost:?}");
        // Lets the thread end; what it writes now is counted no more.
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).unwrap();
        assert_eq!(books(&counters), (delivered, lost));
    }
}

#[test]
fn a_queue_that_is_full_of_events_takes_findings() {
    let (mut reader, output) = pipe(false);
    let counters = Counters::default();
    let mut sinks = sinks(output, 8_000, &counters);
    let (event, finding) = (Arc::new(samples::exec()), Arc::new(samples::denied_connect()));
    for _ in 0..20_000 {
        sinks.send(&event);
    }
    for _ in 0..900 {
        sinks.send(&finding);
    }
    let reading = thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text.lines().filter(|line| line.contains("\"finding\"")).count()
    });
    runtime().block_on(sinks.shutdown());
    assert_eq!(reading.join().unwrap(), 900);
    let (delivered, lost) = books(&counters);
    let [(Loss::QueueFull, lost)] = lost[..] else { panic!("{lost:?}") };
    assert_eq!(delivered + lost, 20_900);
}

#[test]
fn a_slow_reader_gets_everything() {
    let (mut reader, output) = pipe(true);
    let counters = Counters::default();
    let mut sinks = sinks(output, QUEUE, &counters);
    let event = Arc::new(samples::exec());
    for _ in 0..5_000 {
        sinks.send(&event);
    }
    let reading = thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    runtime().block_on(sinks.shutdown());
    let text = reading.join().unwrap();
    assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    assert_eq!((text.lines().count(), books(&counters)), (5_000, (5_000, vec![])));
}

#[test]
fn a_full_disk_is_counted_as_such() {
    let full = fs::OpenOptions::new().write(true).custom_flags(0).open("/dev/full").unwrap();
    let counters = Counters::default();
    let mut sinks = sinks(Box::new(Stdout::from(std::os::fd::OwnedFd::from(full))), QUEUE, &counters);
    for _ in 0..10 {
        sinks.send(&Arc::new(samples::exec()));
    }
    runtime().block_on(sinks.shutdown());
    assert_eq!(books(&counters), (0, vec![(Loss::DiskFull, 10)]));
}

/// Writes as long as there is room, and says when it was full.
struct Small {
    text: Arc<Mutex<Vec<u8>>>,
    room: Arc<AtomicU64>,
    full: mpsc::Sender<()>,
}

impl Output for Small {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.room.load(Relaxed);
        if room == 0 {
            let _ = self.full.send(());
            return Err(io::ErrorKind::StorageFull.into());
        }
        let some = bytes.len().min(usize::try_from(room).unwrap());
        self.text.lock().unwrap().extend_from_slice(&bytes[..some]);
        self.room.store(room - some as u64, Relaxed);
        Ok(some)
    }
}

#[test]
fn half_a_line_does_not_spoil_the_next() {
    let (full, was_full) = mpsc::channel();
    let (text, room) = (Arc::<Mutex<Vec<u8>>>::default(), Arc::new(AtomicU64::new(10)));
    let output = Small { text: Arc::clone(&text), room: Arc::clone(&room), full };
    let counters = Counters::default();
    let mut sinks = sinks(Box::new(output), QUEUE, &counters);
    let event = Arc::new(samples::exec());
    // The first is cut; the second meets no room even for the end of the first.
    for _ in 0..2 {
        sinks.send(&event);
        was_full.recv_timeout(Duration::from_secs(10)).unwrap();
        wait_until(|| books(&counters).1.iter().map(|(_, count)| count).sum::<u64>() > 0);
    }
    wait_until(|| books(&counters).1 == [(Loss::DiskFull, 2)]);
    room.store(u64::MAX, Relaxed);
    for _ in 0..2 {
        sinks.send(&event);
    }
    runtime().block_on(sinks.shutdown());
    assert_eq!(books(&counters), (2, vec![(Loss::DiskFull, 2)]));
    let text = String::from_utf8(text.lock().unwrap().clone()).unwrap();
    let good = text.lines().filter(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()).count();
    assert_eq!((good, text.lines().count()), (2, 3), "{text}");
}

#[test]
fn the_threads_of_sinks_end_when_they_are_dropped() {
    let (mut reader, output) = pipe(false);
    drop(sinks(output, QUEUE, &Counters::default()));
    let mut rest = Vec::new();
    assert_eq!(reader.read_to_end(&mut rest).unwrap(), 0);
}

#[test]
fn a_file_is_begun_anew_when_it_is_too_long() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("findings.jsonl");
    let target = config::FileSink { path: path.clone(), max_size: Some(100_000), keep: 2 };
    let spec =
        Spec { target: Target::File(target), format: Format::Json, events: true, fold: Duration::ZERO };
    let counters = Counters::default();
    let mut sinks = Sinks::open([spec], &counters).unwrap();
    for number in 0..2_000 {
        let mut event = samples::exec();
        event.boot_ns = number;
        sinks.send(&Arc::new(event));
        if number % 100 == 0 {
            let so_far = number;
            wait_until(|| books(&counters).0 > so_far);
        }
    }
    runtime().block_on(sinks.shutdown());
    assert_eq!(books(&counters), (2_000, vec![]));
    let mut numbers = Vec::new();
    for name in ["findings.jsonl.2", "findings.jsonl.1", "findings.jsonl"] {
        let file = dir.path().join(name);
        assert!(fs::metadata(&file).unwrap().len() <= 100_000 + 128 * 1024, "{name}");
        numbers.extend(lines(&file).iter().map(|line| line["boot_ns"].as_u64().unwrap()));
    }
    // Whole lines, in order, up to the last; older ones went with the files that aren't kept.
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
    assert_eq!(numbers.last(), Some(&1_999));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
}

/// As [`Small`], of a kind that is worth waiting for.
struct Patient(Small);

impl Output for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn is_patient(&self) -> bool {
        true
    }
}

#[test]
fn a_disk_that_was_full_gets_everything_once_there_is_room() {
    let (full, was_full) = mpsc::channel();
    let (text, room) = (Arc::<Mutex<Vec<u8>>>::default(), Arc::new(AtomicU64::new(1000)));
    let output = Patient(Small { text: Arc::clone(&text), room: Arc::clone(&room), full });
    let counters = Counters::default();
    // An eighth is for findings.
    let mut sinks = sinks(Box::new(output), 12, &counters);
    let event = Arc::new(samples::exec());
    for _ in 0..10 {
        sinks.send(&event);
    }
    was_full.recv_timeout(Duration::from_secs(10)).unwrap();
    // What doesn't fit in the queue meanwhile is lost, and for the reason that it is full for.
    wait_until(|| sinks.sinks[0].switches.trouble().is_some());
    for _ in 0..100 {
        sinks.send(&event);
    }
    let (delivered, lost) = books(&counters);
    let [(Loss::DiskFull, lost)] = lost[..] else { panic!("{delivered} {lost:?}") };
    assert!(lost >= 80, "{lost}");
    room.store(u64::MAX, Relaxed);
    runtime().block_on(sinks.shutdown());
    assert_eq!(books(&counters), (110 - lost, vec![(Loss::DiskFull, lost)]));
    let text = String::from_utf8(text.lock().unwrap().clone()).unwrap();
    // The line that was cut off when the disk was full went on where it ended.
    assert_eq!(
        text.lines().filter(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()).count(),
        110 - lost as usize
    );
    assert_eq!(text.lines().count(), 110 - lost as usize);
}

/// A service that is away until it is told to be there.
struct Away(Arc<AtomicU64>);

impl Remote for Away {
    fn batch(&self) -> usize {
        4
    }

    fn send(&mut self, events: &[Arc<Event>]) -> (usize, Result<(), remote::Failure>) {
        match self.0.load(Relaxed) {
            0 => (0, Err(remote::Failure::Away(anyhow::anyhow!("nobody there")))),
            1 => (0, Err(remote::Failure::Never(1, Loss::Rejected, anyhow::anyhow!("not this")))),
            _ => (events.len(), Ok(())),
        }
    }
}

#[test]
fn a_service_that_is_away_costs_the_others_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("all.jsonl");
    let counters = Counters::default();
    let mut sinks = Sinks::open([file(&path, true)], &counters).unwrap();
    let there = Arc::<AtomicU64>::default();
    sinks
        .sinks
        .push(spawn("away", Work::Events(Box::new(Away(Arc::clone(&there)))), true, 10, &counters).unwrap());
    let event = Arc::new(samples::exec());
    sinks.send(&event);
    wait_until(|| sinks.sinks[1].switches.trouble().is_some());
    let mut slowest = Duration::ZERO;
    for _ in 1..5_000 {
        let began = std::time::Instant::now();
        sinks.send(&event);
        slowest = slowest.max(began.elapsed());
    }
    let away = Arc::clone(&sinks.sinks[1].counters);
    wait_until(|| books(&counters).0 == 5_000);
    assert!(slowest < Duration::from_millis(500), "{slowest:?}");
    assert!(away.lost_total(Loss::Unreachable) > 0 && away.delivered_total() == 0);
    // It comes back, and gets what is in the queue.
    let lost: u64 = Loss::ALL.iter().map(|reason| away.lost_total(*reason)).sum();
    there.store(2, Relaxed);
    wait_until(|| away.delivered_total() == 5_000 - lost);
    there.store(1, Relaxed);
    sinks.send(&event);
    wait_until(|| away.lost_total(Loss::Rejected) == 1);
    runtime().block_on(sinks.shutdown());
}

#[test]
fn repeats_are_folded_and_none_is_missing_from_the_books() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("findings.jsonl");
    let counters = Counters::default();
    let spec = Spec { fold: Duration::from_secs(3600), ..file(&path, false) };
    let mut sinks = Sinks::open([spec], &counters).unwrap();
    for _ in 0..500 {
        sinks.send(&Arc::new(samples::denied_connect()));
        sinks.send(&Arc::new(samples::limited()));
    }
    sinks.tick();
    let folded = Arc::clone(&sinks.sinks[0].counters);
    wait_until(|| folded.delivered_total() == 2);
    runtime().block_on(sinks.shutdown());
    assert_eq!((folded.folded_total(), folded.delivered_total()), (998, 4));
    let lines = lines(&path);
    let counts: Vec<_> = lines.iter().map(|line| line["count"].as_u64().unwrap()).collect();
    assert_eq!(counts, [1, 1, 499, 499]);
    assert!(lines[..2].iter().all(|line| line.get("first").is_none()));
    assert!(lines[2..].iter().all(|line| line["first"].is_string() && line["last"].is_string()));
}
