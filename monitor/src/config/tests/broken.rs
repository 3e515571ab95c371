//! Texts that aren't TOML, unknown keys and wrong types.

use super::{Case, check};

#[test]
fn syntax() {
    check(&[
        Case {
            text: "\u{feff}mode = 1\n",
            found: &[
                "1:8 error: `mode` must be a string, found an integer | for example: mode = \"observe\"",
            ],
        },
        Case {
            text: "[[workload]]\nname = \"a\"\nexe = [/usr/bin/x]\n",
            found: &[
                "3:8 error: not valid TOML: unexpected character found: `/` | text stands in quotes, lists in brackets",
            ],
        },
        Case {
            text: "mode = observe\n",
            found: &["1:8 error: a text value must stand in quotes | write `\"observe\"`"],
        },
        Case {
            text: "[metrics]\nlisten = \"127\n",
            found: &[
                "2:14 error: not valid TOML: unterminated basic string, expected `\"` | close the text with a quote on the same line",
            ],
        },
        Case {
            text: "[agent]\ncgroup = \"/a\"\ncgroup = \"/b\"\n",
            found: &[
                "3:1 error: the key `cgroup` is given twice in one table | remove one of them, or begin a new table before the second `cgroup`",
            ],
        },
        Case {
            text: "[agent]\n[agent]\n",
            found: &["2:1 error: the table `agent` is defined twice | put the keys of both into one table"],
        },
        Case {
            text: "[[sink]]\ntype = \"stdout\"\n[sink]\ntype = \"stdout\"\n",
            found: &[
                "3:2 error: `sink` is defined twice, and not both times as a list of tables | write `[[sink]]` each time",
            ],
        },
        Case {
            text: "[sink]\ntype = \"stdout\"\n[[sink]]\ntype = \"stdout\"\n",
            found: &[
                "1:1 error: `sink` must be a list of tables, found a table | write `[[sink]]` with two brackets",
                "3:1 error: the table `sink` was defined with one bracket before | write `[[sink]]` each time",
            ],
        },
        Case {
            text: "agent = { protect = [\"tcp/22\" \"tcp/23\"] }\n",
            found: &[
                "1:31 error: not valid TOML: missing comma between elements, expected `,` in array | put a comma between the elements of a list",
            ],
        },
        Case {
            text: "agent = { protect = [\"tcp/22\"\n",
            found: &["2:1 error: not valid TOML: unclosed array, expected `]` | close the list with `]`"],
        },
        Case {
            text: "mode\n",
            found: &["1:5 error: not valid TOML: expected an equals, found a newline | write `key = value`"],
        },
        Case {
            text: "mode = \"\\d\"\n",
            found: &[
                "1:10 error: not valid TOML: invalid escape character in string: `d` | write `\\\\` for a backslash, or put the text in single quotes",
            ],
        },
        Case {
            text: "mode = \"\u{1}\"\n",
            found: &[
                "1:9 error: not valid TOML: invalid character in string: `\\u{1}` | write `key = value`, `[table]` or `[[table]]`; text stands in quotes, lists in brackets",
            ],
        },
        // What follows from a broken list or header isn't reported again.
        Case {
            text: "[[workload]]\nname = \"a\"\nexe = [\n  \"/a\"\n  \"/b\",\n  \"/c\",\n]\n",
            found: &[
                "5:3 error: not valid TOML: missing comma between elements, expected `,` in array | put a comma between the elements of a list",
            ],
        },
        Case {
            text: "[[workload]\nname = \"a\"\nexe = [\"/a\"]\n",
            found: &[
                "1:12 error: not valid TOML: expected a right bracket, found a newline | write `key = value`, `[table]` or `[[table]]`; text stands in quotes, lists in brackets",
            ],
        },
        // The workload is there, though it can't be read.
        Case {
            text: "[[workload]\nname = \"a\"\nexe = [\"/a\"]\n[[database]]\nname = \"d\"\nports = [1]\nclients = [\"a\", \"b\"]\n",
            found: &[
                "1:12 error: not valid TOML: expected a right bracket, found a newline | write `key = value`, `[table]` or `[[table]]`; text stands in quotes, lists in brackets",
                "7:17 error: unknown workload `b` | no workload is defined; add `[[workload]]` with this `name` and the paths in `exe`",
            ],
        },
        Case {
            text: "[[database]]\nname = \"d\"\nports = 1]\nclients = []\n",
            found: &[
                "3:10 error: not valid TOML: expected newline, found a right bracket | put one `key = value` on a line",
            ],
        },
    ]);
}

