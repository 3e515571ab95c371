//! Captures written by hand, as their specifications say.

use super::*;
use proptest::prelude::*;

/// A record, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub time_ns: Option<i64>,
    pub data: Vec<u8>,
    pub length: usize,
    pub interface: Option<String>,
    pub outgoing: bool,
}

/// What is in a capture, and how it ends.
pub fn records(bytes: &[u8]) -> Result<(Vec<Seen>, End)> {
    let mut seen = Vec::new();
    let end = read(bytes, |record| {
        let Record { time_ns, data, length, interface, outgoing, .. } = record;
        let interface = interface.map(str::to_owned);
        seen.push(Seen { time_ns, data: data.to_vec(), length, interface, outgoing });
        Ok(())
    })?;
    Ok((seen, end))
}

/// A pcap file: link type, and packets with their time (seconds, fraction), their bytes and their length.
pub fn pcap(link: u32, nanoseconds: bool, packets: &[(u32, u32, &[u8], u32)]) -> Vec<u8> {
    let magic: u32 = if nanoseconds { 0xa1b2_3c4d } else { 0xa1b2_c3d4 };
    let mut file = Vec::new();
    file.extend(magic.to_le_bytes());
    file.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0]);
    file.extend(link.to_le_bytes());
    for (seconds, fraction, data, length) in packets {
        for number in [*seconds, *fraction, data.len() as u32, *length] {
            file.extend(number.to_le_bytes());
        }
        file.extend(*data);
    }
    file
}

/// Numbers in one byte order.
#[derive(Clone, Copy)]
struct Order {
    big: bool,
}

