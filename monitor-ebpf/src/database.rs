//! Databases: who may be a client, who may be the server, from where packets may come.

use aya_ebpf::{
    helpers::{bpf_ktime_get_ns, bpf_sk_fullsock, bpf_skb_ancestor_cgroup_id, bpf_skb_load_bytes},
    macros::cgroup_skb,
    maps::{Array, LpmTrie, lpm_trie::Key},
    programs::SkBuffContext,
};
use monitor_common::{
    addr::Addr,
    count::Count,
    event::{Endpoint, Kind, source::Source},
    limit::{REPORT_EVERY_NS, SenderKey},
    limits,
    policy::{Decision, Masks, NO_RULE, Rule, RuleKind, RuleSet, WorkloadSet, masks::Direction, verdict},
};

use crate::{
    context,
    emit::{self, count, emit_finding, header},
    global,
    maps::{
        ADDRESSES, CLIENT_RULES, DATABASE_PORTS, LISTEN_PORTS, REFUSED, SENDERS, SERVER_RULES, SOURCE_RULES,
    },
    policy::{self, by_port},
    subject::{judges, masks},
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

/// The rules that have the port of an endpoint: those about databases, and of who wants to listen there also those about that.
#[inline(always)]
pub fn with_port(direction: Direction, end: &Endpoint) -> RuleSet {
    let databases = by_port(&DATABASE_PORTS, end.protocol, end.port);
    if direction != Direction::Server {
        return databases;
    }
    let mut found = databases.or(&by_port(&LISTEN_PORTS, end.protocol, end.port));
    // VERIFIER: one state, whichever of the tables had something.
    policy::blur(&mut found);
    found
}

/// Whether a decision about an endpoint is that of a database rule.
#[inline(always)]
pub fn is_of_database(decision: &Decision, end: &Endpoint) -> bool {
    decision.rule != NO_RULE && by_port(&DATABASE_PORTS, end.protocol, end.port).contains(decision.rule)
}

/// The database rules that speak of an endpoint, of those that have its port.
#[inline(always)]
pub fn candidates(direction: Direction, end: &Endpoint, by_port: &RuleSet) -> RuleSet {
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
    masks.database_candidates(direction, by_port, by_address)
}

/// The rules that list an address, or none.
#[inline(always)]
fn listed(table: &'static LpmTrie<Addr, RuleSet>, addr: Addr, masks: &'static Masks) -> &'static RuleSet {
    table.get(Key::new(128, addr)).unwrap_or(&masks.nothing)
}

/// Decides on what a process asks for.
#[inline(always)]
pub fn decide(direction: Direction, end: &Endpoint, workloads: &WorkloadSet) -> Decision {
    decide_among(direction, end, &with_port(direction, end), workloads)
}

/// The same for who has looked its port up.
#[inline(always)]
pub fn decide_among(
    direction: Direction,
    end: &Endpoint,
    by_port: &RuleSet,
    workloads: &WorkloadSet,
) -> Decision {
    policy::decide(rules_for(direction), &candidates(direction, end, by_port), workloads)
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
    if !judges() {
        return false;
    }
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
    let key = SenderKey { source: from, rule: u32::from(decision.rule), zero: 0 };
    // SAFETY: a number that is read as a whole.
    if let Some(last) = unsafe { REFUSED.get(key) }
        && now.wrapping_sub(*last) < REPORT_EVERY_NS
    {
        return count(Kind::Source, Count::Repeated);
    }
    let _ = REFUSED.insert(key, now, 0);
    let family = if from.is_v4() { 4 } else { 6 };
    let source = Endpoint { addr: from, port, protocol, family, zero: 0 };
    emit_finding(Kind::Source, &Source { header: header(Kind::Source, decision, 0), source });
}
