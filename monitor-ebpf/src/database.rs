//! Databases: who may be a client, who may be the server, from where packets may come; and what went through.

use aya_ebpf::{
    helpers::{
        bpf_get_socket_cookie, bpf_ktime_get_boot_ns, bpf_ktime_get_ns, bpf_sk_fullsock,
        bpf_skb_ancestor_cgroup_id, bpf_skb_load_bytes, bpf_skc_to_tcp_sock,
    },
    macros::cgroup_skb,
    maps::{Array, LpmTrie, lpm_trie::Key},
    programs::SkBuffContext,
};
use monitor_common::{
    addr::Addr,
    count::{Connection, Count, LIFETIMES, LIFETIMES_MS, Traffic, database_slot},
    event::{Endpoint, Kind, held::Held, source::Source},
    limit::{BucketKey, REPORT_EVERY_NS},
    limits,
    packet::TCP,
    policy::{Decision, Masks, NO_RULE, Rule, RuleKind, RuleSet, WorkloadSet, masks::Direction, verdict},
};

use crate::{
    context,
    emit::{self, add, count, emit, header},
    field, global,
    kernel::Object,
    maps::{
        ADDRESSES, CLIENT_RULES, CONNECTIONS, DATABASE_PORTS, LISTENERS, REFUSED, SENDERS, SERVER_RULES,
        SOURCE_RULES, TRAFFIC,
    },
    policy::{self, by_port, port_index},
    subject::{Known, actor, in_scope, is_agent, known, masks, pid},
};

/// The table of what database rules say in one direction.
#[inline(always)]
pub fn rules_for(direction: Direction) -> &'static Array<Rule> {
    match direction {
        Direction::Client => &CLIENT_RULES,
        Direction::Server => &SERVER_RULES,
        Direction::Source => &SOURCE_RULES,
    }
}

/// Whether a database rule has the port of an endpoint.
#[inline(always)]
pub fn is_spoken_of(end: &Endpoint) -> bool {
    !by_port(&DATABASE_PORTS, end.protocol, end.port).is_empty()
}

/// The database rules that speak of an endpoint.
#[inline(always)]
pub fn candidates(direction: Direction, end: &Endpoint) -> RuleSet {
    let by_port = by_port(&DATABASE_PORTS, end.protocol, end.port);
    let Some(masks) = masks().filter(|_| !by_port.is_empty()) else { return RuleSet::EMPTY };
    let by_address = if by_port.without(&masks.any_address).is_empty() {
        &masks.any_address
    } else if direction == Direction::Server && end.addr.is_unspecified() {
        // Who listens at every address listens at those of the rule.
        &masks.databases
    } else {
        listed(&ADDRESSES, end.addr, masks)
    };
    // VERIFIER: whichever set it is, it is copied from memory into one state.
    masks.database_candidates(direction, &by_port, by_address)
}

/// The rules that list an address, or none.
#[inline(always)]
fn listed(table: &'static LpmTrie<Addr, RuleSet>, addr: Addr, masks: &'static Masks) -> &'static RuleSet {
    table.get(Key::new(128, addr)).unwrap_or(&masks.nothing)
}

/// Decides on what a process asks for.
#[inline(always)]
pub fn decide(direction: Direction, end: &Endpoint, workloads: &WorkloadSet) -> Decision {
    policy::decide(rules_for(direction), &candidates(direction, end), workloads)
}

/// Decides, and counts it.
#[inline(always)]
pub fn judge(direction: Direction, end: &Endpoint, workloads: &WorkloadSet) -> Decision {
    let decision = decide(direction, end, workloads);
    tally(direction, &decision, workloads);
    decision
}

/// Counts a decision on what a process asked for.
#[inline(always)]
pub fn tally(direction: Direction, decision: &Decision, workloads: &WorkloadSet) {
    if decision.rule != NO_RULE {
        emit::decided(RuleKind::Database, decision);
        emit::database(direction, decision, workloads.first());
    }
}

/// A packet has arrived for a socket, on whatever interface, with every header of lower layers behind it.
#[cgroup_skb]
pub fn sources(context: SkBuffContext) -> i32 {
    if refuses_packet(&context) { 0 } else { 1 }
}

