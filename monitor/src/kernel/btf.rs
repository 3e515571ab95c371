//! Looks up where the running kernel keeps the members of its structs.
//!
//! A reader of the BPF type format as the kernel documents it (`Documentation/bpf/btf.rst`), reduced to structs, unions
//! and what stands between them. aya keeps the members it parses to itself, and the other reader there is has a
//! licence that a static binary can't carry.

use std::{collections::HashMap, path::Path};

use anyhow::{Context as _, Result, bail};

const MAGIC: u16 = 0xeb9f;
const HEADER: usize = 24;

const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;

/// The types of a kernel.
pub struct Btf {
    data: Vec<u8>,
    /// Where the strings begin in `data`.
    strings: usize,
    /// Where each type begins in `data`, by id; id 0 is `void`.
    types: Vec<usize>,
    /// Structs and unions by name.
    names: HashMap<Vec<u8>, u32>,
}

/// A type, as far as it is read.
struct Type {
    kind: u32,
    count: usize,
    /// Bit fields among the members: offsets hold a size, too.
    kind_flag: bool,
    /// Size in bytes or another type, by kind.
    other: u32,
    /// Where the members begin.
    members: usize,
}

impl Btf {
    /// The running kernel's.
    pub fn running() -> Result<Self> {
        Self::from_file(Path::new("/sys/kernel/btf/vmlinux")).context(
            "the kernel doesn't say how its structs are laid out: `monitor` needs a kernel with CONFIG_DEBUG_INFO_BTF \
             (all current distribution kernels have it) and /sys mounted",
        )
    }

    /// From a file in the format of `/sys/kernel/btf/vmlinux`.
    pub fn from_file(path: &Path) -> Result<Self> {
        let data = std::fs::read(path).with_context(|| format!("can't read {}", path.display()))?;
        Self::new(data).with_context(|| format!("{} is not BTF that can be read", path.display()))
    }

    /// From the bytes of a `.BTF` section.
    pub fn new(data: Vec<u8>) -> Result<Self> {
        if data.len() < HEADER || u16::from_le_bytes([data[0], data[1]]) != MAGIC {
            bail!("it doesn't begin with the magic number of little-endian BTF");
        }
        let word = |at: usize| word(&data, at).map(|value| value as usize);
        let header = word(4)?;
        let (types_at, types_len) = (header + word(8)?, word(12)?);
        let (strings, strings_len) = (header + word(16)?, word(20)?);
        let types_end = types_at.checked_add(types_len).filter(|end| *end <= data.len());
        if types_end.is_none() || strings.checked_add(strings_len).is_none_or(|end| end > data.len()) {
            bail!("a section lies outside of the data");
        }
        let mut btf = Self { data, strings, types: vec![0], names: HashMap::new() };
        btf.index(types_at, types_at + types_len)?;
        Ok(btf)
    }

    /// Notes where each type begins.
    fn index(&mut self, mut at: usize, end: usize) -> Result<()> {
        while at < end {
            let ty = self.read(at)?;
            if matches!(ty.kind, KIND_STRUCT | KIND_UNION) {
                let name = self.string(word(&self.data, at)?).to_vec();
                // Of several with a name, the first: later ones belong to other compilation units.
                self.names.entry(name).or_insert(self.types.len() as u32);
            }
            self.types.push(at);
            at = ty.members
                + match ty.kind {
                    1 | 14 | 17 => 4,
                    KIND_ARRAY => 12,
                    KIND_STRUCT | KIND_UNION | 15 | 19 => 12 * ty.count,
                    6 | 13 => 8 * ty.count,
                    2 | 7..=12 | 16 | 18 => 0,
                    other => bail!("type {} is of the unknown kind {other}", self.types.len() - 1),
                };
        }
        Ok(())
    }

    fn read(&self, at: usize) -> Result<Type> {
        let info = word(&self.data, at + 4)?;
        Ok(Type {
            kind: info >> 24 & 0x1f,
            count: (info & 0xffff) as usize,
            kind_flag: info >> 31 == 1,
            other: word(&self.data, at + 8)?,
            members: at + 12,
        })
    }

    fn by_id(&self, id: u32) -> Result<Type> {
        let at = self.types.get(id as usize).copied().filter(|at| *at != 0);
        self.read(at.context("a type refers to one that isn't there")?)
    }

