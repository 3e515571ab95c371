//! Raw and packet sockets: who may see and send packets past the transport protocols.

use aya_ebpf::{
    macros::{cgroup_sock, lsm},
    programs::{LsmContext, SockContext},
};
use monitor_common::{
    count::Count,
    event::{Kind, socket::Socket},
    policy::{Decision, RuleKind, RuleSet, WorkloadSet, verdict},
};

use crate::{
    context,
    emit::{self, count, emit, header},
    lsm::EPERM,
    maps::RAW_RULES,
    policy,
    subject::{actor, in_scope, in_scope_still, is_agent, known, pid},
};

/// `BPF_CGROUP_INET_SOCK_CREATE`: an IPv4 or IPv6 socket was made.
#[cgroup_sock(sock_create)]
pub fn raw_socket(context: SockContext) -> i32 {
    const SOCK_RAW: u32 = 3;
    let sock = context.sock;
    if context!(sock, type_) != SOCK_RAW {
        return 1;
    }
    let refused = in_scope() && asked(context!(sock, family) as u16, context!(sock, protocol) as u16);
    if refused { 0 } else { 1 }
}

/// A socket is about to be made: `socket_create(int family, int type, int protocol, int kern)`.
#[lsm(hook = "socket_create")]
pub fn packet_socket(context: LsmContext) -> i32 {
    const AF_PACKET: i32 = 17;
    let family: i32 = context.arg(0);
    let protocol: i32 = context.arg(2);
    let kern: i32 = context.arg(3);
    let is_packet = family == AF_PACKET && kern == 0;
    // VERIFIER: from 6.12 the return value must provably lie in [-4095, 0].
    let refused = is_packet && in_scope_still() && asked(AF_PACKET as u16, u16::from_be(protocol as u16));
    if refused { -EPERM } else { 0 }
}

/// Decides whether a member of these workloads may have such a socket.
#[inline(always)]
pub fn decide(workloads: &WorkloadSet) -> Decision {
    let only = RuleSet { bits: [1, 0, 0, 0] };
    policy::decide_plainly(&RAW_RULES, &only, workloads)
}

/// Whether the current process must not have such a socket.
#[inline(always)]
fn asked(family: u16, protocol: u16) -> bool {
    let pid = pid();
    count(Kind::Socket, Count::Seen);
    if is_agent(pid) {
        count(Kind::Socket, Count::OwnDoing);
        return false;
    }
    let process = known(pid);
    let decision = decide(&process.workloads);
    emit::decided(RuleKind::RawSockets, &decision);
    let header = header(Kind::Socket, &decision, 0);
    emit(Kind::Socket, &decision, &Socket { header, actor: actor(pid, &process), family, protocol, zero: 0 });
    decision.enforces(verdict::DENY)
}