#[test]
fn unknown_keys() {
    check(&[
        Case {
            text: "mod = \"observe\"\n",
            found: &["1:1 error: unknown key `mod` at the top of the file | did you mean `mode`?"],
        },
        Case {
            text: "colour = true\n",
            found: &[
                "1:1 error: unknown key `colour` at the top of the file | known here: `[agent]`, `[control]`, `[[database]]`, `[[exec]]`, `[[listen]]`, `[metrics]`, `mode`, `[packets]`, `[process_memory]`, `[[rate_limit]]`, `[raw_sockets]`, `[[sink]]`, `[web]`, `[[workload]]`",
            ],
        },
        Case {
            text: "[agents]\n",
            found: &["1:2 error: unknown key `agents` at the top of the file | did you mean `[agent]`?"],
        },
        Case {
            text: "[[databases]]\n",
            found: &[
                "1:3 error: unknown key `databases` at the top of the file | did you mean `[[database]]`?",
            ],
        },
        Case {
            text: "[agent]\nInterfaces = \"auto\"\nxyzzy = 1\n",
            found: &[
                "2:1 error: unknown key `Interfaces` in `[agent]` | did you mean `interfaces`?",
                "3:1 error: unknown key `xyzzy` in `[agent]` | known here: `cgroup`, `events_per_cgroup`, `findings_ring`, `interfaces`, `protect`, `redact`, `ring`, `stale_after`",
            ],
        },
        Case {
            text: "[[sink]]\ntype = \"stdout\"\n\"for\u{202e}mat\" = 1\n",
            found: &["3:1 error: unknown key `for\\u{202e}mat` in `[[sink]]` | did you mean `format`?"],
        },
        Case {
            text: "[[syscall]]\nname = \"a\"\n",
            found: &[
                "1:3 error: `[[syscall]]` is not supported by this version yet | remove it; what this version knows is printed by `monitor schema`",
            ],
        },
        Case {
            text: "[[exec]]\nname = \"a\"\ndeny = [\"/a\"]\nargs = { contain = [\"x\"], glob = \"y\" }\n",
            found: &[
                "4:10 error: unknown key `contain` in `args` of `[[exec]]` | did you mean `contains`?",
                "4:34 error: `glob` must be a list, found a string | for example: glob = [\"--file=*\"]",
            ],
        },
        Case {
            text: "[[exec]]\nname = \"a\"\ndeny = [\"/a\"]\nargs = [\"x\"]\n",
            found: &[
                "4:8 error: `args` must be a table, found a list | for example: args = { contains = [\"--dump\"], glob = [\"--file=*\"] }",
            ],
        },
        Case {
            text: "[[raw_sockets]]\nallow = []\n",
            found: &[
                "1:1 error: `raw_sockets` must be a table, found a list | write `[raw_sockets]` with one bracket, once",
            ],
        },
        Case {
            text: "[[workload]]\nname = \"a\"\nuser = [1.5]\nunit = \"a.service\"\ndescendants = \"yes\"\n",
            found: &[
                "3:9 error: an entry of `user` must be a name or a number, found a float | for example: user = [\"app\"]",
                "4:8 error: `unit` must be a list, found a string | for example: unit = [\"api.service\"]",
                "5:15 error: `descendants` must be true or false, found a string | for example: descendants = true",
            ],
        },
        Case {
            text: "[[rate_limit]]\nname = \"a\"\nports = [1]\npackets = \"1/s\"\npenalty = { fo = \"1m\", max = 1 }\n",
            found: &[
                "5:11 error: missing key `for` in `penalty` of `[[rate_limit]]` | add for example: for = \"1m\"",
                "5:13 error: unknown key `fo` in `penalty` of `[[rate_limit]]` | did you mean `for`?",
                "5:30 error: `max` must be a string, found an integer | for example: max = \"24h\"",
            ],
        },
        Case {
            text: "[[packets.interfaces]]\nname = \"a\"\n[[packets.interface]]\nattached = \"tc\"\n",
            found: &[
                "1:11 error: unknown key `interfaces` in `[packets]` | did you mean `interface`?",
                "3:1 error: `[[packets.interface]]` needs `attach` or `if_held` | add `attach = \"tcx\"` or `if_held = \"stop\"`, or remove the table",
                "3:1 error: missing key `name` in `[[packets.interface]]` | add for example: name = \"eth1\"",
                "4:1 error: unknown key `attached` in `[[packets.interface]]` | did you mean `attach`?",
            ],
        },
    ]);
}

