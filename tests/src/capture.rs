//! Captures, as `tcpdump` writes them.

/// Link type of Ethernet (<https://www.tcpdump.org/linktypes.html>).
pub const ETHERNET: u32 = 1;
/// Link type of Linux' own header, version 2.
pub const SLL2: u32 = 276;

/// A captured packet.
#[derive(Debug, Clone)]
pub struct Captured {
    /// Nanoseconds since 1970.
    pub time_ns: u64,
    /// What was kept of it.
    pub data: Vec<u8>,
    /// How long it was.
    pub length: usize,
}

impl Captured {
    /// A packet that was kept as a whole.
    pub fn whole(time_ns: u64, data: Vec<u8>) -> Self {
        let length = data.len();
        Self { time_ns, data, length }
    }
}

/// A pcap file with nanoseconds (draft-ietf-opsawg-pcap).
pub fn pcap(link: u32, packets: impl IntoIterator<Item = Captured>) -> Vec<u8> {
    const MAGIC: u32 = 0xa1b2_3c4d;
    const SNAP_LENGTH: u32 = 262_144;
    const SECOND: u64 = 1_000_000_000;
    let mut file = Vec::new();
    file.extend(MAGIC.to_le_bytes());
    file.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    file.extend(SNAP_LENGTH.to_le_bytes());
    file.extend(link.to_le_bytes());
    for Captured { time_ns, data, length } in packets {
        let times = [time_ns / SECOND, time_ns % SECOND];
        for number in times.into_iter().chain([data.len() as u64, length as u64]) {
            file.extend((number as u32).to_le_bytes());
        }
        file.extend(data);
    }
    file
}
