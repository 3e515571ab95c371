//! Whether a packet belongs to a connection that its source has shown to hold: only who receives what is sent to an address
//! can complete a handshake from there.

use aya_ebpf::{
    bindings::{
        BPF_F_CURRENT_NETNS, bpf_sock, bpf_sock_tuple, bpf_sock_tuple__bindgen_ty_1,
        bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2,
    },
    helpers::generated::{bpf_sk_lookup_tcp, bpf_sk_release},
};
use monitor_common::packet::Frame as _;

use super::{Arrival, Direct, Hook, field, put};

/// Nobody has asked yet.
pub const UNKNOWN: u64 = 0;
const NO: u64 = 1;
const YES: u64 = 2;

/// States of a TCP socket (`include/net/tcp_states.h`): those in which both ends have shown themselves, and still talk.
const STATES: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11;

/// Whether there is a socket of this host that the packet, one of TCP, belongs to. Asked once a packet.
#[inline(always)]
pub fn is_established(arrival: *mut Arrival, hook: &impl Hook, frame: &Direct) -> bool {
    let known = field!(arrival, established);
    if known != UNKNOWN {
        return known == YES;
    }
    let found = lookup(arrival, hook, frame).is_some_and(|state| STATES & 1u32.wrapping_shl(state) != 0);
    put!(arrival, established, if found { YES } else { NO });
    found
}

/// The state of the socket that a packet belongs to.
#[inline(always)]
fn lookup(arrival: *mut Arrival, hook: &impl Hook, frame: &Direct) -> Option<u32> {
    let (network, transport) =
        (field!(arrival, packet.network) as usize, field!(arrival, packet.transport) as usize);
    let ports: [u8; 4] = frame.bytes(transport)?;
    let [a, b, c, d] = ports;
    let (sport, dport) = (u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d]));
    let mut tuple = bpf_sock_tuple {
        __bindgen_anon_1: bpf_sock_tuple__bindgen_ty_1 {
            ipv6: bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2 { saddr: [0; 4], daddr: [0; 4], sport, dport },
        },
    };
    let mut size = size_of::<bpf_sock_tuple>();
    if field!(arrival, packet.family) == 4 {
        let saddr = u32::from_ne_bytes(frame.bytes(network + 12)?);
        let daddr = u32::from_ne_bytes(frame.bytes(network + 16)?);
        tuple.__bindgen_anon_1.ipv4 =
            bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 { saddr, daddr, sport, dport };
        size = size_of::<bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1>();
    } else {
        let mut word = 0;
        while word < 4 {
            let saddr = u32::from_ne_bytes(frame.bytes(network + 8 + word * 4)?);
            let daddr = u32::from_ne_bytes(frame.bytes(network + 24 + word * 4)?);
            // SAFETY: this half of the union is what was made above.
            unsafe {
                tuple.__bindgen_anon_1.ipv6.saddr[word] = saddr;
                tuple.__bindgen_anon_1.ipv6.daddr[word] = daddr;
            }
            word += 1;
        }
    }
    // SAFETY: the tuple is as long as it says; what is returned is null or given back below.
    let sock: *mut bpf_sock = unsafe {
        bpf_sk_lookup_tcp(hook.context(), &raw mut tuple, size as u32, BPF_F_CURRENT_NETNS as i64 as u64, 0)
    };
    if sock.is_null() {
        return None;
    }
    // SAFETY: a live socket, held until the next line.
    let state = unsafe { core::ptr::read_volatile(&raw const (*sock).state) };
    // SAFETY: as above.
    unsafe { bpf_sk_release(sock.cast()) };
    Some(state)
}
