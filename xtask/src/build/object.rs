//! Reading the object file of the kernel programs: which functions there are, and who calls whom.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque, btree_map::Entry};

use anyhow::{Context as _, Result, bail};
use object::{
    Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SectionIndex, SymbolKind,
};

/// Size of one instruction. A 64-bit load takes two.
const INSTRUCTION: u64 = 8;

/// A function in the object.
#[derive(Debug)]
pub struct Function {
    /// Its symbol, readable.
    pub name: String,
    /// The section it lies in: for programs also their type and hook, `.text` for functions that they share.
    pub section: String,
    /// In bytes.
    pub size: u64,
    /// Whether the kernel can be asked to load it, as opposed to a function that programs call.
    pub is_program: bool,
    calls: BTreeSet<usize>,
}

impl Function {
    /// Its own length, without the functions it calls.
    pub fn instructions(&self) -> u64 {
        self.size / INSTRUCTION
    }
}

/// The functions of an object file.
#[derive(Debug)]
pub struct Object {
    functions: Vec<Function>,
}

impl Object {
    /// Reads an ELF object for BPF.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let file = object::File::parse(bytes).context("reading the object of the kernel programs")?;
        let mut functions = Vec::new();
        let mut places = HashMap::new();
        for symbol in file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text) {
            let Some(index) = symbol.section_index() else { continue };
            let section = file.section_by_index(index)?.name()?.to_owned();
            places.insert((index, symbol.address()), functions.len());
            functions.push(Function {
                name: readable(symbol.name()?),
                is_program: section != ".text" && symbol.is_global(),
                section,
                size: symbol.size(),
                calls: BTreeSet::new(),
            });
        }
        for (&(section, address), &function) in &places {
            let size = functions[function].size;
            functions[function].calls = calls(&file, &places, section, address..address + size)?;
        }
        Ok(Self { functions })
    }

    /// The programs, in the order of their sections and names.
    pub fn programs(&self) -> Vec<&Function> {
        let mut programs: Vec<_> = self.functions.iter().filter(|function| function.is_program).collect();
        programs.sort_by_key(|program| (&program.section, &program.name));
        programs
    }

    /// Instructions of a program and of every function it can reach: what the kernel is given.
    pub fn linked_instructions(&self, program: &Function) -> u64 {
        let Some(start) = self.functions.iter().position(|function| std::ptr::eq(function, program)) else {
            return 0;
        };
        self.reach(start).keys().map(|&index| self.functions[index].instructions()).sum()
    }

    /// Refuses an object that can panic: the loop of a panic handler has no exit, and the verifier says only
    /// "last insn is not an exit or jmp" without a name.
    pub fn no_reachable_panic(&self) -> Result<()> {
        let panics = |index: &usize| self.functions[*index].name.contains("panicking");
        let mut ways = Vec::new();
        for (start, _) in self.functions.iter().enumerate().filter(|(_, function)| function.is_program) {
            let reached = self.reach(start);
            ways.extend(reached.keys().find(|index| panics(index)).map(|&end| self.way(&reached, end)));
        }
        if !ways.is_empty() {
            bail!(
                "a panic can be reached in the kernel programs, which the verifier would refuse:\n  {}\n\
                 Usual causes: indexing or slicing that isn't provably in bounds (use `get`), a division whose divisor \
                 may be zero (use `checked_div`), `unwrap`, `copy_from_slice`.",
                ways.join("\n  ")
            );
        }
        if let Some(orphan) = (0..self.functions.len()).find(panics) {
            bail!(
                "the object has `{}` although no program reaches it; remove what mentions it",
                self.functions[orphan].name
            );
        }
        Ok(())
    }

    /// Every function reachable from one, with the function it was first reached from.
    fn reach(&self, start: usize) -> BTreeMap<usize, usize> {
        let mut reached = BTreeMap::from([(start, start)]);
        let mut queue = VecDeque::from([start]);
        while let Some(caller) = queue.pop_front() {
            for &callee in &self.functions[caller].calls {
                if let Entry::Vacant(entry) = reached.entry(callee) {
                    entry.insert(caller);
                    queue.push_back(callee);
                }
            }
        }
        reached
    }

    fn way(&self, reached: &BTreeMap<usize, usize>, end: usize) -> String {
        let mut names = vec![self.functions[end].name.as_str()];
        let mut at = end;
        while let Some(&from) = reached.get(&at).filter(|&&from| from != at) {
            names.push(&self.functions[from].name);
            at = from;
        }
        names.reverse();
        names.join(" → ")
    }
}

/// The functions called by the instructions in `range` of a section.
fn calls(
    file: &object::File<'_>,
    places: &HashMap<(SectionIndex, u64), usize>,
    index: SectionIndex,
    range: std::ops::Range<u64>,
) -> Result<BTreeSet<usize>> {
    const CALL: u8 = 0x85;
    const LOAD_64: u8 = 0x18;
    /// In the source register: the target is a function of this object, not a helper of the kernel.
    const PSEUDO_CALL: u8 = 1;

    let section = file.section_by_index(index)?;
    let relocations: BTreeMap<u64, RelocationTarget> =
        section.relocations().map(|(at, relocation)| (at, relocation.target())).collect();
    let data = section.data()?;
    let mut found = BTreeSet::new();
    for at in range.step_by(INSTRUCTION as usize) {
        let Some(code) = usize::try_from(at).ok().and_then(|at| data.get(at..at + INSTRUCTION as usize))
        else {
            break;
        };
        let immediate = i64::from(i32::from_le_bytes([code[4], code[5], code[6], code[7]]));
        let is_call = code[0] == CALL && code[1] >> 4 == PSEUDO_CALL;
        let target = match relocations.get(&at) {
            // Relative to the symbol, which may be a whole section: for calls in instructions and less one, for
            // addresses of functions (callbacks) in bytes.
            Some(&RelocationTarget::Symbol(symbol)) if is_call || code[0] == LOAD_64 => {
                let symbol = file.symbol_by_index(symbol)?;
                let offset = if is_call { (immediate + 1) * INSTRUCTION as i64 } else { immediate };
                symbol.section_index().zip(symbol.address().checked_add_signed(offset))
            }
            None if is_call => {
                (at + INSTRUCTION).checked_add_signed(immediate * INSTRUCTION as i64).map(|to| (index, to))
            }
            _ => None,
        };
        found.extend(target.and_then(|target| places.get(&target)));
    }
    Ok(found)
}

/// `_RNv...` and `_ZN...` without their mangling, as far as a reader needs it.
fn readable(symbol: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(symbol))
}

#[cfg(test)]
mod tests;
