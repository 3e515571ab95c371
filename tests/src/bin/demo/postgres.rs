//! A real PostgreSQL server from the distribution, for the time of the demo.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    net::{SocketAddr, TcpStream},
    os::unix::fs::chown,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tests::{
    cgroup::Cgroup,
    netns::Netns,
    place::Place,
    program::{Program, Running},
    wait::{deadline, eventually},
};

const INSTALLED: &str = "/usr/lib/postgresql";
/// Whom the server runs as where there is no user `postgres`: it refuses to be root.
const NOBODY: u32 = 65534;
/// Accepts the two clients without a password; nobody else can reach the namespace.
const TRUST: &str = "host all all samenet trust\n";

/// The newest installed version's directory of programs, if there is one with a server and a client.
pub fn installed() -> Option<PathBuf> {
    let versions = fs::read_dir(INSTALLED).ok()?.flatten();
    let complete = |bin: &PathBuf| ["initdb", "postgres", "psql"].iter().all(|name| bin.join(name).is_file());
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|version| Some((version.file_name().to_str()?.parse().ok()?, version.path().join("bin"))))
        .filter(|(_, bin)| complete(bin))
        .collect();
    found.sort();
    found.pop().map(|(_, bin)| bin)
}

/// A running server; dropping it shuts it down.
pub struct Postgres {
    running: Option<Running>,
    bin: PathBuf,
    address: SocketAddr,
    // Whatever the server has started goes with it.
    _group: Cgroup,
}

impl Postgres {
    /// Makes a database in `place` and serves it at an address of a namespace.
    ///
    /// # Errors
    /// When a program of PostgreSQL fails, or nobody listens in time.
    pub fn start(bin: PathBuf, place: &Place, netns: &Netns, address: SocketAddr) -> Result<Self> {
        let user = user("postgres").unwrap_or(NOBODY);
        let home = place.directory("postgres")?;
        chown(&home, Some(user), Some(user))?;
        let data = home.join("data");
        let initdb =
            Program::new(bin.join("initdb")).args(["--auth=trust", "--username=demo", "--no-sync", "-D"]);
        let end = initdb.arg(&data).env("LC_ALL", "C").directory(&home).user(user).finish(deadline(30.0))?;
        ensure!(end.status.success(), "initdb: {}: {}", end.status, end.stderr);
        let trust = OpenOptions::new().append(true).open(data.join("pg_hba.conf"));
        trust?.write_all(TRUST.as_bytes())?;
        let group = Cgroup::new()?;
        let settings = [
            format!("listen_addresses={}", address.ip()),
            format!("port={}", address.port()),
            format!("unix_socket_directories={}", home.display()),
            "fsync=off".to_owned(),
        ];
        let server = Program::new(bin.join("postgres")).arg("-D").arg(&data);
        let server = settings.iter().fold(server, |server, setting| server.arg("-c").arg(setting));
        let server = server.env("LC_ALL", "C").directory(&home).user(user).within(netns)?.inside(&group)?;
        let mut running = server.start()?;
        eventually("the PostgreSQL server", deadline(20.0), || {
            ensure!(running.runs()?, "it ended: {}", running.kill_and_tell());
            let reached =
                netns.run(|| Ok(TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()))?;
            Ok(reached.then_some(()))
        })?;
        Ok(Self { running: Some(running), bin, address, _group: group })
    }

    /// The real client program, not the distribution's wrapper.
    pub fn psql(&self) -> PathBuf {
        self.bin.join("psql")
    }

    /// A client that runs one statement and prints only its result.
    pub fn client(&self, psql: &Path, statement: &str) -> Program {
        let program =
            Program::new(psql).args(["--no-psqlrc", "--tuples-only", "--no-align", "--username=demo"]);
        let program = program.args(["--dbname=postgres", "--host", &self.address.ip().to_string()]);
        program.arg("--port").arg(self.address.port().to_string()).arg("--command").arg(statement)
    }

    /// What `SHOW server_version` would say, as far as the path tells.
    pub fn version(&self) -> String {
        let version = self.bin.parent().and_then(Path::file_name).unwrap_or_default();
        format!("PostgreSQL {}", version.display())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let Some(mut running) = self.running.take() else { return };
        // A fast shutdown: only that frees the server's shared memory.
        let ended = running.signal(libc::SIGINT).and_then(|()| running.finish(deadline(10.0)).map(drop));
        if let Err(error) = ended {
            eprintln!("cleaning up: {error:#}");
        }
    }
}

fn user(name: &str) -> Option<u32> {
    let users = fs::read_to_string("/etc/passwd").context("reading /etc/passwd").ok()?;
    let mut fields = users.lines().map(|line| line.split(':'));
    fields.find_map(|mut fields| (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?)
}
