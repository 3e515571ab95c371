//! Bans by hand.

use std::time::Instant;

use anyhow::Result;
use tests::{
    agent::Mode,
    wait::{deadline, slowdown},
};

use super::{banned, line::Line, list, setup};
use crate::rate_limit::scene::{Family, PORT, Scene};

const PENALTY: &str = "for = \"1h\"";

/// Bans of client 0 alone: a single address, networks of the length that has a table of its own, and others.
const NAMES: [(Family, &str); 7] = [
    (Family::V4, "10.92.0.2"),
    (Family::V4, "10.92.0.0/24"),
    (Family::V4, "10.92.0.2/31"),
    (Family::V6, "fd92::2"),
    (Family::V6, "fd92::/64"),
    (Family::V6, "fd92::/112"),
    (Family::V6, "fd92::2/127"),
];

#[test]
fn who_is_banned_is_dropped_at_every_port_until_the_ban_is_taken_out() -> Result<()> {
    let scene = Scene::new()?;
    let agent = setup(&scene, Mode::Enforce, PENALTY).start()?;
    for (family, name) in NAMES {
        // No rule speaks of the second port.
        let lines = [Line::new(&scene, family)?, Line::to_port(&scene, family, PORT + 1)?];
        let check = |what: &str, passes| lines.iter().try_for_each(|line| line.check(what, passes));
        check(&format!("before {name}"), [true, true])?;
        let done = banned(&agent, &["add", name, "--for", "1h", "--reason", "scan"])?;
        assert_eq!(done.stdout, ["1 ban added"], "{}", done.stderr);
        check(name, [false, true])?;
        let listed = list(&agent)?;
        assert_eq!(listed.len(), 1, "{listed:?}");
        let ban = &listed[0];
        assert_eq!((&ban["address"], &ban["reason"]), (&name.into(), &"scan".into()));
        assert!(ban["rule"].is_null() && ban["until"].is_string(), "{ban}");
        let done = banned(&agent, &["add", name])?;
        assert_eq!(done.stdout, ["0 bans added, 1 renewed"], "{}", done.stderr);
        assert!(list(&agent)?[0]["until"].is_null(), "not for good");
        check(name, [false, true])?;
        let done = banned(&agent, &["del", name])?;
        assert_eq!(done.stdout, ["1 ban and 0 penalties taken out"], "{}", done.stderr);
        check(&format!("after {name}"), [true, true])?;
        assert_eq!(banned(&agent, &["del", name])?.status.code(), Some(1), "nothing to take out");
    }
    agent.stop()?;
    Ok(())
}

#[test]
fn a_ban_ends_by_itself() -> Result<()> {
    let scene = Scene::new()?;
    let agent = setup(&scene, Mode::Enforce, PENALTY).start()?;
    for (family, name) in NAMES {
        let line = Line::new(&scene, family)?;
        line.check("before", [true, true])?;
        let begun = Instant::now();
        assert!(banned(&agent, &["add", name, "--for", "2s"])?.status.success());
        let added = Instant::now();
        line.check(name, [false, true])?;
        let heard = line.until_heard(0, deadline(20.0))?;
        let (least, most) = ((heard - added).as_secs_f64(), (heard - begun).as_secs_f64());
        println!("{name}: banned for {least:.3} to {most:.3} s");
        assert!(most >= 2.0 && least <= 2.0 + 0.3 * slowdown(), "{least} to {most} s");
    }
    agent.stop()?;
    Ok(())
}

/// Whoever bans by hand means it.
#[test]
fn a_ban_by_hand_holds_in_observe_mode_too() -> Result<()> {
    let scene = Scene::new()?;
    let agent = setup(&scene, Mode::Observe, PENALTY).start()?;
    let line = Line::new(&scene, Family::V4)?;
    line.check("before", [true, true])?;
    assert!(banned(&agent, &["add", "10.92.0.2"])?.status.success());
    line.check("banned", [false, true])?;
    let dropped = [("rule", "banned"), ("verdict", "drop"), ("mode", "enforce")];
    assert_eq!(agent.metrics()?.sum("monitor_packets_total", &dropped), 5.0);
    agent.stop()?;
    Ok(())
}

