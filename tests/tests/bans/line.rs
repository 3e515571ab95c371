//! Datagrams from both clients to the server, one at a time.

use std::{
    io::ErrorKind,
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use tests::wait::{Deadline, deadline, slowdown};

use crate::rate_limit::scene::{Family, PORT, Scene};

/// Between two packets of one source: far below the limit.
const STEP: Duration = Duration::from_millis(10);
/// Seconds without a packet after which none is under way any more.
const SILENCE: f64 = 0.2;

/// Sockets of both clients and the server's; the server has nothing else.
pub struct Line {
    family: Family,
    server: UdpSocket,
    clients: [UdpSocket; 2],
}

impl Line {
    /// To the port that the rule speaks of, for which both clients have been heard.
    pub fn new(scene: &Scene, family: Family) -> Result<Self> {
        Self::to_port(scene, family, PORT)
    }

    /// To some port.
    pub fn to_port(scene: &Scene, family: Family, port: u16) -> Result<Self> {
        let any: SocketAddr = format!("{}:{port}", family.any()).parse()?;
        let server = scene.server.run(|| Ok(UdpSocket::bind(any)?))?;
        let client = |link: usize| {
            scene.clients[link].run(|| {
                let socket = UdpSocket::bind(SocketAddr::new(family.address(link, 2), 0))?;
                socket.connect(SocketAddr::new(family.address(link, 1), port))?;
                Ok(socket)
            })
        };
        Ok(Self { family, server, clients: [client(0)?, client(1)?] })
    }

    /// Which client the next packet is from, if one comes in time.
    fn next(&self, patience: Duration) -> Result<Option<usize>> {
        // A timeout of zero would be for ever, and the shortest one is a tick.
        self.server.set_nonblocking(patience.is_zero())?;
        if !patience.is_zero() {
            self.server.set_read_timeout(Some(patience))?;
        }
        match self.server.recv_from(&mut [0; 64]) {
            Ok((_, from)) => {
                let link = [0, 1].into_iter().find(|link| self.family.address(*link, 2) == from.ip());
                Ok(Some(link.with_context(|| format!("a packet from {from}"))?))
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn send(&self, link: usize) -> Result<()> {
        self.clients[link].send(b"datagram").map(drop).context("sending")
    }

    /// Sends as fast as it goes, and counts what arrives.
    pub fn burst(&self, link: usize, count: u64) -> Result<u64> {
        let mut arrived = 0;
        for _ in 0..count {
            self.send(link)?;
            // In between, so that the socket can't be full.
            arrived += u64::from(self.next(Duration::ZERO)? == Some(link));
        }
        let silence = Duration::from_secs_f64(SILENCE * slowdown());
        while arrived < count && self.next(silence)?.is_some() {
            arrived += 1;
        }
        Ok(arrived)
    }

    /// Sends slowly until a packet arrives; when that was. All packets of the other client, which sends as many beside it,
    /// must arrive.
    pub fn until_heard(&self, link: usize, by: Deadline) -> Result<Instant> {
        let other = 1 - link;
        while !by.left().is_zero() {
            self.send(link)?;
            self.send(other)?;
            let (mut other_is_due, patience, step) = (true, deadline(5.0), Instant::now());
            loop {
                let left = if other_is_due { patience.left() } else { STEP.saturating_sub(step.elapsed()) };
                match self.next(left)? {
                    Some(from) if from == link => return Ok(Instant::now()),
                    Some(_) => other_is_due = false,
                    None => break,
                }
            }
            ensure!(!other_is_due, "a packet of the other client is missing");
        }
        anyhow::bail!("nothing of client {link} arrived in time")
    }

    /// Fails unless what both clients send is as is said.
    pub fn check(&self, what: &str, passes: [bool; 2]) -> Result<()> {
        const COUNT: u64 = 5;
        for link in [0, 1] {
            let due = if passes[link] { COUNT } else { 0 };
            let arrived = self.burst(link, COUNT)?;
            let family = self.family;
            ensure!(arrived == due, "{family:?}, {what}: {arrived} of client {link} arrived, {due} are due");
        }
        Ok(())
    }
}
