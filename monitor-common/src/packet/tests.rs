extern crate std;
use super::*;
use proptest::prelude::*;
use std::{vec, vec::Vec};

fn ethernet(tags: &[u16], ethertype: u16) -> Vec<u8> {
    let mut frame = vec![0u8; 12];
    for tag in tags {
        frame.extend(tag.to_be_bytes());
        frame.extend([0, 7]);
    }
    frame.extend(ethertype.to_be_bytes());
    frame
}

fn ipv4(options: usize, offset: u16, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![0u8; 20 + options];
    header[0] = 0x40 | (header.len() / 4) as u8;
    header[6..8].copy_from_slice(&offset.to_be_bytes());
    header[9] = protocol;
    header[12..16].copy_from_slice(&[192, 0, 2, 1]);
    header.extend(payload);
    let length = header.len() as u16;
    header[2..4].copy_from_slice(&length.to_be_bytes());
    header
}

fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![0u8; 40];
    header[0] = 0x60;
    header[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
    header[6] = next;
    header[8..24].copy_from_slice(&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    header.extend(payload);
    header
}

fn tcp(port: u16, flags: u8) -> Vec<u8> {
    let mut header = vec![0u8; 20];
    header[2..4].copy_from_slice(&port.to_be_bytes());
    header[13] = flags;
    header
}

fn read(parts: &[Vec<u8>]) -> (Parsed, Packet) {
    let frame = parts.concat();
    let mut packet = Packet::default();
    (parse(&&frame[..], Link::Ethernet, &mut packet), packet)
}

fn is(parts: &[Vec<u8>]) -> Parsed {
    read(parts).0
}

fn ports(parts: &[Vec<u8>]) -> Option<(u8, u16, bool)> {
    let (parsed, packet) = read(parts);
    (parsed == Parsed::Ip).then_some((packet.protocol, packet.port, packet.opens == 1))
}

#[test]
fn ports_are_found_behind_tags_and_options() {
    for tags in [&[][..], &[0x8100], &[0x88a8, 0x8100], &[0x8100; limits::VLANS]] {
        for options in [0, 4, 40] {
            let parts = [ethernet(tags, 0x0800), ipv4(options, 0x4000, TCP, &tcp(443, 0x02))];
            assert_eq!(ports(&parts), Some((TCP, 443, true)), "{tags:x?} {options}");
        }
    }
    assert_eq!(
        is(&[ethernet(&[0x8100; limits::VLANS + 1], 0x0800), ipv4(0, 0, TCP, &tcp(443, 2))]),
        Parsed::Unparsed(Unparsed::TooDeep)
    );
}

#[test]
fn ports_are_found_behind_extension_headers() {
    let mut payload = vec![60, 0, 0, 0, 0, 0, 0, 0];
    payload.extend([44, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    payload.extend([TCP, 0, 0, 1, 0, 0, 0, 0]);
    payload.extend(tcp(5432, 0x12));
    assert_eq!(ports(&[ethernet(&[], 0x86dd), ipv6(0, &payload)]), Some((TCP, 5432, false)));
    let mut longest = [60u8, 0, 0, 0, 0, 0, 0, 0].repeat(limits::EXTENSIONS - 1);
    longest.extend([UDP, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 53, 0, 8, 0, 0]);
    assert_eq!(ports(&[ethernet(&[], 0x86dd), ipv6(60, &longest)]), Some((UDP, 53, false)));
    let chain = [60u8, 0, 0, 0, 0, 0, 0, 0].repeat(limits::EXTENSIONS + 1);
    assert_eq!(is(&[ethernet(&[], 0x86dd), ipv6(60, &chain)]), Parsed::Unparsed(Unparsed::TooDeep));
}

#[test]
fn a_later_fragment_has_no_ports() {
    let v4 = is(&[ethernet(&[], 0x0800), ipv4(0, 1, UDP, &[0; 8])]);
    assert_eq!(v4, Parsed::Unparsed(Unparsed::Fragment));
    let v6 = is(&[ethernet(&[], 0x86dd), ipv6(44, &[UDP, 0, 0, 8, 0, 0, 0, 0])]);
    assert_eq!(v6, Parsed::Unparsed(Unparsed::Fragment));
}

#[test]
fn what_keeps_the_link_alive_is_left_alone() {
    assert_eq!(is(&[ethernet(&[], 0x0806), vec![0; 28]]), Parsed::Other);
    assert_eq!(is(&[ethernet(&[], 0x86dd), ipv6(58, &[135, 0, 0, 0])]), Parsed::Other);
    assert_eq!(is(&[ethernet(&[], 0x86dd), ipv6(58, &[128, 0, 0, 0])]), Parsed::Ip);
}

#[test]
fn a_first_fragment_too_short_for_its_flags_counts_as_opening_whatever_the_frame_is_filled_with() {
    const MORE: u16 = 0x2000;
    for filling in [vec![], vec![0; 18], vec![0xff; 18]] {
        let parts = [ethernet(&[], 0x0800), ipv4(0, MORE, TCP, &tcp(443, 2)[..8]), filling];
        assert_eq!(ports(&parts), Some((TCP, 443, true)));
    }
    let no_ports = is(&[ethernet(&[], 0x0800), ipv4(0, MORE, TCP, &[1, 2]), vec![0; 40]]);
    assert_eq!(no_ports, Parsed::Unparsed(Unparsed::Truncated));
}

#[test]
fn merged_packets_without_a_length_are_read_to_the_end_of_the_frame() {
    let mut merged = ipv4(0, 0, TCP, &tcp(443, 0x10));
    merged[2..4].copy_from_slice(&[0, 0]);
    assert_eq!(ports(&[ethernet(&[], 0x0800), merged]), Some((TCP, 443, false)));
}

#[test]
fn an_ipv6_packet_never_spends_what_belongs_to_an_ipv4_source() {
    let mut disguised = ipv6(TCP, &tcp(443, 2));
    disguised[8..24].copy_from_slice(&Addr::v4([192, 0, 2, 1]).bytes);
    let (parsed, packet) = read(&[ethernet(&[], 0x86dd), disguised]);
    let (_, honest) = read(&[ethernet(&[], 0x0800), ipv4(0, 0, TCP, &tcp(443, 2))]);
    assert_eq!((parsed, packet.source), (Parsed::Ip, [0; 2]));
    assert_eq!(honest.from(), Addr::v4([192, 0, 2, 1]));
}

#[test]
fn a_frame_may_begin_with_the_ip_header() {
    for frame in [ipv4(4, 0, UDP, &[0, 1, 0, 53]), ipv6(UDP, &[0, 1, 0, 53])] {
        let mut packet = Packet::default();
        assert_eq!(parse(&&frame[..], Link::None, &mut packet), Parsed::Ip);
        assert_eq!((packet.protocol, packet.port), (UDP, 53));
    }
}

#[test]
fn sources_are_told_apart_by_the_bits_of_the_mask() {
    let (_, v4) = read(&[ethernet(&[], 0x0800), ipv4(0, 0, TCP, &tcp(443, 2))]);
    let mask = Addr {
        bytes: [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0],
    };
    assert_eq!(Addr::from_words(v4.masked(&mask.words(), &[0; 2])), Addr::v4([192, 0, 0, 0]));
    let (_, v6) = read(&[ethernet(&[], 0x86dd), ipv6(TCP, &tcp(443, 2))]);
    assert_eq!(v6.masked(&[0; 2], &[u64::MAX, 0])[1], 0);
}

proptest! {
    #[test]
    fn arbitrary_bytes_get_an_answer(frame in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&&frame[..], Link::Ethernet, &mut Packet::default());
        let _ = parse(&&frame[..], Link::None, &mut Packet::default());
    }

    #[test]
    fn a_cut_frame_is_never_read_as_ports(cut in 0usize..14) {
        let mut frame = [ethernet(&[], 0x0800), ipv4(0, 0, TCP, &tcp(443, 2))].concat();
        frame.truncate(14 + 20 + cut);
        prop_assert_eq!(parse(&&frame[..], Link::Ethernet, &mut Packet::default()), Parsed::Unparsed(Unparsed::Truncated));
    }
}