impl Order {
    fn u16(self, number: u16) -> [u8; 2] {
        if self.big { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn u32(self, number: u32) -> [u8; 4] {
        if self.big { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn block(self, kind: u32, body: &[u8]) -> Vec<u8> {
        let length = self.u32(body.len() as u32 + 12);
        [&self.u32(kind), &length, body, &length].concat()
    }

    fn option(self, code: u16, value: &[u8]) -> Vec<u8> {
        let mut option = [self.u16(code), self.u16(value.len() as u16)].concat();
        option.extend(value);
        option.resize(option.len().next_multiple_of(4), 0);
        option
    }

    fn section(self) -> Vec<u8> {
        let body = [&self.u32(0x1a2b_3c4d)[..], &self.u16(1), &self.u16(0), &[0xff; 8]].concat();
        self.block(0x0a0d_0d0a, &body)
    }

    fn interface(self, link: u16, kept: u32, options: &[Vec<u8>]) -> Vec<u8> {
        let body = [&self.u16(link)[..], &[0, 0], &self.u32(kept), &options.concat()].concat();
        self.block(1, &body)
    }

    fn packet(self, interface: u32, time: u64, data: &[u8], length: u32, options: &[Vec<u8>]) -> Vec<u8> {
        let mut body = Vec::new();
        for number in [interface, (time >> 32) as u32, time as u32, data.len() as u32, length] {
            body.extend(self.u32(number));
        }
        body.extend(data);
        body.resize(body.len().next_multiple_of(4), 0);
        body.extend(options.concat());
        self.block(6, &body)
    }

    fn simple(self, data: &[u8], length: u32) -> Vec<u8> {
        let mut body = self.u32(length).to_vec();
        body.extend(data);
        body.resize(body.len().next_multiple_of(4), 0);
        self.block(3, &body)
    }
}

const LITTLE: Order = Order { big: false };
const BIG: Order = Order { big: true };

fn seen(time_ns: Option<i64>, data: &[u8], length: usize) -> Seen {
    Seen { time_ns, data: data.to_vec(), length, interface: None, outgoing: false }
}

#[test]
fn pcap_has_microseconds_or_nanoseconds() {
    for (nanoseconds, ns) in [(false, 7_000), (true, 7)] {
        let file = pcap(1, nanoseconds, &[(3, 7, b"abc", 3), (4, 0, b"d", 1500)]);
        let expected = vec![seen(Some(3_000_000_000 + ns), b"abc", 3), seen(Some(4_000_000_000), b"d", 1500)];
        assert_eq!(records(&file).unwrap(), (expected, End::Whole));
    }
}

#[test]
fn pcap_may_be_of_the_other_byte_order() {
    let mut file = vec![0xa1, 0xb2, 0xc3, 0xd4, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 1];
    for number in [1u32, 2, 2, 60] {
        file.extend(number.to_be_bytes());
    }
    file.extend(b"xy");
    assert_eq!(records(&file).unwrap().0, [seen(Some(1_000_002_000), b"xy", 60)]);
}

#[test]
fn interfaces_of_pcapng_have_clocks_and_names_of_their_own() {
    for order in [LITTLE, BIG] {
        let offset: i64 = -5;
        let offset = if order.big { offset.to_be_bytes() } else { offset.to_le_bytes() };
        let file = [
            order.section(),
            order.interface(1, 0, &[order.option(2, b"eth0")]),
            order.interface(1, 0, &[order.option(9, &[9]), order.option(14, &offset)]),
            order.interface(1, 0, &[order.option(9, &[0x80 | 10])]),
            order.packet(0, 1_000_001, b"abc", 90, &[order.option(2, &order.u32(2))]),
            order.packet(1, 7_000_000_001, b"defg", 4, &[order.option(2, &order.u32(1))]),
            order.packet(2, 1024 + 512, b"h", 1, &[]),
            // Statistics, which are no packets.
            order.block(5, &[0; 12]),
        ];
        let expected = vec![
            Seen { interface: Some("eth0".into()), outgoing: true, ..seen(Some(1_000_001_000), b"abc", 90) },
            seen(Some(2_000_000_001), b"defg", 4),
            seen(Some(1_500_000_000), b"h", 1),
        ];
        assert_eq!(records(&file.concat()).unwrap(), (expected, End::Whole), "{}", order.big);
    }
}

#[test]
fn simple_packets_have_no_time_and_are_cut_as_the_interface_says() {
    let file = [LITTLE.section(), LITTLE.interface(1, 6, &[]), LITTLE.simple(b"abcdef", 1000)].concat();
    assert_eq!(records(&file).unwrap().0, [seen(None, b"abcdef", 1000)]);
}

#[test]
fn sections_follow_each_other_in_any_byte_order() {
    let part = |order: Order| {
        [order.section(), order.interface(1, 0, &[]), order.packet(0, 1, b"a", 1, &[])].concat()
    };
    let file = [part(LITTLE), part(BIG), part(LITTLE)].concat();
    assert_eq!(records(&file).unwrap(), (vec![seen(Some(1000), b"a", 1); 3], End::Whole));
}

#[test]
fn a_capture_that_ends_early_is_read_up_to_there() {
    let file = pcap(1, false, &[(1, 0, b"abc", 3), (2, 0, b"defgh", 5)]);
    let (packets, end) = records(&file[..file.len() - 1]).unwrap();
    assert_eq!((packets.len(), end), (1, End::Short));
    let file = [LITTLE.section(), LITTLE.interface(1, 0, &[]), LITTLE.packet(7, 1, b"a", 1, &[])].concat();
    assert_eq!(records(&file).unwrap(), (vec![], End::Damaged), "there is no interface 7");
}

#[test]
fn blocks_larger_than_the_buffer_are_read() {
    let large = vec![7; BUFFER + 1000];
    let name = LITTLE.block(0x0bad, &large);
    let packet = LITTLE.packet(0, 1, &large, large.len() as u32, &[]);
    let file = [LITTLE.section(), LITTLE.interface(1, 0, &[]), name, packet].concat();
    assert_eq!(records(&file).unwrap(), (vec![seen(Some(1000), &large, large.len())], End::Whole));
}

#[test]
fn what_is_no_capture_is_refused() {
    for (file, says) in [
        (&b""[..], "empty"),
        (b"no capture, but longer than a header", "neither pcap nor pcapng"),
        (&pcap(127, false, &[]), "radiotap"),
    ] {
        let error = records(file).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_come_to_an_end(
        file in prop::collection::vec(any::<u8>(), 0..300),
        pcapng: bool,
        changes in prop::collection::vec((0usize..400, any::<u8>()), 0..6),
    ) {
        let header = if pcapng {
            let packet = LITTLE.packet(0, 1, b"abcdef", 6, &[LITTLE.option(2, &[1, 0, 0, 0])]);
            [LITTLE.section(), LITTLE.interface(1, 0, &[LITTLE.option(9, &[9])]), packet].concat()
        } else {
            pcap(1, false, &[(1, 2, b"abc", 3)])
        };
        let mut file = [header, file].concat();
        for (at, by) in changes {
            let at = at % file.len();
            file[at] = by;
        }
        let _ = records(&file);
    }
}
