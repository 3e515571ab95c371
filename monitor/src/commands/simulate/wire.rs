//! What a captured frame was on the wire: as long as it was, and in as many segments.
//!
//! A capture holds what the capturing host's stack saw. That may be less of a packet than arrived (the snap length), and
//! more packets in one than arrived: network cards and the kernel merge TCP segments before they are captured. The packet
//! program in the driver sees segments.

use anyhow::Result;
use monitor_common::{
    count::Unparsed,
    packet::{Packet, Parsed, TCP},
};

use super::link::Frame;

/// The longest frame that the kernel takes for a test run: a page, less its own room in front and behind.
pub const LONGEST: usize = 4096 - 256 - 384;
/// The longest run of merged segments that is believed: BIG TCP stops at half of that.
const LONGEST_RUN: usize = 1 << 20;
/// Bytes of an IPv6 header, which its length doesn't count.
const IPV6_HEADER: usize = 40;

/// What had to be done to frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mended {
    /// Cut ones that were filled up with zeros.
    pub filled: u64,
    /// Ones whose headers were cut, so that nothing can be told of them.
    pub headless: u64,
    /// Merged ones.
    pub merged: u64,
    /// Segments these were taken apart to.
    pub segments: u64,
    /// Ones longer than the kernel takes: they count with [`LONGEST`] bytes.
    pub shortened: u64,
}

/// Makes the frames of the wire.
#[derive(Debug)]
pub struct Wire {
    /// The most bytes of an IP packet on the link.
    mtu: usize,
    buffer: Vec<u8>,
    /// What had to be done so far.
    pub mended: Mended,
}

impl Wire {
    /// For a link whose IP packets are at most `mtu` bytes long.
    #[must_use]
    pub fn new(mtu: usize) -> Self {
        Self { mtu, buffer: Vec::new(), mended: Mended::default() }
    }

    /// Passes each frame of the wire on. `packet` is what the captured one was parsed to.
    ///
    /// # Errors
    /// Those of `pass`.
    pub fn frames(
        &mut self,
        frame: &Frame<'_>,
        parsed: Parsed,
        packet: &Packet,
        mut pass: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let data = &frame.data[..frame.data.len().min(LONGEST_RUN)];
        let length = frame.length.clamp(data.len(), LONGEST_RUN);
        if parsed == Parsed::Ip
            && packet.protocol == TCP
            && let Some(run) = Run::of(data, length, packet, self.mtu)
        {
            self.mended.merged += 1;
            for payload in run.payloads() {
                self.mended.segments += 1;
                run.segment(data, packet, payload, &mut self.buffer);
                pass(self.fitting())?;
            }
            return Ok(());
        }
        if parsed == Parsed::Unparsed(Unparsed::Truncated) && data.len() < length {
            // With more behind it, it would be read as something that it wasn't.
            self.mended.headless += 1;
            return pass(&data[..data.len().min(LONGEST)]);
        }
        if data.len() == length && length <= LONGEST {
            return pass(data);
        }
        self.mended.filled += u64::from(data.len() < length);
        self.buffer.clear();
        self.buffer.extend_from_slice(data);
        self.buffer.resize(length, 0);
        pass(self.fitting())
    }

    /// As much of the buffer as the kernel takes.
    fn fitting(&mut self) -> &[u8] {
        self.mended.shortened += u64::from(self.buffer.len() > LONGEST);
        &self.buffer[..self.buffer.len().min(LONGEST)]
    }
}

/// Merged TCP segments.
struct Run {
    /// Bytes in front of the payload.
    headers: usize,
    payload: usize,
    /// Of it, the most that one segment carries.
    most: usize,
}

impl Run {
    /// If the frame is longer than the link's can be.
    fn of(data: &[u8], length: usize, packet: &Packet, mtu: usize) -> Option<Self> {
        const OFFSET: usize = 12;
        const SHORTEST: usize = 20;
        let (network, transport) = (usize::from(packet.network), usize::from(packet.transport));
        if length <= network + mtu {
            return None;
        }
        let words = usize::from(*data.get(transport + OFFSET)? >> 4);
        let headers = transport + SHORTEST.max(words * 4);
        let most = (network + mtu).checked_sub(headers).filter(|most| *most > 0)?;
        let payload = length.checked_sub(headers)?;
        (headers <= data.len()).then_some(Self { headers, payload, most })
    }

    /// How long the payload of each segment was.
    fn payloads(&self) -> impl Iterator<Item = usize> {
        (0..self.payload.div_ceil(self.most)).map(|index| (self.payload - index * self.most).min(self.most))
    }

