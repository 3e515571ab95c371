//! Settings that say the wrong thing.

use super::{Case, check};

#[test]
fn interfaces() {
    check(&[
        Case {
            text: "[agent]\ninterfaces = \"eth0\"\n",
            found: &[
                "2:14 error: `eth0` is neither `auto` nor a list of interfaces | write `\"auto\"`, or a list: `[\"eth0\"]`",
            ],
        },
        Case {
            text: "[agent]\ninterfaces = [\"auto\"]\n",
            found: &["2:15 error: `auto` can't stand in a list | write `interfaces = \"auto\"`"],
        },
        Case {
            text: "[agent]\ninterfaces = [\"a-name-that-is-too-long\", \"\", \"a b\"]\n",
            found: &[
                "2:15 error: `a-name-that-is-too-long` can't be the name of an interface | write a name that `ip link` shows: 1 to 15 bytes without spaces, `/` and `:`",
                "2:42 error: `` can't be the name of an interface | write a name that `ip link` shows: 1 to 15 bytes without spaces, `/` and `:`",
                "2:46 error: `a b` can't be the name of an interface | write a name that `ip link` shows: 1 to 15 bytes without spaces, `/` and `:`",
            ],
        },
        Case {
            text: "[agent]\ninterfaces = [\"eth0\", \"eth0\"]\n",
            found: &["2:23 warning: the interface `eth0` is listed twice | remove one of them"],
        },
        Case { text: "[agent]\ninterfaces = [\"eth*\", \"wg0\", \"{br,veth}?\"]\n", found: &[] },
        Case {
            text: "[agent]\ninterfaces = [\"e**\", \"[x\"]\n",
            found: &[
                "2:15 error: `**` has no meaning in the interface `e**` | write a single `*`",
                "2:22 error: `[` is not closed in `[x` | close it with `]` before the next `/`; to match `[` itself write `[[]`",
            ],
        },
    ]);
}

#[test]
fn cgroup() {
    check(&[
        Case {
            text: "[agent]\ncgroup = \"system.slice\"\n",
            found: &[
                "2:10 error: the path `system.slice` is not absolute | write an absolute path, for example `/system.slice`",
            ],
        },
        Case {
            text: "[agent]\ncgroup = \"\"\n",
            found: &["2:10 error: the path is empty | write an absolute path, for example `/system.slice`"],
        },
        Case {
            text: "[agent]\ncgroup = \"/a/../b\"\n",
            found: &[
                "2:10 error: the path `/a/../b` contains `..` | write the path as it is without `.` and `..`",
            ],
        },
        Case {
            text: "[agent]\ncgroup = \"/a//b\"\n",
            found: &["2:10 error: the path `/a//b` has an empty component | write one `/`, not two"],
        },
        Case {
            text: "[agent]\ncgroup = \"/sys/fs/cgroup/a.slice\"\n",
            found: &[
                "2:10 error: `/sys/fs/cgroup/a.slice` is not a path below the cgroup mount | write the path below the mount point: `/a.slice`",
            ],
        },
        Case {
            text: "[agent]\ncgroup = \"/a\\u0007\"\n",
            found: &[
                "2:10 error: the path `/a\\u{7}` contains an unprintable character | write an absolute path, for example `/system.slice`",
            ],
        },
    ]);
}

#[test]
fn the_absence_of_the_agent() {
    check(&[
        Case {
            text: "[agent]\nstale_after = \"1s\"\n",
            found: &[
                "2:15 error: the agent can't count as gone after `1s` | write a time from `\"5s\"` (it gives a sign of life each second) to `\"24h\"`",
            ],
        },
        Case { text: "[agent]\nstale_after = \"5s\"\n", found: &[] },
        Case {
            text: "[[exec]]\nname = \"a\"\ndeny = [\"/a\"]\naction = \"alert\"\nwhen_stale = \"open\"\n",
            found: &[
                "5:14 error: `when_stale` changes nothing of a rule whose action is `alert` | remove it, or write what is to be refused: `action = \"deny\"`",
            ],
        },
        Case {
            text: "[raw_sockets]\nallow = []\nwhen_stale = \"closed\"\n",
            found: &[
                "3:14 error: `when_stale` changes nothing of a rule whose action is `alert` | remove it, or write what is to be refused: `action = \"deny\"`",
            ],
        },
        Case { text: "[raw_sockets]\nallow = []\nwhen_stale = \"keep\"\n", found: &[] },
    ]);
}

