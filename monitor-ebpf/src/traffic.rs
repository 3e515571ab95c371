//! Connections to and of databases: whose they are, who uses them, and what went through.

use aya_ebpf::helpers::{bpf_get_socket_cookie, bpf_ktime_get_boot_ns, bpf_skc_to_tcp_sock};
use monitor_common::{
    addr::Addr,
    count::{Connection, Count, LIFETIMES, LIFETIMES_MS, Stat, Traffic, database_slot},
    event::{Endpoint, Kind, held::Held},
    limits,
    packet::TCP,
    policy::{Decision, RuleKind, masks::Direction, verdict},
};

use crate::{
    database::decide,
    emit::{self, add, count, emit_finding, header, stat},
    field, global,
    kernel::Object,
    maps::{ATTEMPTS, CONNECTIONS, DATABASE_PORTS, LISTENERS, TRAFFIC},
    policy::{by_port, port_index},
    subject::{Known, actor, in_scope, is_agent, known, pid},
};

/// Notes who asked for a connection that a rule speaks of, to attribute it to them when it is established. False if this
/// is the same attempt as before: with a fast open that is put off, the kernel asks at the connect and at the first data.
#[inline(always)]
pub fn asked(cookie: u64, decision: &Decision, process: &Known, pid: u32) -> bool {
    let slot = database_slot(Direction::Client, decision.rule, process.workloads.first());
    // SAFETY: entries change as a whole.
    if let Some(before) = unsafe { ATTEMPTS.get(cookie) }
        && before.slot == slot
        && before.pid == pid
    {
        return false;
    }
    let attempt = Connection { since_ns: 0, slot, pid, open: 0, told: 0, ino: process.exe.ino };
    let _ = ATTEMPTS.insert(cookie, attempt, 0);
    true
}

/// Notes who listens for a database.
#[inline(always)]
pub fn listens(decision: &Decision, local: &Endpoint, process: &Known, pid: u32) {
    let slot = database_slot(Direction::Server, decision.rule, process.workloads.first());
    let listener = Connection { since_ns: 0, slot, pid, open: 0, told: 0, ino: process.exe.ino };
    let _ = LISTENERS.insert(port_index(local.protocol, local.port), listener, 0);
}

/// A connection is established: in whatever context its last packet came in.
#[inline(always)]
pub fn established(sock: Object, accepted: bool) {
    let Some(cookie) = cookie_of_interest(sock) else { return };
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    if accepted {
        let protocol: u16 = field!(sock, sock_protocol);
        let index = port_index(protocol as u8, field!(sock, sock_num));
        // SAFETY: entries change as a whole.
        let Some(listener) = (unsafe { LISTENERS.get(index) }) else { return };
        open(cookie, &Connection { since_ns: now, open: 1, ..*listener });
    // SAFETY: as above.
    } else if let Some(attempt) = unsafe { ATTEMPTS.get(cookie) } {
        let connection = Connection { since_ns: now, open: 1, ..*attempt };
        let _ = ATTEMPTS.remove(cookie);
        open(cookie, &connection);
    }
}

/// Remembers a connection, once, until it ends.
#[inline(always)]
fn open(cookie: u64, connection: &Connection) {
    const NO_EXIST: u64 = 1;
    const EEXIST: i32 = -17;
    match CONNECTIONS.insert(cookie, connection, NO_EXIST) {
        Ok(()) => opened(connection.slot),
        Err(EEXIST) => {}
        Err(_) => stat(Stat::ConnectionTableFull),
    }
}

#[inline(always)]
fn opened(slot: u32) {
    if let Some(traffic) = TRAFFIC.get_ptr_mut(slot) {
        // SAFETY: a live map value.
        add(unsafe { &raw mut (*traffic).opened }, 1);
    }
}

