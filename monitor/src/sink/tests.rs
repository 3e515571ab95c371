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