    /// Writes a segment: its own length, and zeros for what it carried.
    fn segment(&self, data: &[u8], packet: &Packet, payload: usize, to: &mut Vec<u8>) {
        to.clear();
        to.extend_from_slice(&data[..self.headers]);
        to.resize(self.headers + payload, 0);
        let network = usize::from(packet.network);
        let (field, less) = if packet.family == 4 { (2, 0) } else { (4, IPV6_HEADER) };
        if let Some(field) = to.get_mut(network + field..network + field + 2) {
            let length = self.headers + payload - network - less;
            field.copy_from_slice(&u16::try_from(length).unwrap_or(0).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use monitor_common::packet::{Link, parse};

    /// A TCP packet with IP header `ip`, cut to `kept` bytes.
    fn tcp(v6: bool, length: usize, kept: usize) -> Vec<u8> {
        let ip = if v6 { 40 } else { 20 };
        let mut frame = vec![0; 14 + ip + 32];
        frame[12..14].copy_from_slice(if v6 { &[0x86, 0xdd] } else { &[8, 0] });
        let total = (length - 14) as u16;
        if v6 {
            frame[14] = 0x60;
            frame[18..20].copy_from_slice(&(total - 40).to_be_bytes());
            frame[20] = TCP;
        } else {
            frame[14] = 0x45;
            frame[16..18].copy_from_slice(&total.to_be_bytes());
            frame[23] = TCP;
        }
        frame[14 + ip + 2..14 + ip + 4].copy_from_slice(&443u16.to_be_bytes());
        frame[14 + ip + 12] = 8 << 4;
        frame.resize(length, 1);
        frame.truncate(kept);
        frame
    }

    fn wire(data: &[u8], length: usize) -> (Vec<Vec<u8>>, Mended) {
        let mut packet = Packet::default();
        let parsed = parse(&data, Link::Ethernet, &mut packet);
        let (mut wire, mut frames) = (Wire::new(1500), Vec::new());
        let frame = Frame { data, length, outgoing: false };
        wire.frames(&frame, parsed, &packet, |frame| {
            frames.push(frame.to_vec());
            Ok(())
        })
        .unwrap();
        (frames, wire.mended)
    }

    #[test]
    fn a_whole_packet_is_left_as_it_is() {
        let data = tcp(false, 1514, 1514);
        assert_eq!(wire(&data, 1514), (vec![data], Mended::default()));
    }

    #[test]
    fn a_cut_packet_is_as_long_as_it_was() {
        let (frames, mended) = wire(&tcp(false, 1514, 96), 1514);
        assert_eq!((frames.len(), frames[0].len()), (1, 1514));
        assert_eq!(mended, Mended { filled: 1, ..Mended::default() });
    }

    #[test]
    fn zeros_are_never_taken_for_ports() {
        let data = tcp(false, 1514, 14 + 20 + 2);
        let (frames, mended) = wire(&data, 1514);
        assert_eq!(frames, [data]);
        assert_eq!(mended, Mended { headless: 1, ..Mended::default() });
    }

    #[test]
    fn merged_packets_are_taken_apart() {
        for v6 in [false, true] {
            let headers = if v6 { 14 + 40 + 32 } else { 14 + 20 + 32 };
            let most = 1514 - headers;
            for kept in [96, 40_000] {
                let length = headers + 10 * most + 7;
                let (frames, mended) = wire(&tcp(v6, length, kept), length);
                let lengths: Vec<usize> = frames.iter().map(Vec::len).collect();
                assert_eq!(lengths, [vec![1514; 10], vec![headers + 7]].concat());
                assert_eq!((mended.merged, mended.segments), (1, 11));
                for frame in &frames {
                    let mut packet = Packet::default();
                    assert_eq!(parse(&&frame[..], Link::Ethernet, &mut packet), Parsed::Ip);
                    assert_eq!(packet.port, 443);
                    let at = if v6 { 18 } else { 16 };
                    let said = usize::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
                    assert_eq!(said + if v6 { 54 } else { 14 }, frame.len());
                }
            }
        }
    }

    #[test]
    fn a_frame_that_the_kernel_does_not_take_is_shortened() {
        let mut udp = tcp(false, 9000, 9000);
        udp[23] = 17;
        let (frames, mended) = wire(&udp, 9000);
        assert_eq!((frames.len(), frames[0].len()), (1, LONGEST));
        assert_eq!(mended, Mended { shortened: 1, ..Mended::default() });
    }

    #[test]
    fn an_absurd_length_is_not_believed() {
        let (frames, _) = wire(&tcp(false, 1514, 200), usize::MAX >> 1);
        assert!(frames.len() < 1000, "{}", frames.len());
    }
}
