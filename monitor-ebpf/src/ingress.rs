//! Rate limits on arriving packets, at XDP and at traffic control: one body.

mod bans;
mod established;
mod limit;
mod over;
mod table;

use aya_ebpf::{
    bindings::{
        __sk_buff,
        xdp_action::{XDP_DROP, XDP_PASS},
    },
    cty::c_void,
    helpers::generated::{bpf_ktime_get_coarse_ns, bpf_skb_pull_data},
    macros::{classifier, xdp},
    maps::lpm_trie::Key,
    programs::{TcContext, XdpContext},
};
use monitor_common::{
    addr::Addr,
    count::UNPARSED_RULE,
    limit::{Interface, SourceKey},
    limits,
    packet::{self, Frame, Link, Packet, Parsed, TCP, UDP},
    policy::{RuleSet, ports::PORT_INDICES},
    sources,
    verifier::opaque,
};

use crate::{
    context, global,
    maps::{ARRIVAL, CLOCK, INTERFACES, RATE_HEADS, RATE_PORTS, RATE_SOURCES, RATE_STATE},
    policy::port_index,
};

/// A frame in the packet's own memory.
pub struct Direct {
    start: usize,
    end: usize,
    /// Somewhere to put a number and take it back.
    slot: *mut u64,
}

impl Frame for Direct {
    #[inline(always)]
    fn bytes<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        // VERIFIER: an offset into a packet needs a bound it can see.
        let from = self.start + (at & 0xfff);
        // VERIFIER: for a single byte the compiler would write `from >= end`, which proves nothing to it.
        if opaque(from + N) > self.end {
            return None;
        }
        let mut bytes = [0; N];
        // SAFETY: just compared with the end of the packet, in the form that the verifier recognises. Wherever there is BPF
        // with a compiler for it, the processor reads numbers from any address; byte by byte it would cost a
        // packet several nanoseconds.
        unsafe {
            let to = (&raw mut bytes).cast::<u8>();
            match N {
                2 => to.cast::<u16>().write_unaligned((from as *const u16).read_volatile()),
                4 => to.cast::<u32>().write_unaligned((from as *const u32).read_volatile()),
                8 => to.cast::<u64>().write_unaligned((from as *const u64).read_volatile()),
                _ => bytes = (from as *const [u8; N]).read_unaligned(),
            }
        }
        Some(bytes)
    }

    #[inline(always)]
    fn blur(&self, number: usize) -> usize {
        // SAFETY: a field of a live map value of this CPU.
        unsafe {
            core::ptr::write_volatile(self.slot, number as u64);
            core::ptr::read_volatile(self.slot) as usize
        }
    }
}

/// A packet on its way through the program. Nothing else runs the program on this CPU before it has ended: packets are
/// judged with softirqs off.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Arrival {
    packet: Packet,
    /// Bytes from the link header on; of a merged run, those of its segments.
    bytes: u64,
    /// Segments that it stands for.
    segments: u64,
    /// Why it could not be parsed, if it couldn't.
    reason: u64,
    /// Rules that are still to be asked.
    rules: RuleSet,
    /// Of the kernel's clock that goes in steps, or of a capture.
    now_ns: u64,
    generation: u64,
    /// Of the prefixes that are protected.
    protection: u64,
    /// Whether it belongs to an established connection.
    established: u64,
    /// The address that was hashed last, of this packet or one before, and its hash: most packets come from the same source
    /// as the one before, and most rules tell sources apart by the same bits.
    hashed: [u64; 2],
    hash: u64,
    /// When the reports of this CPU may go on, if they are many.
    reports: u64,
    /// Under the rule at hand: the hash of the source.
    tag: u64,
    /// And where its buckets are.
    set: u64,
    way: u64,
    /// And whose these are.
    whose: u64,
    /// And what came of it.
    outcome: u64,
    cause: u64,
    scratch: u64,
}

/// Reads a field of the arrival. VERIFIER: from memory, so that it doesn't follow each value on its own.
macro_rules! field {
    ($arrival:expr, $($field:ident).+) => {
        // SAFETY: a field of a live map value of this CPU.
        unsafe { core::ptr::read_volatile(&raw const (*$arrival).$($field).+) }
    };
}
/// Writes a field of the arrival.
macro_rules! put {
    ($arrival:expr, $field:ident, $value:expr) => {{
        let value = $value;
        // SAFETY: a field of a live map value of this CPU.
        unsafe { core::ptr::write_volatile(&raw mut (*$arrival).$field, value) }
    }};
}
use field;
use put;

