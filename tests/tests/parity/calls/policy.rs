//! Random policies about the programs, users, cgroups and ports of a scene.

use std::fmt::Write as _;

use fastrand::Rng;

use super::{Scene, USERS};

impl Scene {
    /// Workloads of which only those that ask for a program are named as kin: then a process belongs to none of those before it
    /// has executed one of ours.
    pub(super) fn policy(&self, random: &mut Rng) -> String {
        let mut text = String::new();
        let mut kin: Vec<String> = Vec::new();
        let mut all: Vec<String> = Vec::new();
        for number in 0..random.usize(4..9) {
            let name = format!("w{number}");
            let _ = writeln!(text, "[[workload]]\nname = {name:?}");
            let mut given = 0;
            if random.bool() || number < 2 {
                let exe = [self.path("p/a"), self.path("p/b"), self.path("p/*"), self.path("*/a")];
                let _ = writeln!(text, "exe = [{:?}]", exe[random.usize(..exe.len())]);
                if random.u8(..4) == 0 {
                    text.push_str("descendants = true\n");
                }
                kin.push(name.clone());
                given += 1;
            } else if !kin.is_empty() && random.bool() {
                let key = ["parent", "ancestor"][random.usize(..2)];
                let _ = writeln!(text, "{key} = [{:?}]", kin[random.usize(..kin.len())]);
                given += 1;
            }
            if given == 0 || random.u8(..3) == 0 {
                let key = ["user", "group"][random.usize(..2)];
                let _ = writeln!(text, "{key} = [{}]", USERS[random.usize(..2)]);
            }
            if random.u8(..4) == 0 {
                let scope = self.slice.scope();
                let groups = ["/one.service", "/two.slice", "/two.slice/*", "/**/three"]
                    .map(|group| format!("{scope}{group}"));
                let _ = writeln!(text, "cgroup = [{:?}]", groups[random.usize(..groups.len())]);
            }
            all.push(name);
        }
        self.rules(random, &mut text, &all);
        text
    }

    fn rules(&self, random: &mut Rng, text: &mut String, all: &[String]) {
        let some = |random: &mut Rng, least| {
            let count = random.usize(least..=4.min(all.len()));
            let mut names = all.to_vec();
            random.shuffle(&mut names);
            names.truncate(count);
            names
        };
        let ports: Vec<u16> = self.server.ports().into_iter().chain(self.free.iter().copied()).collect();
        for number in 0..random.usize(2..5) {
            let ports: Vec<u16> = ports.iter().copied().filter(|_| random.u8(..3) > 0).collect();
            if ports.is_empty() {
                continue;
            }
            let _ = writeln!(text, "[[database]]\nname = \"d{number}\"\nports = {ports:?}");
            let _ = writeln!(text, "clients = {:?}\nservers = {:?}", some(random, 0), some(random, 0));
            if random.bool() {
                let addresses =
                    [&["127.0.0.1"][..], &["127.0.0.0/8"], &["127.0.0.2", "::1"], &["10.0.0.0/8"]];
                let _ = writeln!(text, "addresses = {:?}", addresses[random.usize(..4)]);
            }
            mode(random, text);
        }
        for number in 0..random.usize(2..5) {
            let _ = writeln!(text, "[[exec]]\nname = \"e{number}\"");
            let files = [self.path("t/x"), self.path("t/y"), self.path("t/*"), self.path("**/z")];
            let file = &files[random.usize(..files.len())];
            let by = some(random, 1);
            match random.u8(..4) {
                // The programs that live must be able to begin.
                0 => drop(writeln!(text, "allow = [{:?}, {file:?}]\nby = {by:?}", self.path("p/*"))),
                1 => drop(writeln!(
                    text,
                    "allow = [{:?}, {file:?}]\nuser = [{}]",
                    self.path("p/*"),
                    USERS[random.usize(..2)]
                )),
                2 => drop(writeln!(text, "deny = [{file:?}]\nargs = {{ contains = [\"ump\"] }}")),
                _ => drop(writeln!(text, "deny = [{file:?}]\nby = {by:?}")),
            }
            let _ = writeln!(text, "action = \"{}\"", ["deny", "kill", "alert"][random.usize(..3)]);
            mode(random, text);
        }
        if random.bool() {
            // Where there is no BPF LSM, raw IP sockets are judged all the same.
            let allow = some(random, 0);
            let _ =
                writeln!(text, "[raw_sockets]\nallow = {allow:?}\naction = \"deny\"\ndegrade = \"observe\"");
        }
    }
}

fn mode(random: &mut Rng, text: &mut String) {
    if random.u8(..4) == 0 {
        text.push_str("mode = \"observe\"\n");
    }
}
