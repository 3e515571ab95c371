//! Database rules and raw sockets that say the wrong thing.

use super::{Case, check, found};
use crate::config::limits::MAX_PREFIXES;

#[test]
fn databases() {
    check(&[
        Case {
            text: "[[database]]\nname = \"a\"\nengine = \"Postgres\"\nports = [1]\nclients = []\n",
            found: &["3:10 error: `Postgres` is no name of an engine | write `\"postgres\"`"],
        },
        Case {
            text: "[[database]]\nname = \"a\"\nengine = \"my sql\"\nports = [1]\nclients = []\n",
            found: &[
                "3:10 error: `my sql` is no name of an engine | write a word of up to 32 lower-case letters, digits, `-` and `_`, such as `\"postgres\"`",
            ],
        },
        Case {
            text: "[[database]]\nname = \"a\"\nports = [0, 65536, -1, \"6010-6000\", \"5432\", \"a-b\", \"0-5\"]\nclients = []\n",
            found: &[
                "3:10 error: the port 0 is not from 1 to 65535 | write a port from 1 to 65535, or a range such as `\"6000-6010\"`",
                "3:13 error: the port 65536 is not from 1 to 65535 | write a port from 1 to 65535, or a range such as `\"6000-6010\"`",
                "3:20 error: the port -1 is not from 1 to 65535 | write a port from 1 to 65535, or a range such as `\"6000-6010\"`",
                "3:24 error: the range `6010-6000` is backwards | write `\"6000-6010\"`",
                "3:37 error: `5432` is no range of ports | write the number without quotes: `5432`",
                "3:45 error: `a-b` is no range of ports | write a port from 1 to 65535, or a range such as `\"6000-6010\"`",
                "3:52 error: `0-5` is no range of ports | write a port from 1 to 65535, or a range such as `\"6000-6010\"`",
            ],
        },
        Case {
            text: "[[database]]\nname = \"a\"\nports = []\nclients = []\naction = \"kill\"\n",
            found: &[
                "3:9 error: `ports` is empty and would match nothing | list at least one port",
                "5:10 error: `kill` is no value of `action` | it may be `\"deny\"` or `\"alert\"`",
            ],
        },
        Case {
            text: "[[database]]\nname = \"a\"\nports = [5, \"1-9\"]\nclients = []\n",
            found: &["3:13 warning: ports 1-9 is listed twice | remove one of them"],
        },
    ]);
}

