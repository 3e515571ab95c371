//! Connect, bind and listen.
//!
//! The cgroup programs are attached at the root of the cgroup v2 tree, because the kernel chooses them by the cgroup
//! of the socket; the decision is about the process that calls.

use aya_ebpf::{
    macros::{btf_tracepoint, cgroup_sock, cgroup_sock_addr},
    programs::{BtfTracePointContext, SockAddrContext, SockContext},
};
use monitor_common::{
    addr::Addr,
    count::Count,
    event::{Endpoint, Kind, bind::Bind, connect::Connect, connect::flags, listen::Listen},
    policy::{Decision, NO_RULE, RuleKind, verdict},
};

use crate::{
    emit::{self, count, emit, header},
    field, global,
    kernel::Object,
    maps::{DATABASE_PORTS, DATABASE_RULES},
    policy,
    subject::{actor, in_scope, is_agent, known, pid},
};

const REFUSE: i32 = 0;
const PASS: i32 = 1;

/// `BPF_CGROUP_INET4_CONNECT`: `connect()` on an IPv4 socket, before it happens.
#[cgroup_sock_addr(connect4)]
pub fn connect4(context: SockAddrContext) -> i32 {
    connect(remote_v4(&context), 0)
}

/// `BPF_CGROUP_INET6_CONNECT`
#[cgroup_sock_addr(connect6)]
pub fn connect6(context: SockAddrContext) -> i32 {
    connect(remote_v6(&context), 0)
}

/// `BPF_CGROUP_UDP4_SENDMSG`: a datagram to an address that the socket isn't connected to.
#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(context: SockAddrContext) -> i32 {
    connect(remote_v4(&context), flags::DATAGRAM)
}

/// `BPF_CGROUP_UDP6_SENDMSG`
#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6(context: SockAddrContext) -> i32 {
    connect(remote_v6(&context), flags::DATAGRAM)
}

/// Reads a field of a context: volatile, because the kernel rewrites each access and wants its exact width.
macro_rules! context {
    ($context:expr, $($field:tt)+) => {
        // SAFETY: the context is valid for the run of the program, and the verifier checks the access.
        unsafe { core::ptr::read_volatile(&raw const (*$context).$($field)+) }
    };
}

#[inline(always)]
fn remote_v4(context: &SockAddrContext) -> Endpoint {
    let sock = context.sock_addr;
    let addr = Addr::v4(context!(sock, user_ip4).to_ne_bytes());
    endpoint(addr, u16::from_be(context!(sock, user_port) as u16), context!(sock, protocol), 4)
}

#[inline(always)]
fn remote_v6(context: &SockAddrContext) -> Endpoint {
    let sock = context.sock_addr;
    let addr = Addr::v6_words([
        context!(sock, user_ip6[0]),
        context!(sock, user_ip6[1]),
        context!(sock, user_ip6[2]),
        context!(sock, user_ip6[3]),
    ]);
    endpoint(addr, u16::from_be(context!(sock, user_port) as u16), context!(sock, protocol), 6)
}

#[inline(always)]
fn endpoint(addr: Addr, port: u16, protocol: u32, family: u8) -> Endpoint {
    Endpoint { addr, port, protocol: protocol as u8, family, zero: 0 }
}

#[inline(always)]
fn connect(remote: Endpoint, noted: u16) -> i32 {
    let pid = pid();
    if is_agent(pid) {
        count(Kind::Connect, Count::Seen);
        // Nobody can be reached at port 0: the agent's canary asks for it to see a refusal.
        let canary = remote.port == 0;
        count(Kind::Connect, if canary { Count::Canary } else { Count::OwnDoing });
        return if canary { REFUSE } else { PASS };
    }
    if !in_scope() {
        return PASS;
    }
    count(Kind::Connect, Count::Seen);
    let process = known(pid);
    let candidates = policy::by_port(&DATABASE_PORTS, remote.protocol, remote.port);
    let decision = policy::decide(&DATABASE_RULES, &candidates, &process.workloads);
    if decision.rule != NO_RULE {
        emit::decided(RuleKind::Database, &decision);
        emit::database(&decision, process.workloads.first());
    }
    if noted & flags::DATAGRAM != 0 && !decision.is_finding() {
        count(Kind::Connect, Count::Datagram);
        return PASS;
    }
    emit(
        Kind::Connect,
        &Connect { header: header(Kind::Connect, &decision, noted), actor: actor(pid, &process), remote },
    );
    if decision.enforces(verdict::DENY) { REFUSE } else { PASS }
}

/// `BPF_CGROUP_INET4_POST_BIND`: an IPv4 socket got its port.
#[cgroup_sock(post_bind4)]
pub fn bind4(context: SockContext) -> i32 {
    let sock = context.sock;
    bound(Addr::v4(context!(sock, src_ip4).to_ne_bytes()), sock, 4)
}

/// `BPF_CGROUP_INET6_POST_BIND`
#[cgroup_sock(post_bind6)]
pub fn bind6(context: SockContext) -> i32 {
    let sock = context.sock;
    let addr = Addr::v6_words([
        context!(sock, src_ip6[0]),
        context!(sock, src_ip6[1]),
        context!(sock, src_ip6[2]),
        context!(sock, src_ip6[3]),
    ]);
    bound(addr, sock, 6)
}

#[inline(always)]
fn bound(addr: Addr, sock: *mut aya_ebpf::bindings::bpf_sock, family: u8) -> i32 {
    let pid = pid();
    if let Some(actor) = reporter(Kind::Bind, pid) {
        let local = endpoint(addr, context!(sock, src_port) as u16, context!(sock, protocol), family);
        emit(Kind::Bind, &Bind { header: header(Kind::Bind, &Decision::NONE, 0), actor, local });
    }
    PASS
}

/// The current process, if what it does is to be reported; counts it either way.
#[inline(always)]
fn reporter(kind: Kind, pid: u32) -> Option<monitor_common::event::Actor> {
    if !in_scope() {
        return None;
    }
    count(kind, Count::Seen);
    if is_agent(pid) {
        count(kind, Count::OwnDoing);
        return None;
    }
    Some(actor(pid, &known(pid)))
}

const TCP_LISTEN: i32 = 10;
const AF_INET6: u16 = 10;

/// A TCP socket changes its state:
/// `inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`.
///
/// Only the change to LISTEN is looked at: it is made in the system call of the process that listens, other changes in
/// whatever context the packet comes in.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn listen(context: BtfTracePointContext) -> i32 {
    let (old, new): (i32, i32) = (context.arg(1), context.arg(2));
    if new == TCP_LISTEN && old != TCP_LISTEN {
        listening(Object::new(context.arg(0)));
    }
    0
}

#[inline(always)]
fn listening(sock: Object) {
    let family: u16 = field!(sock, sock_family);
    let Some(actor) = reporter(Kind::Listen, pid()) else { return };
    let (addr, family) = if family == AF_INET6 {
        let at = global!(LAYOUT.sock_v6_rcv_saddr);
        let words = [sock.load(at), sock.load(at + 4), sock.load(at + 8), sock.load(at + 12)];
        (Addr::v6_words(words), 6)
    } else {
        let addr: u32 = field!(sock, sock_rcv_saddr);
        (Addr::v4(addr.to_ne_bytes()), 4)
    };
    let protocol: u16 = field!(sock, sock_protocol);
    let local = endpoint(addr, field!(sock, sock_num), protocol.into(), family);
    emit(Kind::Listen, &Listen { header: header(Kind::Listen, &Decision::NONE, 0), actor, local });
}