#[test]
fn wrong_types() {
    check(&[
        Case {
            text: "[packets.interface]\nname = \"a\"\n",
            found: &[
                "1:1 error: `interface` must be a list of tables, found a table | write `[[packets.interface]]` with two brackets",
            ],
        },
        Case {
            text: "[[packets]]\n",
            found: &[
                "1:1 error: `packets` must be a table, found a list | write `[packets]` with one bracket, once",
            ],
        },
        Case {
            text: "[packets]\nmemory = 1\nattach = \"xpd\"\nif_held = \"replace\"\ninterface = [1]\n",
            found: &[
                "2:10 error: `memory` must be a string, found an integer | for example: memory = \"16MiB\"",
                "3:10 error: `xpd` is no value of `attach` | did you mean `\"xdp\"`? It may be `\"auto\"` or `\"xdp\"` or `\"xdp-generic\"` or `\"tcx\"` or `\"tc\"`",
                "4:11 error: `replace` is no value of `if_held` | it may be `\"next\"` or `\"stop\"`",
                "5:14 error: `interface` must be a list of tables, found an integer | write `[[packets.interface]]` with two brackets",
            ],
        },
        Case {
            text: "[[rate_limit]]\nname = \"a\"\nports = [1]\npackets = \"1/s\"\npenalty = { for = \"1m\", factor = \"2\", after = 1.5 }\nsources = [1]\n",
            found: &[
                "5:34 error: `factor` must be a number, found a string | for example: factor = 2",
                "5:47 error: `after` must be an integer, found a float | for example: after = 100",
                "6:12 error: an entry of `sources` must be a string, found an integer | for example: sources = [\"10.0.0.0/8\", \"2001:db8::/32\"]",
            ],
        },
        Case {
            text: "mode = true\n",
            found: &["1:8 error: `mode` must be a string, found a boolean | for example: mode = \"observe\""],
        },
        Case {
            text: "mode = \"Observe\"\n",
            found: &[
                "1:8 error: `Observe` is no value of `mode` | did you mean `\"observe\"`? It may be `\"observe\"` or `\"enforce\"`",
            ],
        },
        Case {
            text: "mode = \"off\"\n",
            found: &["1:8 error: `off` is no value of `mode` | it may be `\"observe\"` or `\"enforce\"`"],
        },
        Case {
            text: "agent = 1\n",
            found: &[
                "1:9 error: `agent` must be a table, found an integer | write `[agent]` with one bracket, once",
            ],
        },
        Case {
            text: "[[agent]]\n",
            found: &[
                "1:1 error: `agent` must be a table, found a list | write `[agent]` with one bracket, once",
            ],
        },
        Case {
            text: "[workload]\nname = \"a\"\n",
            found: &[
                "1:1 error: `workload` must be a list of tables, found a table | write `[[workload]]` with two brackets",
            ],
        },
        Case {
            text: "workload = [1]\n",
            found: &[
                "1:13 error: `workload` must be a list of tables, found an integer | write `[[workload]]` with two brackets",
            ],
        },
        Case {
            text: "[agent]\ninterfaces = 1\ncgroup = []\nprotect = [1, \"x\"]\n",
            found: &[
                "2:14 error: `interfaces` must be \"auto\" or a list of names, found an integer | for example: interfaces = \"auto\"",
                "3:10 error: `cgroup` must be a string, found a list | for example: cgroup = \"/system.slice\"",
                "4:12 error: an entry of `protect` must be a string, found an integer | for example: protect = [\"10.0.0.0/24\", \"tcp/22\"]",
                "4:15 error: `x` is no address, prefix or port | write an address (`192.0.2.7`), a prefix (`10.0.0.0/24`, `2001:db8::/32`) or a local port (`tcp/22`)",
            ],
        },
        Case {
            text: "[metrics]\nlisten = 9469\n",
            found: &[
                "2:10 error: `listen` must be a string, found an integer | for example: listen = \"127.0.0.1:9469\"",
            ],
        },
        Case {
            text: "[[sink]]\ntype = \"sylog\"\nformat = \"xml\"\nevents = \"yes\"\npath = 1\n",
            found: &[
                "2:8 error: `sylog` is no value of `type` | did you mean `\"syslog\"`? It may be `\"stdout\"` or `\"file\"` or `\"journald\"` or `\"syslog\"` or `\"webhook\"` or `\"alertmanager\"` or `\"otlp\"`",
                "3:10 error: `xml` is no value of `format` | it may be `\"auto\"` or `\"text\"` or `\"json\"` or `\"ecs\"`",
                "4:10 error: `events` must be true or false, found a string | for example: events = true",
                "5:8 error: `path` must be a string, found an integer | for example: path = \"/var/log/monitor/findings.jsonl\"",
            ],
        },
        Case {
            text: "[[rate_limit]]\nname = 1\nports = [1.5]\nprotocol = 6\npackets = 50\nburst = \"1\"\n",
            found: &[
                "2:8 error: `name` must be a string, found an integer | for example: name = \"https per client\"",
                "3:10 error: an entry of `ports` must be a port number or a range, found a float | for example: ports = [443]",
                "4:12 error: `protocol` must be a string, found an integer | for example: protocol = \"tcp\"",
                "5:11 error: `packets` must be a string, found an integer | for example: packets = \"2000/s\"",
                "6:9 error: `burst` must be an integer, found a string | for example: burst = 100",
            ],
        },
        Case {
            text: "[[exec]]\nname = \"a\"\ndeny = \"/a\"\naction = \"allow\"\ndegrade = \"enforce\"\n",
            found: &[
                "3:8 error: `deny` must be a list, found a string | for example: deny = [\"/bin/*sh\", \"/tmp/**\", \"@memfd\", \"@deleted\"]",
                "4:10 error: `allow` is no value of `action` | it may be `\"alert\"` or `\"deny\"` or `\"kill\"`",
                "5:11 error: `enforce` is no value of `degrade` | it may be `\"observe\"`",
            ],
        },
    ]);
}