/// Which packets a program judges.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Share {
    All,
    /// Behind the driver, XDP can't tell how many segments a packet was merged of: what may be merged, TCP and UDP, is left to
    /// traffic control.
    NeverMerged,
    MaybeMerged,
}

/// Where a program sits, to look sockets up from there.
trait Hook {
    fn context(&self) -> *mut c_void;
    fn interface(&self) -> u32;
}

impl Hook for XdpContext {
    #[inline(always)]
    fn context(&self) -> *mut c_void {
        self.ctx.cast()
    }

    #[inline(always)]
    fn interface(&self) -> u32 {
        context!(self.ctx, ingress_ifindex)
    }
}

impl Hook for TcContext {
    #[inline(always)]
    fn context(&self) -> *mut c_void {
        self.skb.skb.cast()
    }

    #[inline(always)]
    fn interface(&self) -> u32 {
        context!(self.skb.skb, ifindex)
    }
}

/// Every packet that arrives on an interface the agent was told to watch, before the kernel makes anything of it.
#[xdp]
pub fn ingress(context: XdpContext) -> u32 {
    if drops_frame(&context, Share::All) { XDP_DROP } else { XDP_PASS }
}

/// The same behind a driver without XDP; `ingress_tc_rest` does the rest.
#[xdp]
pub fn ingress_generic(context: XdpContext) -> u32 {
    if drops_frame(&context, Share::NeverMerged) { XDP_DROP } else { XDP_PASS }
}

/// Go on with the next program (`TC_ACT_UNSPEC`, `TCX_NEXT`).
const NEXT: i32 = -1;
/// Drop the packet (`TC_ACT_SHOT`, `TCX_DROP`).
const SHOT: i32 = 2;

/// Every packet, where XDP can't be.
#[classifier]
pub fn ingress_tc(context: TcContext) -> i32 {
    if drops_packet(&context, Share::All) { SHOT } else { NEXT }
}

/// What `ingress_generic` leaves.
#[classifier]
pub fn ingress_tc_rest(context: TcContext) -> i32 {
    if drops_packet(&context, Share::MaybeMerged) { SHOT } else { NEXT }
}

#[inline(always)]
fn drops_frame(context: &XdpContext, share: Share) -> bool {
    let Some(arrival) = ARRIVAL.get_ptr_mut(0) else { return false };
    // SAFETY: a field of a live map value of this CPU.
    let slot = unsafe { &raw mut (*arrival).scratch };
    let frame = Direct { start: context.data(), end: context.data_end(), slot };
    put!(arrival, bytes, (frame.end - frame.start) as u64);
    put!(arrival, segments, 1);
    judge(arrival, context, &frame, Link::Ethernet, share)
}

#[inline(always)]
fn drops_packet(context: &TcContext, share: Share) -> bool {
    /// Headers without options are shorter.
    const USUAL: u32 = 128;
    /// The furthest that a header may begin.
    const FURTHEST: u32 = 2048;
    let skb: *mut __sk_buff = context.skb.skb;
    let length = context!(skb, len);
    let linear = context.data_end() - context.data();
    if (linear as u32) < length && (linear as u32) < USUAL {
        // Of merged runs only headers lie in front. If there is no memory for it, the parser says that they are cut.
        // SAFETY: the context is valid.
        let _ = unsafe { bpf_skb_pull_data(skb, if length < FURTHEST { length } else { FURTHEST }) };
    }
    let Some(arrival) = ARRIVAL.get_ptr_mut(0) else { return false };
    // SAFETY: a field of a live map value of this CPU.
    let slot = unsafe { &raw mut (*arrival).scratch };
    let frame = Direct { start: context.data(), end: context.data_end(), slot };
    put!(arrival, bytes, length as u64);
    let merged = context!(skb, gso_segs);
    put!(arrival, segments, if merged > 1 { merged as u64 } else { 1 });
    let link = match interface(context.interface()) {
        Some(known) if known.flags & Interface::NO_LINK_HEADER != 0 => Link::None,
        _ => Link::Ethernet,
    };
    judge(arrival, context, &frame, link, share)
}

/// What is known of an interface.
#[inline(always)]
fn interface(index: u32) -> Option<&'static Interface> {
    INTERFACES.get(index & (limits::INTERFACES - 1)).filter(|known| known.index == index)
}

