//! `monitor top` in a real terminal, driven as a person would.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use tests::{
    agent::{Mode, Setup},
    cgroup::Cgroup,
    needs,
    place::Place,
    program::Program,
    wait::{deadline, eventually},
};

/// A terminal of 80x24 with a server of its own.
struct Tmux {
    socket: std::path::PathBuf,
}

impl Tmux {
    fn run(&self, arguments: &[&str]) -> Result<String> {
        let mut tmux = Command::new("tmux");
        let out = tmux.arg("-S").arg(&self.socket).args(["-f", "/dev/null"]).args(arguments).output();
        let out = out.context("starting tmux (`cargo xtask setup --for test` installs it)")?;
        ensure!(out.status.success(), "tmux {arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    }

    fn press(&self, keys: &[&str]) -> Result<()> {
        self.run(&[&["send-keys", "-t", "top"], keys].concat()).map(drop)
    }

    /// Waits until the screen has all of these.
    fn shows(&self, words: &[&str]) -> Result<()> {
        let mut last = String::new();
        eventually("the screen", deadline(30.0), || {
            last = self.run(&["capture-pane", "-p", "-t", "top"])?;
            Ok(words.iter().all(|word| last.contains(word)).then_some(()))
        })
        .with_context(|| format!("the screen has not all of {words:?}:\n{last}"))
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let _ = self.run(&["kill-server"]);
    }
}

#[test]
fn top_is_driven_in_a_terminal() -> Result<()> {
    let scope = Cgroup::new()?;
    let rule =
        "[[exec]]\nname = \"no-true\"\ndeny = [\"/usr/bin/true\", \"/bin/true\"]\naction = \"alert\"\n";
    let agent = Setup::new(Mode::Observe, &scope).rules(rule).start()?;
    Program::new("/usr/bin/true").inside(&scope)?.finish(deadline(30.0))?;
    let place = Place::new()?;
    let tmux = Tmux { socket: place.join("tmux") };
    let (monitor, run) = (needs::monitor()?, agent.run_directory());
    let command =
        format!("TERM=screen exec {} top --interval 0.5 --run-dir {}", monitor.display(), run.display());
    // It stays for a while after the program, so that its end can be seen.
    tmux.run(&[
        "new-session",
        "-d",
        "-s",
        "top",
        "-x",
        "80",
        "-y",
        "24",
        &format!("sh -c '{command}'; sleep 60"),
    ])?;
    tmux.shows(&["Events by kind", "exec", "observe mode", "no-true", "q leave"])?;
    tmux.press(&["4"])?;
    tmux.shows(&["The last findings (1)", "would alert", "/usr/bin/true"])?;
    tmux.press(&["Down"])?;
    tmux.press(&["Enter"])?;
    tmux.shows(&["Detail"])?;
    tmux.press(&["Enter"])?;
    tmux.press(&["/", "z", "z", "Enter"])?;
    tmux.shows(&["The last findings (0)", "filter: zz"])?;
    tmux.press(&["Escape"])?;
    tmux.shows(&["The last findings (1)"])?;
    tmux.press(&["Space"])?;
    tmux.shows(&["PAUSED"])?;
    tmux.press(&["Space"])?;
    tmux.press(&["5"])?;
    tmux.shows(&["The agent", "observe mode, generation 1"])?;
    tmux.press(&["?"])?;
    tmux.shows(&["any key closes"])?;
    tmux.press(&["x"])?;
    tmux.press(&["q"])?;
    // The terminal is as it was before.
    eventually("the end", deadline(30.0), || {
        Ok((!tmux.run(&["capture-pane", "-p", "-t", "top"])?.contains("The agent")).then_some(()))
    })?;
    agent.stop().map(drop)
}
