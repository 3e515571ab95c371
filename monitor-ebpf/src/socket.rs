//! Connect, bind and listen.
//!
//! The cgroup programs are attached at the root of the cgroup v2 tree, because the kernel chooses them by the cgroup
//! of the socket; the decision is about the process that calls.

use aya_ebpf::{
    helpers::bpf_get_socket_cookie,
    macros::{btf_tracepoint, cgroup_sock, cgroup_sock_addr},
    programs::{BtfTracePointContext, SockAddrContext, SockContext},
};
use monitor_common::{
    addr::Addr,
    count::Count,
    event::{Endpoint, Kind, bind::Bind, connect::Connect, connect::flags, listen::Listen},
    packet::TCP,
    policy::{NO_RULE, RuleKind, masks::Direction, verdict},
};

use crate::{
    context, database,
    emit::{self, count, emit, header},
    field, global,
    kernel::Object,
    policy,
    subject::{actor, in_scope, is_agent, is_covered, judges, known, pid},
    traffic,
};

const REFUSE: i32 = 0;
const PASS: i32 = 1;

/// `BPF_CGROUP_INET4_CONNECT`: `connect()` on an IPv4 socket, before it happens.
#[cgroup_sock_addr(connect4)]
pub fn connect4(context: SockAddrContext) -> i32 {
    connect(&context, remote_v4(&context), 0)
}

/// `BPF_CGROUP_INET6_CONNECT`
#[cgroup_sock_addr(connect6)]
pub fn connect6(context: SockAddrContext) -> i32 {
    connect(&context, remote_v6(&context), 0)
}

/// `BPF_CGROUP_UDP4_SENDMSG`: a datagram to an address that the socket isn't connected to.
#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(context: SockAddrContext) -> i32 {
    if is_mapped_and_connected(&context) {
        count(Kind::Connect, Count::Seen);
        count(Kind::Connect, Count::Repeated);
        return PASS;
    }
    connect(&context, remote_v4(&context), flags::DATAGRAM)
}

/// `BPF_CGROUP_UDP6_SENDMSG`
#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6(context: SockAddrContext) -> i32 {
    connect(&context, remote_v6(&context), flags::DATAGRAM)
}

