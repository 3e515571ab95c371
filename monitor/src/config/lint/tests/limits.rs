//! Rate limits.

use super::linted;

fn limit(name: &str, keys: &str) -> String {
    format!("[[rate_limit]]\nname = \"{name}\"\nports = [443]\npackets = \"10/s\"\n{keys}\n")
}

#[test]
fn one_source_may_use_up_what_all_share() {
    let help = "add a rate limit with `per = \"source\"` for the same ports: it is asked first";
    let all = |ports: &str| {
        format!("[[rate_limit]]\nname = \"all\"\nports = [{ports}]\npackets = \"10/s\"\nper = \"rule\"\n")
    };
    let alone =
        |port: u32| [format!("1:1 warning: one source can use up all of `all` at port {port} | {help}")];
    assert_eq!(linted(&all("443")), alone(443));
    assert_eq!(linted(&(all("443") + &limit("a", ""))), [""; 0]);
    assert_eq!(linted(&(all("443") + &limit("a", "protocol = \"tcp\""))), alone(443));
    assert_eq!(linted(&(all("443") + &limit("a", "per = \"rule\"")))[..1], alone(443));
    assert_eq!(linted(&(all("\"443-450\"") + &limit("a", "per = \"source/24\""))), alone(444));
}

#[test]
fn one_host_may_have_many_addresses() {
    let found = |per: &str| linted(&limit("a", &format!("per = \"{per}\"")));
    assert_eq!(
        found("source/24/65"),
        [
            "1:1 warning: `a` counts IPv6 by the first 65 bits: one host has at least 64, and so many sources to choose from | count by at most 64 bits"
        ]
    );
    assert_eq!(found("source/64"), [""; 0]);
}

#[test]
fn lists_of_sources_may_say_nothing() {
    let found = |keys: &str| linted(&limit("a", keys));
    assert_eq!(
        found("sources = [\"0.0.0.0/1\", \"128.0.0.0/1\", \"::/0\"]"),
        [
            "1:1 warning: `sources` of `a` are all addresses there are | remove `sources`: the rule is for everybody without it"
        ]
    );
    assert_eq!(found("sources = [\"0.0.0.0/0\"]"), [""; 0]);
    assert_eq!(found("except = [\"10.0.0.0/8\"]"), [""; 0]);
    let nobody = [
        "1:1 warning: `a` holds for nobody: `except` has all that it is for | write smaller networks in `except`, or remove the rule",
    ];
    assert_eq!(found("sources = [\"10.0.0.0/9\", \"10.128.0.0/9\"]\nexcept = [\"10.0.0.0/8\"]"), nobody);
    assert_eq!(found("except = [\"0.0.0.0/0\", \"::/0\"]"), nobody);
    let outside = |address: &str| {
        format!(
            "1:1 warning: `{address}` in `except` of `a` has no effect: it is not in `sources` | remove it, or add its network to `sources`"
        )
    };
    assert_eq!(
        found(
            "sources = [\"10.0.0.0/8\"]\nexcept = [\"10.0.0.7\", \"11.0.0.1\", \"11.0.0.2\", \"11.0.0.3\", \"fd00::/8\", \"::1\"]"
        ),
        [
            outside("11.0.0.1/32"),
            outside("11.0.0.2/32"),
            outside("11.0.0.3/32"),
            "1:1 warning: 2 more entries in `except` of `a` have no effect | remove what is not in `sources`"
                .into(),
        ]
    );
}

#[test]
fn interfaces_may_be_missing_or_not_watched() {
    let later = "write one that `ip link` shows; it is fine if it is made later";
    let text = "packets = { interface = [{ name = \"nowhere0\", attach = \"tc\" }, { name = \"no*\", attach = \"tc\" }] }\n";
    assert_eq!(
        linted(&(text.to_owned() + &limit("a", "interfaces = [\"lo\", \"nowhere1\", \"wg*\"]"))),
        [
            format!("1:35 warning: there is no interface `nowhere0` on this host | {later}"),
            format!("6:21 warning: there is no interface `nowhere1` on this host | {later}"),
        ]
    );
    let text = "agent = { interfaces = [\"l?\"] }\n".to_owned() + &limit("a", "interfaces = [\"lo\"]");
    assert_eq!(linted(&text), [""; 0]);
    let text = "agent = { interfaces = [] }\n".to_owned() + &limit("a", "interfaces = [\"lo\", \"wg*\"]");
    assert_eq!(
        linted(&text),
        [
            "6:15 warning: `a` holds nowhere on `lo`: its packets are not watched | add `lo` to `interfaces` of `[agent]`"
        ]
    );
}

#[test]
fn a_penalty_may_be_a_shadow() {
    let found = |mode: &str| linted(&limit("a", &format!("mode = \"{mode}\"\npenalty = {{ for = \"1m\" }}")));
    assert_eq!(found("enforce"), [""; 0]);
    assert_eq!(
        found("observe"),
        [
            "6:11 warning: the penalty of `a` drops nothing: the rule only observes | it runs in shadow: packets it would drop are counted; write `mode = \"enforce\"` to have it hold"
        ]
    );
}