/// Whether to drop the packet: by a ban, or because it is over one of the limits that apply to it.
#[inline(always)]
fn judge(arrival: *mut Arrival, hook: &impl Hook, frame: &Direct, link: Link, share: Share) -> bool {
    // SAFETY: a live map value of this CPU.
    let packet = unsafe { &mut (*arrival).packet };
    let parsed = packet::parse(frame, link, packet);
    let Some(state) = RATE_STATE.get(0) else { return false };
    // SAFETY: fields of a live map value; read once, so that one packet sees one generation.
    let generation = unsafe { core::ptr::read_volatile(&raw const state.generation) } & 1;
    put!(arrival, generation, generation as u64);
    match parsed {
        Parsed::Other => return false,
        Parsed::Ip if share == Share::NeverMerged && may_be_merged(packet) => return false,
        // What has no ports is for the program that sees it first.
        _ if share == Share::MaybeMerged && (parsed != Parsed::Ip || !may_be_merged(packet)) => return false,
        Parsed::Ip => put_candidates(arrival, hook, generation),
        Parsed::Unparsed(reason) => {
            put!(arrival, reason, reason as u64);
            put!(arrival, rules, ONLY_UNPARSED);
        }
    }
    // SAFETY: a field of a live map value.
    let bans = unsafe { core::ptr::read_volatile(&raw const state.bans) };
    if bans == 0 && field!(arrival, rules).is_empty() {
        return false;
    }
    put!(arrival, now_ns, now_ns());
    // SAFETY: a field of a live map value.
    put!(arrival, protection, unsafe { core::ptr::read_volatile(&raw const state.protection) });
    put!(arrival, established, established::UNKNOWN);
    if bans != 0 && bans::is_banned(arrival, bans) {
        return true;
    }
    let mut asked = 0;
    while asked < limits::LIMITS_PER_PACKET {
        // SAFETY: a live map value of this CPU.
        let Some(index) = (unsafe { (*arrival).rules.take_first_from_memory() }) else { break };
        if limit::drops(arrival, hook, frame, index) {
            return true;
        }
        asked += 1;
    }
    false
}

#[inline(always)]
fn may_be_merged(packet: &Packet) -> bool {
    packet.protocol == TCP || packet.protocol == UDP
}

/// The set of the rule for packets whose ports can't be told.
const ONLY_UNPARSED: RuleSet = {
    let mut rules = RuleSet::EMPTY;
    rules.insert(UNPARSED_RULE as usize);
    rules
};

/// Finds the rules that apply to a packet.
#[inline(always)]
fn put_candidates(arrival: *mut Arrival, hook: &impl Hook, generation: u32) {
    let (protocol, port) = (field!(arrival, packet.protocol), field!(arrival, packet.port));
    let by_port = match RATE_PORTS.get(generation * PORT_INDICES + port_index(protocol, port)) {
        Some(rules) if protocol == TCP || protocol == UDP => *rules,
        _ => RuleSet::EMPTY,
    };
    put!(arrival, rules, by_port);
    let Some(head) = RATE_HEADS.get(generation) else { return };
    if by_port.meets(&head.listed) {
        let addr = Addr::from_words(field!(arrival, packet.source));
        let key = Key::new(32 + 128, SourceKey { generation: generation.to_be(), addr });
        let holds = RATE_SOURCES.get(key).unwrap_or(&head.unlisted);
        put!(arrival, rules, field!(arrival, rules).and(holds));
    }
    if by_port.meets(&head.on_interfaces) {
        let rules = field!(arrival, rules);
        let here = match interface(hook.interface()) {
            Some(known) => rules.and(&known.rules[generation as usize & 1]),
            None => rules.without(&head.on_interfaces),
        };
        put!(arrival, rules, here);
    }
}

/// The hash of an address.
#[inline(always)]
fn hash(arrival: *mut Arrival, addr: [u64; 2]) -> u64 {
    let hashed = field!(arrival, hashed);
    let known = field!(arrival, hash);
    // Nothing has the hash 0 for certain before the first one.
    if known != 0 && hashed[0] == addr[0] && hashed[1] == addr[1] {
        return known;
    }
    let hash = sources::hash(global!(SETTINGS.source_key), addr);
    put!(arrival, hashed, addr);
    put!(arrival, hash, hash);
    hash
}

/// The time, of the clock that is cheap to read.
#[inline(always)]
fn now_ns() -> u64 {
    if global!(SETTINGS.simulated) != 0 {
        return CLOCK.get(0).map_or(0, |clock| *clock);
    }
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_coarse_ns() }
}
