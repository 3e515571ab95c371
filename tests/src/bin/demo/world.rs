//! The stage: a client and a server namespace, a scope, a database, a web server and a service.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use tests::{
    agent::{Agent, Mode, Setup},
    cgroup::Cgroup,
    netns::Netns,
    place::Place,
    program::{Finished, Program},
    server::Server,
    wait::deadline,
};

use crate::postgres::{self, Postgres};

const SERVER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 77, 0, 1));
/// The well-behaved client's address, and the flooding one's.
pub const CALM: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 77, 0, 2));
/// See [`CALM`].
pub const FLOOD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 77, 0, 3));
const DATABASE: u16 = 5432;
/// The web server's port.
const WEB: u16 = 8080;
/// New connections a second, and at once, that the policy grants each client of the web server.
pub const CONNECTIONS: u32 = 50;

/// Everything the demo makes. The fields are dropped in this order.
pub struct World {
    database: Database,
    web: Server,
    service: PathBuf,
    copy: PathBuf,
    group: Cgroup,
    client: Netns,
    server: Netns,
    place: Place,
}

/// The database server, and the program that may talk to it.
enum Database {
    Real(Postgres),
    /// Where PostgreSQL isn't installed: it only notes who connected.
    Ours {
        server: Server,
        client: PathBuf,
    },
}

impl World {
    pub fn new() -> Result<Self> {
        let (server, client, place) = (Netns::new()?, Netns::new()?, Place::new()?);
        server.link("s0", &client, "c0")?;
        server.address("s0", SERVER, 24)?;
        for address in [CALM, FLOOD] {
            client.address("c0", address, 24)?;
        }
        let address = SocketAddr::new(SERVER, DATABASE);
        let database = match postgres::installed() {
            Some(bin) => Database::Real(Postgres::start(bin, &place, &server, address)?),
            None => Database::Ours {
                server: Server::start(&place, Some(&server), &[&address.to_string()], &[])?,
                client: place.copy("probe", "orders-client")?,
            },
        };
        let web = Server::start(&place, Some(&server), &[&SocketAddr::new(SERVER, WEB).to_string()], &[])?;
        let service = place.copy("probe", "service")?;
        let copy = place.copy_file(database.program().as_ref(), "copied-client")?;
        let world = Self { database, web, service, copy, group: Cgroup::new()?, client, server, place };
        world.fill()?;
        Ok(world)
    }

    /// Puts something into the database that is worth reading.
    fn fill(&self) -> Result<()> {
        let Database::Real(postgres) = &self.database else { return Ok(()) };
        let orders = "create table orders as select id, 'book' as item from generate_series(1, 3) as id";
        let end = postgres.client(&postgres.psql(), orders).within(&self.client)?.finish(deadline(20.0))?;
        ensure!(end.status.success(), "filling the database: {}", end.stderr);
        Ok(())
    }

    pub fn database(&self) -> String {
        match &self.database {
            Database::Real(postgres) => format!("a real {} server", postgres.version()),
            Database::Ours { .. } => "a small server of ours, as PostgreSQL isn't installed".to_owned(),
        }
    }

    pub fn rules(&self) -> String {
        format!(
            "[[workload]]\nname = \"api\"\nexe = [{client:?}]\n\n\
             [[workload]]\nname = \"service\"\nexe = [{service:?}]\n\n\
             [[database]]\nname = \"orders\"\nengine = \"postgres\"\nports = [{DATABASE}]\nclients = [\"api\"]\n\n\
             [[exec]]\nname = \"no shells from the service\"\nby = [\"service\"]\n\
             deny = [\"/bin/*sh\", \"/usr/bin/*sh\", \"@memfd\"]\naction = \"deny\"\n\n\
             [[rate_limit]]\nname = \"web per client\"\nports = [{WEB}]\nprotocol = \"tcp\"\n\
             connections = \"{CONNECTIONS}/s\"\nburst = {CONNECTIONS}\n",
            client = self.database.program(),
            service = self.service,
        )
    }

    pub fn agent(&self) -> Result<Agent<'_>> {
        let setup = Setup::new(Mode::Enforce, &self.group).within(&self.server).interfaces(&["s0"]);
        setup.rules(&self.rules()).start()
    }

    /// The program the policy allows at the database.
    pub fn allowed(&self) -> PathBuf {
        self.database.program()
    }

    /// A copy of it: the same bytes, another file.
    pub fn copied(&self) -> &Path {
        &self.copy
    }

    /// Reads the orders with a client program.
    pub fn read_orders(&self, program: &Path) -> Result<Finished> {
        let client = match &self.database {
            Database::Real(postgres) => postgres.client(program, "select count(*) from orders"),
            Database::Ours { server, .. } => {
                let to = server.tcp().first().context("the server has no address")?;
                Program::new(program).arg("connect").with("to", to.to_string())
            }
        };
        client.within(&self.client)?.inside(&self.group)?.finish(deadline(20.0))
    }

    /// Runs another program of the host in the client's place.
    pub fn stranger(&self, program: Program) -> Result<Finished> {
        program.within(&self.client)?.inside(&self.group)?.finish(deadline(20.0))
    }

    pub fn database_address(&self) -> SocketAddr {
        SocketAddr::new(SERVER, DATABASE)
    }

    /// Lets the service run something; a file `made` in its directory would show that it ran.
    pub fn serve(&self, words: &[&str]) -> Result<(Finished, bool)> {
        let work = self.place.directory("work")?;
        let program = Program::new(&self.service).args(words).directory(&work).inside(&self.group)?;
        let end = program.finish(deadline(20.0))?;
        Ok((end, std::fs::remove_file(work.join("made")).is_ok()))
    }

    /// A web client that opens connections at a rate.
    pub fn visitor(&self, from: IpAddr, count: u32, rate: u32) -> Result<Program> {
        let to = SocketAddr::new(SERVER, WEB);
        let program = Program::probe()?.arg("attempt").with("to", to.to_string());
        let program = program.with("from", SocketAddr::new(from, 0).to_string());
        program.with("count", count.to_string()).with("rate", rate.to_string()).within(&self.client)
    }

    pub fn web(&self) -> &Server {
        &self.web
    }
}

impl Database {
    fn program(&self) -> PathBuf {
        match self {
            Self::Real(postgres) => postgres.psql(),
            Self::Ours { client, .. } => client.clone(),
        }
    }
}