#[test]
fn keys_of_databases() {
    check(&[
        Case {
            text: "[[database]]\nname = \"a\"\n",
            found: &[
                "1:1 error: a database rule needs `ports` or `sockets` | list the ports or the unix sockets of the database: `ports = [5432]`, `sockets = [\"/run/postgresql/.s.PGSQL.5432\"]`",
                "1:1 error: a database rule needs `clients`, `servers` or `sources` | list the workloads that may connect: `clients = [\"api\"]` (`[]` lets nobody connect), or listen: `servers`, or the networks that may reach it: `sources`",
            ],
        },
        Case {
            text: "[[database]]\nname = \"a\"\nports = [1]\n",
            found: &[
                "1:1 error: a database rule needs `clients`, `servers` or `sources` | list the workloads that may connect: `clients = [\"api\"]` (`[]` lets nobody connect), or listen: `servers`, or the networks that may reach it: `sources`",
            ],
        },
        Case { text: "[[database]]\nname = \"a\"\nsockets = [\"/s\"]\nservers = []\n", found: &[] },
        Case { text: "[[database]]\nname = \"a\"\nports = [1]\nsources = []\n", found: &[] },
        Case {
            text: "[[database]]\nname = \"a\"\nports = [1]\naddresses = []\nsockets = []\nclients = []\n",
            found: &[
                "4:13 error: `addresses` is empty and would match nothing | list at least one address or prefix, or remove the key for any",
                "5:11 error: `sockets` is empty and would match nothing | list at least one path or glob",
            ],
        },
        Case {
            text: "[[database]]\nname = \"a\"\nsockets = [\"/s\"]\naddresses = [\"10.0.0.1\"]\nsources = [\"10.0.0.1\"]\nclients = []\n",
            found: &[
                "4:13 error: `addresses` has no meaning without `ports`: unix sockets have no addresses | add `ports`, or remove it",
                "5:11 error: `sources` has no meaning without `ports`: unix sockets have no addresses | add `ports`, or remove it",
            ],
        },
        Case {
            text: "[[database]]\nname = \"a\"\nports = [1]\nservers = []\nexisting = \"close\"\n",
            found: &["5:12 error: `existing` has no meaning without `clients` | add `clients`, or remove it"],
        },
        Case {
            text: "[[database]]\nname = \"a\"\nports = [1]\nclients = []\nexisting = \"kill\"\n",
            found: &["5:12 error: `kill` is no value of `existing` | it may be `\"list\"` or `\"close\"`"],
        },
        Case {
            text: "[[database]]\nname = \"a\"\nports = [1]\nclients = [\"x\"]\nservers = [\"x\", \"y\"]\n",
            found: &[
                "4:12 error: unknown workload `x` | no workload is defined; add `[[workload]]` with this `name` and the paths in `exe`",
                "5:12 error: unknown workload `x` | no workload is defined; add `[[workload]]` with this `name` and the paths in `exe`",
                "5:17 error: unknown workload `y` | no workload is defined; add `[[workload]]` with this `name` and the paths in `exe`",
            ],
        },
        Case {
            text: "[[workload]]\nname = \"w\"\nexe = [\"/w\"]\n[[database]]\nname = \"a\"\nports = [1]\nclients = [\"W\"]\nservers = [\"w\"]\n",
            found: &["7:12 error: unknown workload `W` | did you mean `w`? Known workloads: `w`"],
        },
    ]);
}

#[test]
fn networks_and_sockets() {
    check(&[
        Case {
            text: "[[database]]\nname = \"a\"\nports = [1]\nclients = []\naddresses = [\"10.0.0.5/24\", \"10.0.0.0/24\", \"::ffff:10.0.0.0/120\", \"example.org\", \"tcp/22\", \"10.0.0.0/33\"]\n",
            found: &[
                "5:14 warning: `10.0.0.5/24` has bits set beyond its prefix | it is read as `10.0.0.0/24`; write that, or a longer prefix",
                "5:29 warning: `10.0.0.0/24` is listed twice in `addresses` | remove one of them",
                "5:44 warning: `::ffff:10.0.0.0/120` is listed twice in `addresses` | remove one of them",
                "5:67 error: `example.org` is no address or prefix | write an address (`192.0.2.7`) or a prefix (`10.0.0.0/24`, `2001:db8::/32`)",
                "5:82 error: `tcp/22` is no address or prefix | write an address (`192.0.2.7`) or a prefix (`10.0.0.0/24`, `2001:db8::/32`)",
                "5:92 error: the prefix length of `10.0.0.0/33` is not from 0 to 32 | write an address (`192.0.2.7`) or a prefix (`10.0.0.0/24`, `2001:db8::/32`)",
            ],
        },
        Case {
            text: "[[database]]\nname = \"a\"\nports = [1]\nsources = [\"0.0.0.0/0\", \"::/0\", \"10.0.0.1\", \"10.0.0.1/32\"]\n",
            found: &["4:45 warning: `10.0.0.1/32` is listed twice in `sources` | remove one of them"],
        },
        Case {
            text: "[[database]]\nname = \"a\"\nclients = []\nsockets = [\"s\", \"/run/a/\", \"/run/*/s\", \"@memfd\", \"/run/../s\", \"/s\", \"/s\"]\n",
            found: &[
                "4:12 error: the path `s` is not absolute | write where it lies, or a glob for any place: `/**/s`",
                "4:40 error: the class `@memfd` can't be used here | classes are for `[[exec]]`; write a path or a glob",
                "4:50 error: the path `/run/../s` contains `..` | write the path as it is without `.` and `..`",
                "4:69 warning: `/s` is listed twice in `sockets` | remove one of them",
            ],
        },
    ]);
}

