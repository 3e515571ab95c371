//! What reads bytes from others, fed with mutations of a kept corpus: a second each as a unit test, longer with
//! `cargo xtask fuzz`. The packet parser's is in `monitor-common/tests/etherparse.rs`, beside another parser.

use std::path::{Path, PathBuf};

use monitor_common::event::Record;

use crate::{
    config::{Loaded, Redact},
    control::Request,
    event::{Program, Text},
    host::processes,
    http::Web,
    pipeline::redact::Redactor,
};

fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name)
}

/// What comes off the ring.
#[test]
fn fuzzed_events() {
    fuzz::run(&corpus("events"), &[], |input| {
        if let Ok(record) = Record::read(input) {
            assert!(!record.kind().name().is_empty());
        }
    });
}

/// A policy gives a configuration or errors, each in a place of the text, and both can be shown.
#[test]
fn fuzzed_policy() {
    let words: &[&[u8]] = &[
        b"[[exec]]\n",
        b"[[workload]]\n",
        b"[[database]]\n",
        b"[[rate_limit]]\n",
        b"\"**\"",
        b"{a,b}",
        b" = ",
    ];
    fuzz::run(&corpus("policy"), words, |input| {
        let Ok(text) = str::from_utf8(input) else { return };
        let loaded = Loaded::from_text(Path::new("fuzz.toml"), text);
        assert!(loaded.config.is_some() || !loaded.diagnostics.is_empty(), "no configuration and no error");
        let shown = crate::config::render_all(&loaded.diagnostics, false);
        assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "{shown:?}");
    });
}

/// A line at the control socket.
#[test]
fn fuzzed_control() {
    fuzz::run(&corpus("control"), &[b"{\"request\":", b"\"ban_add\"", b"null", b"[[[[[["], |input| {
        // That it is read or refused, without a panic, is all there is to say.
        let _ = serde_json::from_slice::<Request>(input);
    });
}

/// A `web.config` file is read or refused.
#[test]
fn fuzzed_web_config() {
    let words: &[&[u8]] =
        &[b"tls_server_config:\n", b"basic_auth_users:\n", b"&a ", b"*a", b"? ", b"- ", b"!!binary "];
    fuzz::run(&corpus("web_config"), words, |input| {
        if let Ok(text) = str::from_utf8(input) {
            let _ = Web::parse(text);
        }
    });
}

/// Command lines: nothing is lost but secrets, and what is shown is plain.
#[test]
fn fuzzed_command_lines() {
    let redactor = Redactor::new(&Redact::Patterns(Vec::new())).unwrap();
    let words: &[&[u8]] = &[b"--password=", b"\0-p", b"token:", b"://a:b@", b"Bearer ", b"\"'"];
    fuzz::run(&corpus("command_lines"), words, |input| {
        let args = processes::split(&bytes::Bytes::copy_from_slice(input));
        let path = args.first().cloned().unwrap_or_default();
        let program = Program { path, args: args.clone(), ..Program::default() };
        let shown = redactor.program(program).args;
        assert_eq!(shown.len(), args.len());
        assert!(shown.iter().map(Text::to_string).all(|text| !text.chars().any(char::is_control)));
    });
}