#[test]
fn a_wider_ban_still_holds_when_a_narrower_one_is_taken_out() -> Result<()> {
    let scene = Scene::new()?;
    let agent = setup(&scene, Mode::Enforce, PENALTY).start()?;
    let line = Line::new(&scene, Family::V4)?;
    assert!(banned(&agent, &["add", "10.92.0.2", "10.92.0.0/24", "10.92.0.0/23"])?.status.success());
    line.check("all three", [false, false])?;
    let done = banned(&agent, &["del", "10.92.0.2"])?;
    let told = "1 ban and 0 penalties taken out; still banned by 10.92.0.0/23, 10.92.0.0/24";
    assert_eq!(done.stdout, [told]);
    line.check("two", [false, false])?;
    banned(&agent, &["del", "10.92.0.0/23"])?;
    line.check("one", [false, true])?;
    banned(&agent, &["del", "10.92.0.0/24"])?;
    line.check("none", [true, true])?;
    agent.stop()?;
    Ok(())
}

#[test]
fn who_is_protected_is_not_banned() -> Result<()> {
    let scene = Scene::new()?;
    let agent =
        setup(&scene, Mode::Enforce, PENALTY).protecting(&["10.92.1.2", "fd92:0:0:1::/64"]).start()?;
    for (family, name, around) in
        [(Family::V4, "10.92.1.2", "10.92.0.0/23"), (Family::V6, "fd92:0:0:1::2", "fd92::/48")]
    {
        let line = Line::new(&scene, family)?;
        let done = banned(&agent, &["add", name])?;
        assert_eq!(done.status.code(), Some(1));
        assert!(done.stderr.contains(name) && done.stderr.contains("protected"), "{}", done.stderr);
        assert!(list(&agent)?.is_empty());
        line.check("refused", [true, true])?;
        // A wider one is taken, and spares those who are protected.
        assert!(banned(&agent, &["add", around])?.status.success());
        line.check(around, [false, true])?;
        assert!(banned(&agent, &["del", around])?.status.success());
        line.check("after", [true, true])?;
    }
    for refused in ["127.0.0.1", "::1", "0.0.0.0/0", "::/0", "no address"] {
        assert_ne!(banned(&agent, &["add", refused])?.status.code(), Some(0), "{refused}");
    }
    assert!(list(&agent)?.is_empty());
    agent.stop()?;
    Ok(())
}

#[test]
fn a_hostile_reason_breaks_neither_the_table_nor_the_json() -> Result<()> {
    let scene = Scene::new()?;
    let agent = setup(&scene, Mode::Enforce, PENALTY).start()?;
    let reason = "say \"hi\", 'no'\r\n10.0.0.1  by hand\t\u{1b}[2J\u{7}\u{202e}\u{200f}\u{85}\\end";
    let done = banned(&agent, &["add", "10.92.0.2", "--reason", reason])?;
    assert!(done.status.success(), "{}", done.stderr);
    Line::new(&scene, Family::V4)?.check("banned", [false, true])?;
    let harmless = |text: &str| {
        let bad = |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{202e}' | '\u{200f}');
        assert!(!text.contains(bad), "{text:?}");
    };
    let table = banned(&agent, &["list"])?.stdout;
    assert_eq!(table.len(), 2, "{table:?}");
    harmless(&table.join("\n"));
    assert!(table[1].starts_with("10.92.0.2  by hand"), "{table:?}");
    let json = banned(&agent, &["list", "--json"])?;
    harmless(&json.stdout.join("\n"));
    let listed = json.json()?;
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    let told = listed[0]["reason"].as_str().unwrap_or_default();
    harmless(told);
    assert!(told.starts_with("say \"hi\", 'no'\\r\\n10.0.0.1") && told.ends_with("\\\\end"), "{told}");
    let long = "x".repeat(257);
    assert_ne!(banned(&agent, &["add", "10.92.0.3", "--reason", &long])?.status.code(), Some(0));
    assert_eq!(list(&agent)?.len(), 1);
    agent.stop()?;
    Ok(())
}