#[test]
fn protect() {
    check(&[
        Case {
            text: "[agent]\nprotect = [\"10.0.0.5/24\", \"2001:db8::1/32\"]\n",
            found: &[
                "2:12 warning: `10.0.0.5/24` has bits set beyond its prefix | it is read as `10.0.0.0/24`; write that, or a longer prefix",
                "2:27 warning: `2001:db8::1/32` has bits set beyond its prefix | it is read as `2001:db8::/32`; write that, or a longer prefix",
            ],
        },
        Case {
            text: "[agent]\nprotect = [\"0.0.0.0/0\"]\n",
            found: &[
                "2:12 warning: `0.0.0.0/0` protects every address: nothing would ever be dropped | protect only the addresses from which the host is managed",
            ],
        },
        Case {
            text: "[agent]\nprotect = [\"10.0.0.0/33\", \"::/129\", \"10.0.0.0/\"]\n",
            found: &[
                "2:12 error: the prefix length of `10.0.0.0/33` is not from 0 to 32 | write an address (`192.0.2.7`), a prefix (`10.0.0.0/24`, `2001:db8::/32`) or a local port (`tcp/22`)",
                "2:27 error: the prefix length of `::/129` is not from 0 to 128 | write an address (`192.0.2.7`), a prefix (`10.0.0.0/24`, `2001:db8::/32`) or a local port (`tcp/22`)",
                "2:37 error: the prefix length of `10.0.0.0/` is not from 0 to 32 | write an address (`192.0.2.7`), a prefix (`10.0.0.0/24`, `2001:db8::/32`) or a local port (`tcp/22`)",
            ],
        },
        Case {
            text: "[agent]\nprotect = [\"example.org\"]\n",
            found: &[
                "2:12 error: `example.org` is no address, prefix or port | write an address (`192.0.2.7`), a prefix (`10.0.0.0/24`, `2001:db8::/32`) or a local port (`tcp/22`)",
            ],
        },
        Case {
            text: "[agent]\nprotect = [\"tcp/0\", \"udp/\", \"tcp\", \"tcp/65536\"]\n",
            found: &[
                "2:12 error: `tcp/0` is no local port | write `tcp/` and a port from 1 to 65535, for example `tcp/22`",
                "2:21 error: `udp/` is no local port | write `udp/` and a port from 1 to 65535, for example `udp/22`",
                "2:29 error: `tcp` is no local port | write `tcp/` and a port from 1 to 65535, for example `tcp/22`",
                "2:36 error: `tcp/65536` is no local port | write `tcp/` and a port from 1 to 65535, for example `tcp/22`",
            ],
        },
    ]);
}

#[test]
fn listen() {
    check(&[
        Case {
            text: "[metrics]\nlisten = \"localhost:9469\"\n",
            found: &[
                "2:10 error: `localhost:9469` is no address with a port | names aren't looked up; write `127.0.0.1:9469`",
            ],
        },
        Case {
            text: "[metrics]\nlisten = \":9469\"\n",
            found: &[
                "2:10 error: `:9469` is no address with a port | write `127.0.0.1:9469`, or `0.0.0.0:9469` for every address of the host",
            ],
        },
        Case {
            text: "[metrics]\nlisten = \"9469\"\n",
            found: &["2:10 error: `9469` is no address with a port | write `127.0.0.1:9469`"],
        },
        Case {
            text: "[metrics]\nlisten = \"127.0.0.1\"\n",
            found: &["2:10 error: `127.0.0.1` is no address with a port | write `127.0.0.1:9469`"],
        },
        Case {
            text: "[metrics]\nlisten = \"::1\"\n",
            found: &["2:10 error: `::1` is no address with a port | write `[::1]:9469`"],
        },
        Case {
            text: "[metrics]\nlisten = \"127.0.0.1:99999\"\n",
            found: &[
                "2:10 error: `127.0.0.1:99999` is no address with a port | write an address and a port, for example `127.0.0.1:9469` or `[::1]:9469`",
            ],
        },
    ]);
}

