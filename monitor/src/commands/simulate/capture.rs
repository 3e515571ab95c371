//! Reads captures, pcap and pcapng, as a stream: memory is bounded by the largest block.

use std::io::{self, Read};

use anyhow::{Context as _, Result, bail};
use pcap_parser::{
    Block, InterfaceDescriptionBlock, OptionCode, PcapBlockOwned, PcapError, PcapHeader, PcapNGOption,
    traits::{PcapNGPacketBlock as _, PcapReaderIterator},
};

use super::link::LinkType;

/// Bytes that are read ahead: more than the longest packet that tools capture (256 KiB).
const BUFFER: usize = 1 << 20;
/// The longest block that is taken: pcapng also carries lists of names and keys.
const LARGEST: usize = 1 << 26;
/// Interfaces of one section of a pcapng file.
const INTERFACES: usize = 4096;
const NS: i128 = 1_000_000_000;

/// A packet as it was captured.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// When, in nanoseconds since 1970; pcapng has packets without a time.
    pub time_ns: Option<i64>,
    /// What was kept of it.
    pub data: &'a [u8],
    /// How long it was on the link, bytes.
    pub length: usize,
    /// What it begins with.
    pub link: LinkType,
    /// The name of the interface, if the capture says it.
    pub interface: Option<&'a str>,
    /// Whether the capture says that the host sent it.
    pub outgoing: bool,
}

/// How a capture ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// As it should.
    Whole,
    /// In the middle of a packet, as one that is still being written or whose disk was full.
    Short,
    /// With something that can't be understood.
    Damaged,
}

/// What is known of an interface of a capture.
struct Interface {
    link: LinkType,
    name: Option<String>,
    /// Bytes kept of each packet; 0 for all.
    kept: usize,
    /// Units of its timestamps in a second.
    units: i128,
    /// What they are counted from, in seconds since 1970.
    offset_s: i128,
}

/// Reads all packets of a capture.
///
/// # Errors
/// If it isn't a capture, or `take` fails.
pub fn read(source: impl Read + Send, mut take: impl FnMut(Record<'_>) -> Result<()>) -> Result<End> {
    let mut reader = match pcap_parser::create_reader(BUFFER, Whole(source)) {
        Ok(reader) => reader,
        Err(PcapError::ReadError) => bail!("it can't be read"),
        Err(PcapError::Eof) => bail!("it is empty"),
        Err(_) => bail!("it is neither pcap nor pcapng; a compressed one has to be unpacked first"),
    };
    let mut interfaces = Vec::new();
    let mut big_endian = false;
    let mut room = BUFFER;
    loop {
        let used = match reader.next() {
            Ok((used, block)) => {
                match block {
                    PcapBlockOwned::LegacyHeader(header) => interfaces.push(Interface::legacy(&header)?),
                    PcapBlockOwned::Legacy(packet) => {
                        let Some(from) = interfaces.first() else { return Ok(End::Damaged) };
                        let units = i128::from(packet.ts_sec) * from.units + i128::from(packet.ts_usec);
                        take(from.record(Some(units), packet.data, packet.origlen, false))?;
                    }
                    PcapBlockOwned::NG(Block::SectionHeader(header)) => {
                        big_endian = header.big_endian();
                        interfaces.clear();
                    }
                    PcapBlockOwned::NG(Block::InterfaceDescription(block)) => {
                        if interfaces.len() == INTERFACES {
                            bail!("it has more than {INTERFACES} interfaces");
                        }
                        interfaces.push(Interface::described(&block, big_endian));
                    }
                    PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                        let Some(from) = interfaces.get(packet.if_id as usize) else {
                            return Ok(End::Damaged);
                        };
                        let units = i128::from(packet.ts_high) << 32 | i128::from(packet.ts_low);
                        let outgoing = is_outgoing(&packet.options, big_endian);
                        take(from.record(Some(units), packet.packet_data(), packet.origlen, outgoing))?;
                    }
                    PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                        let Some(from) = interfaces.first() else { return Ok(End::Damaged) };
                        let data = packet.packet_data();
                        let kept = if from.kept == 0 { data.len() } else { from.kept.min(data.len()) };
                        take(from.record(None, &data[..kept], packet.origlen, false))?;
                    }
                    PcapBlockOwned::NG(_) => {}
                }
                used
            }
            Err(PcapError::Eof) => return Ok(End::Whole),
            Err(PcapError::UnexpectedEof) => return Ok(End::Short),
            Err(PcapError::Incomplete(_)) => {
                refill(reader.as_mut())?;
                continue;
            }
            Err(PcapError::BufferTooSmall) => {
                // What lies before the block may be all that is in the way.
                let had = reader.data().len();
                refill(reader.as_mut())?;
                if reader.data().len() == had && !reader.reader_exhausted() {
                    room *= 2;
                    if room > LARGEST || !reader.grow(room) {
                        return Ok(End::Damaged);
                    }
                }
                continue;
            }
            Err(PcapError::ReadError) => bail!("it can't be read to its end"),
            Err(_) => return Ok(End::Damaged),
        };
        reader.consume(used);
    }
}