/// Whether an IPv6 socket sends to the mapped IPv4 address that it is connected to: the kernel asks for each datagram
/// then, and it was judged when it was connected.
#[inline(always)]
fn is_mapped_and_connected(context: &SockAddrContext) -> bool {
    const ESTABLISHED: u32 = 1;
    let asked = context.sock_addr;
    let sock = context!(asked, __bindgen_anon_1.sk);
    if sock.is_null() || !in_scope() {
        return false;
    }
    context!(sock, family) == u32::from(AF_INET6)
        && context!(sock, state) == ESTABLISHED
        && context!(sock, dst_ip6[3]) == context!(asked, user_ip4)
        && u32::from(context!(sock, dst_port)) == context!(asked, user_port)
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
fn connect(context: &SockAddrContext, remote: Endpoint, noted: u16) -> i32 {
    if !judges() {
        return PASS;
    }
    let pid = pid();
    if is_agent(pid) {
        count(Kind::Connect, Count::Seen);
        // Nobody can be reached at port 0: the agent's canary asks for it to see a refusal.
        let canary = remote.port == 0;
        count(Kind::Connect, if canary { Count::Canary } else { Count::OwnDoing });
        return if canary { REFUSE } else { PASS };
    }
    if !is_covered() {
        return PASS;
    }
    count(Kind::Connect, Count::Seen);
    let by_port = database::with_port(Direction::Client, &remote);
    if by_port.is_empty() && noted & flags::DATAGRAM == 0 && unwanted(Kind::Connect) {
        return PASS;
    }
    let process = known(pid);
    let decision = database::decide_among(Direction::Client, &remote, &by_port, &process.workloads);
    let refused = decision.enforces(verdict::DENY);
    if decision.rule != NO_RULE && remote.protocol == TCP && !refused {
        // SAFETY: the context is valid.
        let cookie = unsafe { bpf_get_socket_cookie(context.sock_addr.cast()) };
        if !traffic::asked(cookie, &decision, &process, pid) {
            count(Kind::Connect, Count::Repeated);
            return PASS;
        }
    }
    database::tally(Direction::Client, &decision, &process.workloads);
    if !decision.is_finding() {
        if noted & flags::DATAGRAM != 0 {
            count(Kind::Connect, Count::Datagram);
            return PASS;
        }
        if unwanted(Kind::Connect) {
            return PASS;
        }
    }
    emit(
        Kind::Connect,
        &decision,
        &Connect { header: header(Kind::Connect, &decision, noted), actor: actor(pid, &process), remote },
    );
    if refused { REFUSE } else { PASS }
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
    if !reported(Kind::Bind, pid) {
        return PASS;
    }
    let process = known(pid);
    let local = endpoint(addr, context!(sock, src_port) as u16, context!(sock, protocol), family);
    let decision = database::judge(Direction::Server, &local, &process.workloads);
    let header = header(Kind::Bind, &decision, 0);
    emit(Kind::Bind, &decision, &Bind { header, actor: actor(pid, &process), local });
    // The kernel gives the port back when the program refuses it.
    if decision.enforces(verdict::DENY) { REFUSE } else { PASS }
}

/// Whether what the current process does is to be reported; counts it either way.
#[inline(always)]
fn reported(kind: Kind, pid: u32) -> bool {
    if !in_scope() {
        return false;
    }
    count(kind, Count::Seen);
    if is_agent(pid) {
        count(kind, Count::OwnDoing);
        return false;
    }
    true
}

/// Whether nobody reads of what no rule reports; counts it then.
#[inline(always)]
fn unwanted(kind: Kind) -> bool {
    let unwanted = global!(SETTINGS.sockets_wanted) == 0;
    if unwanted {
        count(kind, Count::Unwanted);
    }
    unwanted
}

const TCP_ESTABLISHED: i32 = 1;
const TCP_SYN_RECV: i32 = 3;
const TCP_CLOSE: i32 = 7;
const TCP_LISTEN: i32 = 10;
const AF_INET6: u16 = 10;

/// A TCP socket changes its state:
/// `inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`.
///
/// The change to LISTEN is made in the system call of the process that listens; the others in whatever context the
/// packet comes in, so they are attributed to who asked for the connection, or listened for it.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn listen(context: BtfTracePointContext) -> i32 {
    let sock = Object::new(context.arg(0));
    let (old, new): (i32, i32) = (context.arg(1), context.arg(2));
    if !judges() {
        return 0;
    }
    match new {
        TCP_LISTEN if old != TCP_LISTEN => listening(sock),
        TCP_ESTABLISHED => traffic::established(sock, old == TCP_SYN_RECV),
        TCP_CLOSE => traffic::closed(sock),
        _ => {}
    }
    0
}

#[inline(always)]
fn listening(sock: Object) {
    let family: u16 = field!(sock, sock_family);
    let pid = pid();
    if !reported(Kind::Listen, pid) {
        return;
    }
    let process = known(pid);
    let (addr, family) = if family == AF_INET6 {
        let at = global!(LAYOUT.sock_v6_rcv_saddr);
        let words = [sock.load(at), sock.load(at + 4), sock.load(at + 8), sock.load(at + 12)];
        (Addr::v6_words(words), 6)
    } else {
        let addr: u32 = field!(sock, sock_rcv_saddr);
        (Addr::v4(addr.to_ne_bytes()), 4)
    };
    let protocol: u16 = field!(sock, sock_protocol);
    let mut local = endpoint(addr, field!(sock, sock_num), protocol.into(), family);
    // VERIFIER: what follows is walked once, not once for each family: 6.1 came to 917,000 instructions of its million.
    policy::blur(&mut local);
    // Its bind was counted; who never bound it, or did so before the policy, can be reported only.
    let mut decision = database::decide(Direction::Server, &local, &process.workloads);
    if database::is_of_database(&decision, &local) {
        traffic::listens(&decision, &local, &process, pid);
    }
    if decision.is_finding() {
        decision.verdict = verdict::ALERT;
        emit::decided(RuleKind::Database, &decision);
    } else if unwanted(Kind::Listen) {
        return;
    }
    emit(
        Kind::Listen,
        &decision,
        &Listen { header: header(Kind::Listen, &decision, 0), actor: actor(pid, &process), local },
    );
}

/// Data was sent on a socket, in the context of who sent it (since 6.3):
/// `sock_send_length(struct sock *sk, int ret, int flags)`.
#[btf_tracepoint(function = "sock_send_length")]
pub fn sent(context: BtfTracePointContext) -> i32 {
    let length: i32 = context.arg(1);
    if length > 0 {
        traffic::used(Object::new(context.arg(0)));
    }
    0
}