#[test]
fn sinks() {
    check(&[
        Case {
            text: "[[sink]]\n# no type\nevents = true\n",
            found: &["1:1 error: missing key `type` in `[[sink]]` | add for example: type = \"stdout\""],
        },
        Case {
            text: "[[sink]] # comment\ntype = \"file\"\n",
            found: &[
                "1:1 error: missing key `path` in `[[sink]]` | add for example: path = \"/var/log/monitor/findings.jsonl\"",
            ],
        },
        Case {
            text: "[[sink]]\ntype = \"file\"\npath = \"findings.jsonl\"\n",
            found: &[
                "3:8 error: the path `findings.jsonl` is not absolute | write an absolute path, for example `/var/log/monitor/findings.jsonl`",
            ],
        },
        Case {
            text: "[[sink]]\ntype = \"file\"\npath = \"/var/log/\"\n",
            found: &[
                "3:8 error: the path `/var/log/` is a directory | name a file in it: `/var/log/findings.jsonl`",
            ],
        },
        Case {
            text: "[[sink]]\ntype = \"stdout\"\npath = \"/a\"\n",
            found: &[
                "3:8 error: `path` has no meaning for a sink of type `stdout` | remove it, or write `type = \"file\"`",
            ],
        },
        Case {
            text: "[[sink]]\ntype = \"stdout\"\n[[sink]]\ntype = \"stdout\"\n",
            found: &[
                "3:1 error: two sinks write to the same place | remove one of them, or give it another `path`",
            ],
        },
        Case {
            text: "[[sink]]\ntype = \"webhook\"\nurl = \"https://user:secret@host/\"\n",
            found: &["3:7 error: the URL has a user or password in it | use `token_file` or `token_env`"],
        },
        Case {
            text: "[[sink]]\ntype = \"webhook\"\nurl = \"http://10.0.0.1/\"\ntoken_env = \"T\"\n",
            found: &[
                "3:7 warning: the token is sent without encryption | use `https://`: whoever is on the way reads the token",
            ],
        },
        Case {
            text: "[[sink]]\ntype = \"otlp\"\n",
            found: &[
                "1:1 error: missing key `url` in `[[sink]]` | add for example: url = \"https://collector.example:4318/v1/logs\"",
            ],
        },
        Case {
            text: "[[sink]]\ntype = \"syslog\"\nurl = \"http://10.0.0.1/\"\nfold = \"1ms\"\nkeep = 3\n",
            found: &[
                "3:7 error: syslog is not sent by `http` | write for example `\"unix:///dev/log\"`, `\"udp://10.0.0.9:514\"` or `\"tls://logs.example:6514\"`",
                "4:8 error: findings can't be gathered for `1ms` | write a time from `\"1s\"` to `\"24h\"`, or `\"0s\"` to have each finding told by itself",
                "5:8 error: `keep` has no meaning for a sink of type `syslog` | remove it, or write `type = \"file\"`",
            ],
        },
        Case {
            text: "[[sink]]\ntype = \"file\"\npath = \"/a\"\nmax_size = \"1KiB\"\n",
            found: &["4:12 error: the size `1KiB` is less than 64 KiB | write for example `\"100MiB\"`"],
        },
    ]);
}

#[test]
fn packets() {
    check(&[
        Case {
            text: "[packets]\nmemory = \"1kB\"\nunparsed = \"10\"\n",
            found: &[
                "2:10 error: the memory `1kB` is not from 64 KiB to 4 GiB | about 90 bytes are needed for each source: `\"16MiB\"` is enough for 131,072",
                "3:12 error: `10` has no time | write a number and a time, for example `\"50/s\"`, `\"600/min\"` or `\"1000/h\"`; `\"off\"` for none",
            ],
        },
        Case {
            text: "[packets]\nmemory = \"5GiB\"\n[[packets.interface]]\nname = \"eth0\"\nattach = \"xdp\"\n[[packets.interface]]\nname = \"eth0\"\nif_held = \"next\"\n[[packets.interface]]\nname = \"a b\"\nif_held = \"next\"\n",
            found: &[
                "2:10 error: the memory `5GiB` is not from 64 KiB to 4 GiB | about 90 bytes are needed for each source: `\"16MiB\"` is enough for 131,072",
                "7:8 error: two `[[packets.interface]]` tables are for `eth0` | the first one decides: remove one of them",
                "10:8 error: `a b` can't be the name of an interface | write a name that `ip link` shows: 1 to 15 bytes without spaces, `/` and `:`",
            ],
        },
    ]);
}

#[test]
fn rings() {
    check(&[
        Case { text: "[agent]\nring = \"64KiB\"\nfindings_ring = \"256MiB\"\n", found: &[] },
        Case {
            text: "[agent]\nring = \"32KiB\"\nfindings_ring = \"257MiB\"\n",
            found: &[
                "2:8 error: the ring `32KiB` is not from 64 KiB to 256 MiB | a record takes 150 to 600 bytes: in `\"8MiB\"` there is room for 20,000",
                "3:17 error: the ring `257MiB` is not from 64 KiB to 256 MiB | a record takes 150 to 600 bytes: in `\"8MiB\"` there is room for 20,000",
            ],
        },
        Case {
            text: "[agent]\nring = \"20000000000000GiB\"\n",
            found: &[
                "2:8 error: the ring `20000000000000GiB` is not from 64 KiB to 256 MiB | a record takes 150 to 600 bytes: in `\"8MiB\"` there is room for 20,000",
            ],
        },
    ]);
    let sizes = |text: &str| {
        let rings = crate::config::Config::from_text(text).unwrap().agent.rings;
        (rings.events, rings.findings)
    };
    assert_eq!(sizes("[agent]\nring = \"3MB\"\nfindings_ring = \"2MiB\"\n"), (4 << 20, 2 << 20));
    assert_eq!(sizes(""), (8 << 20, 1 << 20));
}