#[test]
fn raw_sockets() {
    check(&[
        Case {
            text: "[raw_sockets]\n",
            found: &[
                "1:1 error: missing key `allow` in `[raw_sockets]` | add for example: allow = [\"ping\"]",
            ],
        },
        Case {
            text: "[raw_sockets]\nallow = [\"ping\"]\n",
            found: &[
                "2:10 error: unknown workload `ping` | no workload is defined; add `[[workload]]` with this `name` and the paths in `exe`",
            ],
        },
        Case {
            text: "[raw_sockets]\nallow = []\naction = \"kill\"\nname = \"r\"\n",
            found: &[
                "3:10 error: `kill` is no value of `action` | it may be `\"alert\"` or `\"deny\"`",
                "4:1 error: unknown key `name` in `[raw_sockets]` | known here: `action`, `allow`, `attack`, `degrade`, `mode`, `practice`, `severity`, `when_stale`",
            ],
        },
        Case {
            text: "[[exec]]\nname = \"raw_sockets\"\ndeny = [\"/a\"]\n[raw_sockets]\nallow = []\n",
            found: &[
                "4:1 error: two rules are named `raw_sockets` | give one of them another name: a name stands for one rule in metrics",
            ],
        },
    ]);
}

#[test]
fn prefixes_have_a_bound() {
    let list = |first: usize, count: usize| {
        let address = |index: usize| format!("\"10.{}.{}.{}\"", index >> 16, index >> 8 & 255, index & 255);
        (first..first + count).map(address).collect::<Vec<_>>().join(",")
    };
    let rules = |more: usize| {
        format!(
            "[[database]]\nname = \"a\"\nports = [1]\nclients = []\naddresses = [{}]\n\
            [[database]]\nname = \"b\"\nports = [1]\nsources = [{}]\n",
            list(0, MAX_PREFIXES / 2),
            list(7, MAX_PREFIXES / 2 + more)
        )
    };
    assert_eq!(found(&rules(0)), [""; 0]);
    let help = "join neighbouring networks: write shorter prefixes";
    assert_eq!(
        found(&rules(1)),
        [format!(
            "6:1 error: more than 100000 prefixes in `addresses`, `sources` and `except` together | {help}"
        )]
    );
    let one =
        format!("[[database]]\nname = \"a\"\nports = [1]\nsources = [\n{}]\n", list(0, MAX_PREFIXES + 1));
    assert_eq!(
        found(&one),
        [
            "5:1400671 error: more than 100000 entries in `sources` | `sources` may have up to 100000 entries: write shorter prefixes"
        ]
    );
}

#[test]
fn a_long_list_is_not_all_shown() {
    let text = |entry: &str| {
        let list = format!("\"{entry}\",").repeat(30);
        format!("[[database]]\nname = \"a\"\nports = [1]\nsources = [{list}]\n")
    };
    let wrong = found(&text("10.0.0.0/40"));
    assert_eq!(wrong.len(), 21);
    let last = "4:11 error: 10 more entries of `sources` are wrong | correct the ones that are shown first";
    assert!(wrong.iter().any(|line| line == last), "{wrong:?}");
    let twice = found(&text("10.0.0.0"));
    assert_eq!(twice.len(), 21);
    let last =
        "4:11 warning: 9 more entries of `sources` are doubtful | correct the ones that are shown first";
    assert!(twice.iter().any(|line| line == last), "{twice:?}");
}

#[test]
fn listen() {
    check(&[
        Case {
            text: "[[listen]]\nname = \"a\"\nports = []\n",
            found: &[
                "1:1 error: missing key `allow` in `[[listen]]` | add for example: allow = [\"web\"]",
                "3:9 error: `ports` is empty and would match nothing | list at least one port",
            ],
        },
        Case {
            text: "[[listen]]\nname = \"a\"\nallow = []\n[[database]]\nname = \"a\"\nports = [1]\nclients = []\n",
            found: &[
                "2:8 error: two rules are named `a` | give one of them another name: a name stands for one rule in metrics",
            ],
        },
    ]);
}
