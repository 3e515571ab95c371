//! Whatever the text, reading it ends with an answer that can be shown.

use std::path::Path;

use proptest::prelude::*;

use super::EVERY_KEY;
use crate::config::{Loaded, Severity};

/// Reads, renders and converts to JSON; checks what holds for every text.
fn survives(text: &str) {
    let loaded = Loaded::from_text(Path::new("test\u{1b}.toml"), text);
    let errors = loaded.diagnostics.iter().any(|found| found.severity() == Severity::Error);
    assert_eq!(loaded.config.is_none(), errors);
    for found in &loaded.diagnostics {
        let help = found.help_text().unwrap_or_else(|| panic!("no help for: {}", found.message()));
        assert!(!found.message().contains(char::is_control) && !help.contains(char::is_control), "{found:?}");
        let shown = found.render(false);
        assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown:?}");
        let json = found.to_json();
        assert!(json["line"].as_u64() >= Some(1) && json["column"].as_u64() >= Some(1), "{json}");
        assert!(json["end_line"].as_u64() >= json["line"].as_u64(), "{json}");
    }
}

/// Pieces that are likely to reach deep into the reader.
fn piece() -> impl Strategy<Value = String> {
    let words = [
        "mode",
        "agent",
        "sink",
        "workload",
        "database",
        "exec",
        "rate_limit",
        "name",
        "exe",
        "ports",
        "clients",
        "deny",
        "by",
        "packets",
        "bytes",
        "burst",
        "protect",
        "interfaces",
        "args",
        "contains",
        "sources",
        "sockets",
        "parent",
        "raw_sockets",
        "packets",
        "interface",
        "attach",
        "memory",
        "per",
        "except",
        "newcomers",
        "penalty",
        "for",
        "factor",
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        "=",
        ",",
        ".",
        "\"",
        "'",
        "\"\"\"",
        "'''",
        "\\",
        "#",
        "\n",
        "\r\n",
        "\t",
        " ",
        "-",
        "1",
        "0x",
        "1979-05-27",
        "true",
        "inf",
        "\"/a/*\"",
        "\"tcp/22\"",
        "\"10MB/s\"",
        "\"1h 30m\"",
        "\"source/24\"",
        "\"5-9\"",
        "\u{feff}",
        "é",
        "\u{202e}",
        "\u{0}",
    ];
    prop_oneof![8 => prop::sample::select(words.to_vec()).prop_map(str::to_owned), 1 => any::<String>()]
}

proptest! {
    #[test]
    fn arbitrary_text(text in any::<String>()) {
        survives(&text);
    }

    #[test]
    fn arbitrary_pieces(pieces in prop::collection::vec(piece(), 0..60)) {
        survives(&pieces.concat());
    }

    #[test]
    fn a_good_file_with_something_else_in_it(
        at in any::<prop::sample::Index>(),
        length in 0_usize..20,
        insert in piece(),
    ) {
        let chars: Vec<char> = EVERY_KEY.chars().collect();
        let at = at.index(chars.len());
        let before: String = chars[..at].iter().collect();
        let after: String = chars[(at + length).min(chars.len())..].iter().collect();
        survives(&(before + &insert + &after));
    }

    #[test]
    fn arbitrary_values(value in "\\PC{0,40}", key in prop::sample::select(vec![
        "[agent]\ncgroup", "[metrics]\nlisten", "[[sink]]\ntype = 'file'\npath", "[[workload]]\nname",
        "[[rate_limit]]\npackets", "[[rate_limit]]\nbytes", "[[workload]]\nunit", "[[workload]]\nuser", "[[rate_limit]]\nper", "[[database]]\nengine",
        "[[rate_limit]]\npenalty.for", "[[rate_limit]]\nnewcomers", "[packets]\nmemory", "[packets]\nunparsed", "[[packets.interface]]\nname",
    ])) {
        let value = toml_string(&value);
        survives(&format!("{key} = {value}\n"));
    }

    #[test]
    fn arbitrary_entries(value in "[-/@a-z*?\\[\\]{}!,.0-9:]{0,24}", key in prop::sample::select(vec![
        "[agent]\nprotect", "[agent]\ninterfaces", "[[workload]]\nexe", "[[exec]]\ndeny", "[[database]]\nports",
        "[[workload]]\nunit", "[[workload]]\ncgroup", "[[workload]]\nuser", "[[workload]]\nsha256", "[[workload]]\nparent",
        "[[database]]\nsources", "[[database]]\nsockets", "[[exec]]\nallow", "[[exec]]\nargs.glob",
        "[[rate_limit]]\nsources", "[[rate_limit]]\nexcept", "[[rate_limit]]\ninterfaces",
    ])) {
        survives(&format!("{key} = [\"{value}\", \"/{value}\"]\n"));
    }
}

fn toml_string(text: &str) -> String {
    serde_json::to_string(text).unwrap().replace('\u{7f}', "")
}

#[test]
fn many_errors_take_no_time() {
    let started = std::time::Instant::now();
    let keys: String = (0..20_000).map(|index| format!("key_{index} = 1\n")).collect();
    let names = "[[exec]]\nname = \"a\"\n".repeat(5_000);
    let sources = format!("[[database]]\nsources = [{}]\n", "\"10.0.0.1/33\", ".repeat(100_001));
    for (text, least) in [(keys, 20_000), (names, 9_999), (sources, 20)] {
        let loaded = Loaded::from_text(Path::new("test.toml"), &text);
        assert!(loaded.diagnostics.len() >= least);
        assert!(!crate::config::render_all(&loaded.diagnostics, true).is_empty());
    }
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}
