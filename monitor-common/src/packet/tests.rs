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

fn read(parts: &[Vec<u8>]) -> Parsed {
    let frame = parts.concat();
    parse(&&frame[..])
}

fn ports(parsed: Parsed) -> Option<(u8, u16, bool)> {
    match parsed {
        Parsed::Ip(packet) => Some((packet.protocol, packet.port, packet.opens == 1)),
        _ => None,
    }
}

#[test]
fn ports_are_found_behind_tags_and_options() {
    for tags in [&[][..], &[0x8100], &[0x88a8, 0x8100], &[0x8100, 0x8100, 0x8100]] {
        for options in [0, 4, 40] {
            let parsed = read(&[ethernet(tags, 0x0800), ipv4(options, 0x4000, TCP, &tcp(443, 0x02))]);
            assert_eq!(ports(parsed), Some((TCP, 443, true)), "{tags:x?} {options}");
        }
    }
    assert_eq!(
        read(&[ethernet(&[0x8100; 4], 0x0800), ipv4(0, 0, TCP, &tcp(443, 2))]),
        Parsed::Unparsed(Unparsed::TooDeep)
    );
}

#[test]
fn ports_are_found_behind_extension_headers() {
    let mut payload = vec![60, 0, 0, 0, 0, 0, 0, 0];
    payload.extend([44, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    payload.extend([TCP, 0, 0, 1, 0, 0, 0, 0]);
    payload.extend(tcp(5432, 0x12));
    assert_eq!(ports(read(&[ethernet(&[], 0x86dd), ipv6(0, &payload)])), Some((TCP, 5432, false)));
    let chain: Vec<u8> = [60u8, 0, 0, 0, 0, 0, 0, 0].repeat(20);
    assert_eq!(read(&[ethernet(&[], 0x86dd), ipv6(60, &chain)]), Parsed::Unparsed(Unparsed::TooDeep));
}

#[test]
fn a_later_fragment_has_no_ports() {
    let v4 = read(&[ethernet(&[], 0x0800), ipv4(0, 1, UDP, &[0; 8])]);
    assert_eq!(v4, Parsed::Unparsed(Unparsed::Fragment));
    let v6 = read(&[ethernet(&[], 0x86dd), ipv6(44, &[UDP, 0, 0, 8, 0, 0, 0, 0])]);
    assert_eq!(v6, Parsed::Unparsed(Unparsed::Fragment));
}

#[test]
fn what_keeps_the_link_alive_is_left_alone() {
    assert_eq!(read(&[ethernet(&[], 0x0806), vec![0; 28]]), Parsed::Other);
    assert_eq!(read(&[ethernet(&[], 0x86dd), ipv6(58, &[135, 0, 0, 0])]), Parsed::Other);
    assert!(matches!(read(&[ethernet(&[], 0x86dd), ipv6(58, &[128, 0, 0, 0])]), Parsed::Ip(_)));
}

#[test]
fn a_first_fragment_too_short_for_its_flags_counts_as_opening_whatever_the_frame_is_filled_with() {
    const MORE: u16 = 0x2000;
    for filling in [vec![], vec![0; 18], vec![0xff; 18]] {
        let parsed = read(&[ethernet(&[], 0x0800), ipv4(0, MORE, TCP, &tcp(443, 2)[..8]), filling]);
        assert_eq!(ports(parsed), Some((TCP, 443, true)));
    }
    let no_ports = read(&[ethernet(&[], 0x0800), ipv4(0, MORE, TCP, &[1, 2]), vec![0; 40]]);
    assert_eq!(no_ports, Parsed::Unparsed(Unparsed::Truncated));
}

#[test]
fn merged_packets_without_a_length_are_read_to_the_end_of_the_frame() {
    let mut merged = ipv4(0, 0, TCP, &tcp(443, 0x10));
    merged[2..4].copy_from_slice(&[0, 0]);
    assert_eq!(ports(read(&[ethernet(&[], 0x0800), merged])), Some((TCP, 443, false)));
}

#[test]
fn an_ipv6_packet_never_spends_what_belongs_to_an_ipv4_source() {
    let mut disguised = ipv6(TCP, &tcp(443, 2));
    disguised[8..24].copy_from_slice(&Addr::v4([192, 0, 2, 1]).bytes);
    let Parsed::Ip(packet) = read(&[ethernet(&[], 0x86dd), disguised]) else { panic!("not IP") };
    assert!(packet.is_disguised());
    let Parsed::Ip(honest) = read(&[ethernet(&[], 0x0800), ipv4(0, 0, TCP, &tcp(443, 2))]) else {
        panic!("not IP")
    };
    assert_ne!(packet.limited_by(), honest.limited_by());
}

proptest! {
    #[test]
    fn arbitrary_bytes_get_an_answer(frame in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&&frame[..]);
    }

    #[test]
    fn a_cut_frame_is_never_read_as_ports(cut in 0usize..14) {
        let mut frame = [ethernet(&[], 0x0800), ipv4(0, 0, TCP, &tcp(443, 2))].concat();
        frame.truncate(14 + 20 + cut);
        prop_assert_eq!(parse(&&frame[..]), Parsed::Unparsed(Unparsed::Truncated));
    }
}