#[inline(always)]
fn refuses_packet(skb: &SkBuffContext) -> bool {
    /// Of the loopback device, in every network namespace (`LOOPBACK_IFINDEX`, `include/net/flow.h`).
    const LOOPBACK: u32 = 1;
    let raw = skb.skb.skb;
    if context!(raw, ifindex) == LOOPBACK {
        // From this host: `clients` is for those.
        return false;
    }
    // SAFETY: a field of the context; null is checked before use.
    let sock = unsafe { core::ptr::read_volatile(&raw const (*raw).__bindgen_anon_2.sk) };
    if sock.is_null() {
        return false;
    }
    // SAFETY: not null.
    let full = unsafe { bpf_sk_fullsock(sock) };
    if full.is_null() {
        return false;
    }
    let (port, protocol) = (context!(full, src_port) as u16, context!(full, protocol) as u8);
    let by_port = by_port(&DATABASE_PORTS, protocol, port);
    let Some(masks) = masks().filter(|masks| !by_port.and(&masks.sources).is_empty()) else { return false };
    let level = global!(SETTINGS.scope_level);
    if level != 0 {
        // SAFETY: the context is valid, and the socket is a full one.
        let above = unsafe { bpf_skb_ancestor_cgroup_id(raw, level as i32) };
        if above != global!(SETTINGS.scope_cgroup) {
            return false;
        }
    }
    let Some((from, to)) = ends(raw) else { return false };
    let decision = decide_source(masks, &by_port, Some(to), from);
    if decision.rule == NO_RULE {
        return false;
    }
    emit::database(Direction::Source, &decision, limits::WORKLOADS as u32);
    if decision.is_finding() {
        emit::decided(RuleKind::Database, &decision);
        tell(&decision, from, port, protocol);
    }
    decision.enforces(verdict::DROP)
}

/// Decides on a packet that is for a port of these rules.
#[inline(always)]
pub fn decide_source(masks: &'static Masks, by_port: &RuleSet, to: Option<Addr>, from: Addr) -> Decision {
    let by_address = to.map_or(&masks.nothing, |to| listed(&ADDRESSES, to, masks));
    let candidates = masks.database_candidates(Direction::Source, by_port, by_address);
    let mut allowed = *listed(&SENDERS, from, masks);
    policy::blur(&mut allowed);
    policy::decide(&SOURCE_RULES, &candidates, &allowed)
}

/// Source and destination of a packet.
#[inline(always)]
fn ends(raw: *mut aya_ebpf::bindings::__sk_buff) -> Option<(Addr, Addr)> {
    const ETH_P_IP: u16 = 0x0800;
    if u16::from_be(context!(raw, protocol) as u16) == ETH_P_IP {
        let mut ends = [[0u8; 4]; 2];
        // SAFETY: the kernel bounds the copy; the packet begins with the IP header here.
        let code = unsafe { bpf_skb_load_bytes(raw.cast(), 12, (&raw mut ends).cast(), 8) };
        return (code == 0).then(|| (Addr::v4(ends[0]), Addr::v4(ends[1])));
    }
    let mut ends = [[0u32; 4]; 2];
    // SAFETY: as above.
    let code = unsafe { bpf_skb_load_bytes(raw.cast(), 8, (&raw mut ends).cast(), 32) };
    (code == 0).then(|| (Addr::v6_words(ends[0]), Addr::v6_words(ends[1])))
}

/// Reports a refused sender, at most once a second.
#[inline(always)]
fn tell(decision: &Decision, from: Addr, port: u16, protocol: u8) {
    count(Kind::Source, Count::Seen);
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let key = BucketKey { source: from, rule: u32::from(decision.rule), zero: 0 };
    // SAFETY: a number that is read as a whole.
    if let Some(last) = unsafe { REFUSED.get(key) }
        && now.wrapping_sub(*last) < REPORT_EVERY_NS
    {
        return count(Kind::Source, Count::Repeated);
    }
    let _ = REFUSED.insert(key, now, 0);
    let family = if from.is_v4() { 4 } else { 6 };
    let source = Endpoint { addr: from, port, protocol, family, zero: 0 };
    emit(Kind::Source, &Source { header: header(Kind::Source, decision, 0), source });
}

/// Notes who asked for a connection that a rule speaks of, to attribute it to them when it is established. False if this
/// is the same attempt as before: with a fast open that is put off, the kernel asks at the connect and at the first data.
#[inline(always)]
pub fn asked(cookie: u64, decision: &Decision, process: &Known, pid: u32) -> bool {
    // SAFETY: entries change as a whole.
    if let Some(before) = unsafe { CONNECTIONS.get(cookie) }
        && before.open == 0
        && before.pid == pid
    {
        return false;
    }
    let slot = database_slot(Direction::Client, decision.rule, process.workloads.first());
    let connection = Connection { since_ns: 0, slot, pid, open: 0, told: 0, ino: process.exe.ino };
    let _ = CONNECTIONS.insert(cookie, connection, 0);
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
        let connection = Connection { since_ns: now, open: 1, ..*listener };
        if CONNECTIONS.insert(cookie, connection, 0).is_ok() {
            opened(connection.slot);
        }
    } else if let Some(connection) = CONNECTIONS.get_ptr_mut(cookie) {
        // SAFETY: a live map value; a connection is established once.
        unsafe {
            if (*connection).open == 0 {
                (*connection).open = 1;
                (*connection).since_ns = now;
                opened((*connection).slot);
            }
        }
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
    emit(
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
    let Some(connection) = (unsafe { CONNECTIONS.get(cookie) }) else { return };
    let Connection { since_ns, slot, open, .. } = *connection;
    if CONNECTIONS.remove(cookie).is_err() || open == 0 {
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