/// Data was sent. If who sent it neither opened the connection nor may be a client, it was handed over.
#[inline(always)]
pub fn used(sock: Object) {
    let protocol: u16 = field!(sock, sock_protocol);
    let port: u16 = field!(sock, sock_dport);
    let port = u16::from_be(port);
    let by_port = by_port(&DATABASE_PORTS, protocol as u8, port);
    if by_port.is_empty() || protocol != u16::from(TCP) {
        return;
    }
    // SAFETY: an argument of the hook.
    let cookie = unsafe { bpf_get_socket_cookie(sock.pointer().cast_mut().cast()) };
    let Some(connection) = CONNECTIONS.get_ptr_mut(cookie) else { return };
    let pid = pid();
    // SAFETY: a live map value.
    let Connection { slot, pid: opener_pid, told, ino, .. } = unsafe { *connection };
    if pid == told || is_agent(pid) || !in_scope() {
        return;
    }
    let process = known(pid);
    // Who opened it may have become another program since.
    if pid == opener_pid && process.exe.ino == ino {
        return;
    }
    // SAFETY: as above.
    unsafe { (*connection).told = pid };
    let remote = remote(sock, port, protocol as u8);
    let mut decision = decide(Direction::Client, &remote, &process.workloads);
    if !decision.is_finding() {
        return;
    }
    // It is too late to refuse it.
    decision.verdict = verdict::ALERT;
    emit::decided(RuleKind::Database, &decision);
    count(Kind::Held, Count::Seen);
    let opener_workload = slot % (limits::WORKLOADS as u32 + 1);
    emit_finding(
        Kind::Held,
        &Held {
            header: header(Kind::Held, &decision, 0),
            actor: actor(pid, &process),
            remote,
            opener_pid,
            opener_workload,
        },
    );
}

#[inline(always)]
fn remote(sock: Object, port: u16, protocol: u8) -> Endpoint {
    const AF_INET6: u16 = 10;
    let family: u16 = field!(sock, sock_family);
    let (addr, family) = if family == AF_INET6 {
        let at = global!(LAYOUT.sock_v6_daddr);
        (Addr::v6_words([sock.load(at), sock.load(at + 4), sock.load(at + 8), sock.load(at + 12)]), 6)
    } else {
        let addr: u32 = field!(sock, sock_daddr);
        (Addr::v4(addr.to_ne_bytes()), 4)
    };
    Endpoint { addr, port, protocol, family, zero: 0 }
}

/// A connection has ended.
#[inline(always)]
pub fn closed(sock: Object) {
    let Some(cookie) = cookie_of_interest(sock) else { return };
    // SAFETY: entries change as a whole.
    let Some(connection) = (unsafe { CONNECTIONS.get(cookie) }) else {
        // It never was one.
        let _ = ATTEMPTS.remove(cookie);
        return;
    };
    let Connection { since_ns, slot, .. } = *connection;
    if CONNECTIONS.remove(cookie).is_err() {
        return;
    }
    let Some(traffic) = TRAFFIC.get_ptr_mut(slot) else { return };
    // SAFETY: an argument of the hook; the helper checks what it is.
    let tcp = unsafe { bpf_skc_to_tcp_sock(sock.pointer().cast_mut().cast()) };
    let (mut sent, mut received) = (0u64, 0u64);
    if !tcp.is_null() {
        let tcp = Object::new(tcp.cast_const().cast());
        sent = field!(tcp, tcp_bytes_acked);
        received = field!(tcp, tcp_bytes_received);
    }
    // SAFETY: a live map value; a helper without arguments.
    unsafe {
        let lived = bpf_ktime_get_boot_ns().wrapping_sub(since_ns);
        count_closed(&mut *traffic, sent, received, lived);
    }
}

#[inline(always)]
fn count_closed(traffic: &mut Traffic, sent: u64, received: u64, lived: u64) {
    add(&raw mut traffic.closed, 1);
    add(&raw mut traffic.sent, sent);
    add(&raw mut traffic.received, received);
    add(&raw mut traffic.lifetime_ns, lived);
    let mut class = 0;
    while class < LIFETIMES - 1 {
        if lived <= LIFETIMES_MS[class] * 1_000_000 {
            break;
        }
        class += 1;
    }
    if class < LIFETIMES {
        // SAFETY: just compared with the length.
        add(unsafe { (&raw mut traffic.lifetimes).cast::<u64>().add(class) }, 1);
    }
}

/// The cookie of a socket that a database rule may speak of.
#[inline(always)]
fn cookie_of_interest(sock: Object) -> Option<u64> {
    let protocol: u16 = field!(sock, sock_protocol);
    let (local, remote): (u16, u16) = (field!(sock, sock_num), field!(sock, sock_dport));
    let ours = by_port(&DATABASE_PORTS, protocol as u8, local);
    let theirs = by_port(&DATABASE_PORTS, protocol as u8, u16::from_be(remote));
    if ours.is_empty() && theirs.is_empty() {
        return None;
    }
    // SAFETY: an argument of the hook.
    Some(unsafe { bpf_get_socket_cookie(sock.pointer().cast_mut().cast()) })
}
