//! Objects made by hand, with one program that calls a function that calls another.

use object::{
    Architecture, BinaryFormat, Endianness, RelocationFlags, SectionKind, SymbolFlags, SymbolScope,
    elf::R_BPF_64_32,
    write::{self, Relocation, Symbol, SymbolId, SymbolSection},
};

use super::*;

const RETURN: [u8; 8] = [0x95, 0, 0, 0, 0, 0, 0, 0];

/// A call of the instruction with this number, counted from what the relocation names.
fn call(instruction: i32) -> [u8; 8] {
    let [a, b, c, d] = (instruction - 1).to_le_bytes();
    [0x85, 0x10, 0, 0, a, b, c, d]
}

fn function(
    object: &mut write::Object<'_>,
    section: write::SectionId,
    name: &str,
    code: &[[u8; 8]],
    scope: SymbolScope,
) -> SymbolId {
    let value = object.append_section_data(section, code.as_flattened(), 8);
    object.add_symbol(Symbol {
        name: name.into(),
        value,
        size: code.as_flattened().len() as u64,
        kind: SymbolKind::Text,
        scope,
        weak: false,
        section: SymbolSection::Section(section),
        flags: SymbolFlags::None,
    })
}

/// `ingress` (in a section of its own) calls `work` by relocation, `work` calls `last` within `.text`.
fn example(last: &str) -> Vec<u8> {
    let mut object = write::Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let text = object.add_section(Vec::new(), b".text".to_vec(), SectionKind::Text);
    let xdp = object.add_section(Vec::new(), b"xdp".to_vec(), SectionKind::Text);
    function(&mut object, text, last, &[RETURN], SymbolScope::Compilation);
    // Its target is two instructions back from the one after it.
    function(&mut object, text, "work", &[call(-1), RETURN, RETURN], SymbolScope::Compilation);
    function(&mut object, xdp, "ingress", &[call(1), RETURN], SymbolScope::Dynamic);
    function(&mut object, xdp, "idle", &[RETURN], SymbolScope::Dynamic);
    let symbol = object.section_symbol(text);
    let flags = RelocationFlags::Elf { r_type: R_BPF_64_32 };
    object.add_relocation(xdp, Relocation { offset: 0, symbol, addend: 0, flags }).unwrap();
    object.write().unwrap()
}

#[test]
fn a_program_counts_what_it_reaches() {
    let object = Object::parse(&example("helper")).unwrap();
    let sizes: Vec<_> = object
        .programs()
        .into_iter()
        .map(|program| (program.name.as_str(), program.instructions(), object.linked_instructions(program)))
        .collect();
    assert_eq!(sizes, [("idle", 1, 1), ("ingress", 2, 6)]);
    object.no_reachable_panic().unwrap();
}

#[test]
fn a_reachable_panic_is_named_with_the_way_to_it() {
    let object = Object::parse(&example("core::panicking::panic_fmt")).unwrap();
    let error = object.no_reachable_panic().unwrap_err().to_string();
    assert!(error.contains("ingress → work → core::panicking::panic_fmt"), "{error}");
    assert!(!error.contains("idle"), "{error}");
}

#[test]
fn what_is_no_object_is_an_error() {
    assert!(Object::parse(b"not an object").is_err());
}