fn refill(reader: &mut dyn PcapReaderIterator) -> Result<()> {
    reader.refill().ok().context("it can't be read to its end")
}

impl Interface {
    /// The only one of a pcap file.
    fn legacy(header: &PcapHeader) -> Result<Self> {
        // The upper bits tell of checksums behind the frames (draft-ietf-opsawg-pcap, section 4).
        let link = LinkType((header.network.0 & 0xffff) as u16);
        if let Some(reason) = link.refusal() {
            bail!("{reason}");
        }
        let units = if header.is_nanosecond_precision() { NS } else { 1_000_000 };
        Ok(Self { link, name: None, kept: 0, units, offset_s: 0 })
    }

    fn described(block: &InterfaceDescriptionBlock<'_>, big_endian: bool) -> Self {
        let name = block.if_name().and_then(Result::ok).map(str::to_owned);
        let offset = block.options.iter().find(|option| option.code == OptionCode::IfTsoffset);
        let offset = offset.and_then(|option| <[u8; 8]>::try_from(option.as_bytes().ok()?).ok());
        let number = if big_endian { i64::from_be_bytes } else { i64::from_le_bytes };
        Self {
            link: LinkType(block.linktype.0 as u16),
            name,
            kept: block.snaplen as usize,
            units: units(block.if_tsresol),
            offset_s: i128::from(offset.map_or(0, number)),
        }
    }

    fn record<'a>(&'a self, units: Option<i128>, data: &'a [u8], length: u32, outgoing: bool) -> Record<'a> {
        let time_ns = units.map(|units| {
            let time = units / self.units * NS + units % self.units * NS / self.units + self.offset_s * NS;
            time.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
        });
        Record {
            time_ns,
            data,
            length: data.len().max(length as usize),
            link: self.link,
            interface: self.name.as_deref(),
            outgoing,
        }
    }
}

/// Units in a second (draft-ietf-opsawg-pcapng, `if_tsresol`): a negative power of 10, or of 2 if the highest bit is set.
fn units(resolution: u8) -> i128 {
    // Finer ones have no place in 64 bits, and no clock.
    let power = u32::from(resolution & 0x7f);
    if resolution & 0x80 == 0 { 10i128.pow(power.min(19)) } else { 1 << power.min(63) }
}

/// Whether the flags of a pcapng packet say that it was sent.
fn is_outgoing(options: &[PcapNGOption<'_>], big_endian: bool) -> bool {
    const FLAGS: OptionCode = OptionCode(2);
    const DIRECTION: u32 = 3;
    const OUTBOUND: u32 = 2;
    let flags = options.iter().find(|option| option.code == FLAGS);
    let bytes = flags.and_then(|option| <[u8; 4]>::try_from(option.as_bytes().ok()?).ok());
    let number = if big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
    bytes.is_some_and(|bytes| number(bytes) & DIRECTION == OUTBOUND)
}

/// Reads as much as there is room for: the reader takes less for the end, and pipes give less.
struct Whole<R>(R);

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.0.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

#[cfg(test)]
pub(super) mod tests;