    fn string(&self, offset: u32) -> &[u8] {
        let from = self.data.get(self.strings + offset as usize..).unwrap_or_default();
        from.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// Offset in bytes of a member in a struct; `path` is a chain of names separated by dots. Anonymous structs and
    /// unions on the way are passed through. `None` if this kernel has no such struct or member.
    pub fn offset(&self, structure: &str, path: &str) -> Option<u32> {
        let mut id = *self.names.get(structure.as_bytes())?;
        let mut offset = 0;
        for name in path.split('.') {
            let (member, at) = self.member(id, name.as_bytes(), 0)?;
            offset += at;
            id = member;
        }
        Some(offset)
    }

    /// Type and offset in bytes of a member.
    fn member(&self, id: u32, name: &[u8], depth: usize) -> Option<(u32, u32)> {
        const DEEPEST: usize = 16;
        let ty = self.by_id(self.resolved(id)?).ok()?;
        if depth > DEEPEST || !matches!(ty.kind, KIND_STRUCT | KIND_UNION) {
            return None;
        }
        (0..ty.count).find_map(|index| {
            let at = ty.members + 12 * index;
            let found = self.string(word(&self.data, at).ok()?);
            let member = word(&self.data, at + 4).ok()?;
            let bits = word(&self.data, at + 8).ok()?;
            let bits = if ty.kind_flag { bits & 0xff_ffff } else { bits };
            if found == name {
                return Some((member, bits / 8));
            }
            if !found.is_empty() {
                return None;
            }
            let (id, inner) = self.member(member, name, depth + 1)?;
            Some((id, bits / 8 + inner))
        })
    }

    /// The type behind typedefs and qualifiers.
    fn resolved(&self, mut id: u32) -> Option<u32> {
        const LONGEST: usize = 32;
        for _ in 0..LONGEST {
            let ty = self.by_id(id).ok()?;
            match ty.kind {
                // Typedef, volatile, const, restrict, type tag.
                8..=11 | 18 => id = ty.other,
                _ => return Some(id),
            }
        }
        None
    }
}

fn word(data: &[u8], at: usize) -> Result<u32> {
    let bytes = data.get(at..at + 4).context("it ends in the middle of a type")?;
    Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct outer { int a; struct { int b; const inner_t c; }; };  typedef struct inner { int d, e; } inner_t;`
    fn sample() -> Vec<u8> {
        let strings = b"\0int\0outer\0a\0b\0c\0inner\0inner_t\0d\0e\0";
        let name = |text: &str| {
            let at = strings.windows(text.len() + 2).position(|window| {
                window[0] == 0 && &window[1..=text.len()] == text.as_bytes() && window[text.len() + 1] == 0
            });
            at.unwrap() as u32 + 1
        };
        let mut types: Vec<u32> = Vec::new();
        types.extend([name("int"), 1 << 24, 4, 32]); // 1
        types.extend([name("inner"), 4 << 24 | 2, 8, name("d"), 1, 0, name("e"), 1, 32]); // 2
        types.extend([name("inner_t"), 8 << 24, 2]); // 3
        types.extend([0, 10 << 24, 3]); // 4: const inner_t
        types.extend([0, 4 << 24 | 2, 12, name("b"), 1, 0, name("c"), 4, 32]); // 5
        types.extend([name("outer"), 4 << 24 | 2, 16, name("a"), 1, 0, 0, 5, 32]); // 6
        let types: Vec<u8> = types.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut data = vec![0x9f, 0xeb, 1, 0];
        for word in [24, 0, types.len() as u32, types.len() as u32, strings.len() as u32] {
            data.extend(word.to_le_bytes());
        }
        data.extend(types);
        data.extend(strings);
        data
    }

    #[test]
    fn members_are_found_through_anonymous_structs_typedefs_and_qualifiers() {
        let btf = Btf::new(sample()).unwrap();
        assert_eq!(btf.offset("outer", "a"), Some(0));
        assert_eq!(btf.offset("outer", "b"), Some(4));
        assert_eq!(btf.offset("outer", "c.e"), Some(12));
        assert_eq!(btf.offset("outer", "d"), None);
        assert_eq!(btf.offset("nothing", "a"), None);
    }

    #[test]
    fn damaged_data_is_refused_or_survived() {
        assert!(Btf::new(b"ELF".to_vec()).is_err());
        let whole = sample();
        for cut in 0..whole.len() {
            let _ = Btf::new(whole[..cut].to_vec());
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0xff;
            if let Ok(btf) = Btf::new(damaged) {
                let _ = btf.offset("outer", "c.e");
            }
        }
    }
}
