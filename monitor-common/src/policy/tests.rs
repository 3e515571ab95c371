extern crate std;
use super::*;
use proptest::prelude::*;
use std::vec::Vec;

fn set(bits: &[usize]) -> WorkloadSet {
    let mut set = WorkloadSet::EMPTY;
    bits.iter().for_each(|bit| set.insert(*bit));
    set
}

fn candidates(bits: &[usize]) -> RuleSet {
    let mut set = RuleSet::EMPTY;
    bits.iter().for_each(|bit| set.insert(*bit));
    set
}

#[test]
fn the_first_rule_that_applies_decides() {
    let rules = [
        Rule::new(set(&[0]), Action::Kill, Action::Next, Mode::Enforce),
        Rule::new(set(&[1]), Action::Allow, Action::Deny, Mode::Observe),
    ];
    let rules = &rules[..];
    let both = candidates(&[0, 1]);
    assert_eq!(decide(&rules, &both, &set(&[0, 1])), Decision { rule: 0, verdict: verdict::KILL, mode: 1 });
    assert_eq!(decide(&rules, &both, &set(&[1])), Decision { rule: 1, verdict: verdict::ALLOW, mode: 0 });
    assert_eq!(decide(&rules, &both, &set(&[])), Decision { rule: 1, verdict: verdict::DENY, mode: 0 });
    assert_eq!(decide(&rules, &candidates(&[0]), &set(&[1])), Decision::NONE);
    assert_eq!(decide(&rules, &RuleSet::EMPTY, &set(&[0])), Decision::NONE);
}

proptest! {
    /// Against the obvious way to say it: a filter over a list.
    #[test]
    fn decides_as_a_plain_search_does(
        rows in prop::collection::vec((any::<[u64; 2]>(), 0u8..5, 0u8..5, 0u8..2), 0..256),
        bits in any::<[u64; 4]>(),
        subject in any::<[u64; 2]>(),
    ) {
        let rules: Vec<Rule> = rows.iter().map(|(subjects, on_member, on_other, mode)| Rule {
            also: WorkloadSet::EMPTY,
            subjects: WorkloadSet { bits: *subjects },
            on_member: *on_member, on_other: *on_other, mode: *mode, zero: [0; 5],
        }).collect();
        let expected = rules.iter().enumerate()
            .filter(|(index, _)| bits[index / 64] >> (index % 64) & 1 == 1)
            .map(|(index, rule)| {
                let member = (0..128).any(|bit: usize| {
                    (rule.subjects.bits[bit / 64] & subject[bit / 64]) >> (bit % 64) & 1 == 1
                });
                (index, if member { rule.on_member } else { rule.on_other }, rule.mode)
            })
            .find(|(_, action, _)| *action != 0)
            .map_or(Decision::NONE, |(rule, verdict, mode)| Decision { rule: rule as u16, verdict, mode });
        prop_assert_eq!(decide(&&rules[..], &RuleSet { bits }, &WorkloadSet { bits: subject }), expected);
    }
}

#[test]
fn the_other_mode_holds_while_the_agent_is_gone_and_nobody_asks_without_need() {
    let rule = |mode| Rule { mode, ..Rule::new(set(&[0]), Action::Deny, Action::Next, Mode::Observe) };
    let (observe, enforce) = (Mode::Observe as u8, Mode::Enforce as u8);
    for (code, alive, stale) in [
        (observe, observe, observe),
        (enforce, enforce, enforce),
        (observe | Mode::OTHER_WHEN_STALE, observe, enforce),
        (enforce | Mode::OTHER_WHEN_STALE, enforce, observe),
    ] {
        let rules = &[rule(code)][..];
        let mut only = RuleSet::EMPTY;
        only.insert(0);
        let mut asked = 0;
        let mut mode = |is_stale| {
            let ask = || {
                asked += 1;
                is_stale
            };
            decide_now(&rules, &only, &set(&[0]), ask).mode
        };
        assert_eq!((mode(false), mode(true)), (alive, stale), "{code}");
        assert_eq!(asked, if alive == stale { 0 } else { 2 });
        assert_eq!(decide(&rules, &only, &set(&[0])).mode, alive);
    }
    assert_eq!(decide_now(&&[][..], &RuleSet::EMPTY, &set(&[]), || true), Decision::NONE);
}
