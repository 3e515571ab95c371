//! Who is somebody else each time.

use std::{
    ffi::CString,
    fs,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde_json::json;

use crate::{
    Outcomes, say,
    ways::{self, Talk},
    words::Words,
};

/// `distinct to=ADDRESS program=PATH directory=PATH count=N seconds=S`: asks for N connections, each under another name of the
/// thread, and meanwhile runs the program again and again, each time by another path, which is a link of its own. Tells the outcomes
/// of both; ends after S seconds at the latest.
pub fn distinct(words: &Words) -> Result<()> {
    let count: u64 = words.number("count")?.context("count=N is missing")?;
    let until = Instant::now() + words.seconds("seconds")?.unwrap_or(Duration::MAX);
    let (program, directory) = (words.path("program")?, words.path("directory")?);
    let talk = Talk { to: words.address("to")?, tag: "-", words };
    let connect = ways::find("tcp")?;
    let (names, paths) = thread::scope(|scope| {
        let runs = scope.spawn(|| {
            let mut ended = Outcomes::default();
            for number in (0..count).take_while(|_| Instant::now() < until) {
                let path = directory.join(format!("program-{number}"));
                let run = fs::hard_link(&program, &path).and_then(|()| Command::new(&path).status());
                ended.add(&run);
                let _ = fs::remove_file(&path);
            }
            ended
        });
        let mut asked = Outcomes::default();
        for number in (0..count).take_while(|_| Instant::now() < until) {
            name(&format!("name-{number}"));
            asked.add(&connect(&talk));
        }
        (asked, runs.join().unwrap_or_default())
    });
    say(&json!({ "names": names.json(), "paths": paths.json() }));
    Ok(())
}

/// Names this thread; the kernel keeps 15 bytes.
fn name(name: &str) {
    let Ok(name) = CString::new(name) else { return };
    // SAFETY: a text that ends with a zero byte.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) };
}
