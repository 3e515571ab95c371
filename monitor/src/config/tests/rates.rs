//! Rate limits that say the wrong thing.

use super::{Case, check, found};

#[test]
fn rate_limits() {
    check(&[
        Case {
            text: "[[rate_limit]]\nname = \"a\"\nports = [1]\n",
            found: &[
                "1:1 error: a rate limit needs `packets`, `connections` or `bytes` | add `packets = \"2000/s\"`, `connections = \"50/s\"` or `bytes = \"10MB/s\"`",
            ],
        },
        Case {
            text: "[[rate_limit]]\nname = \"a\"\nports = [1]\nprotocol = \"udp\"\nconnections = \"1/s\"\n",
            found: &[
                "5:15 error: `connections` needs TCP, but `protocol` is `udp` | write `protocol = \"tcp\"` or `\"any\"`, or limit `packets`",
            ],
        },
        Case {
            text: "[[rate_limit]]\nname = \"a\"\nports = [1]\nper = \"sources\"\npackets = \"1/s\"\n",
            found: &["4:7 error: `sources` is no value of `per` | did you mean `\"source\"`?"],
        },
        Case {
            text: "[[rate_limit]]\nname = \"a\"\nports = [1]\npackets = \"50\"\nconnections = \"5/d\"\nbytes = \"5/s\"\n",
            found: &[
                "4:11 error: `50` has no time | write a number and a time, for example `\"50/s\"`, `\"600/min\"` or `\"1000/h\"`",
                "5:15 error: unknown unit of time `d` | the units are `s`, `min` (or `m`) and `h`; write a number and a time, for example `\"50/s\"`, `\"600/min\"` or `\"1000/h\"`",
                "6:9 error: `5` has no unit | write a whole number and a unit (`B`, `kB`, `MB`, `GB`, `KiB`, `MiB`, `GiB`), for example `10MB`",
            ],
        },
        Case {
            text: "[[rate_limit]]\nname = \"a\"\nports = [1]\npackets = \"x/s\"\nconnections = \"5k/s\"\nbytes = \"10Mb/s\"\n",
            found: &[
                "4:11 error: `x/s` is no rate | write a number and a time, for example `\"50/s\"`, `\"600/min\"` or `\"1000/h\"`",
                "5:15 error: `5k` is no number | write a number and a time, for example `\"50/s\"`, `\"600/min\"` or `\"1000/h\"`",
                "6:9 error: unknown unit `Mb` of a size | did you mean `10MB`? Bytes are `B`; bits have no unit here",
            ],
        },
        Case {
            text: "[[rate_limit]]\nname = \"a\"\nports = [1]\npackets = \"0/s\"\nconnections = \"100000001/s\"\nbytes = \"101GB/s\"\n",
            found: &[
                "4:11 error: the rate `0/s` lets nothing through | the smallest rate is `\"1/h\"` (one packet, connection or byte an hour)",
                "5:15 error: the rate `100000001/s` is too high | the highest rate is `\"100000000/s\"`; remove the limit if there is to be none",
                "6:9 error: the rate `101GB/s` is too high | the highest rate is `\"100GB/s\"`; remove the limit if there is to be none",
            ],
        },
        Case {
            text: "[[rate_limit]]\nname = \"a\"\nports = [1]\npackets = \"1/s\"\nburst = 0\nburst_bytes = \"1MB\"\n",
            found: &[
                "5:9 error: the burst 0 is not from 1 to 100000000 | write how many may come at once, or remove it for one second's worth",
                "6:15 error: `burst_bytes` is for `bytes`, which is not given | add `bytes`, or write `burst = 100` for packets and connections",
            ],
        },
        Case {
            text: "[[rate_limit]]\nname = \"a\"\nports = [1]\nbytes = \"1MB/s\"\nburst = 1\nburst_bytes = \"1kB\"\n",
            found: &[
                "5:9 error: `burst` is for `packets` and `connections`, and neither is given | for `bytes` write `burst_bytes = \"1MB\"`",
            ],
        },
        Case {
            text: "[[rate_limit]]\nname = \"a\"\nports = [1]\npackets = \"1/h\"\nburst = 1000\n",
            found: &[
                "5:9 error: a burst of 1000 at this rate takes more than 30 days to refill | write a burst of at most 720, or a higher rate",
            ],
        },
        Case {
            text: "[[rate_limit]]\nname = \"a\"\nports = [1]\nbytes = \"1B/h\"\n",
            found: &[
                "4:9 error: a burst of 65536 at this rate takes more than 30 days to refill | write a burst of at most 720 with `burst_bytes`, or a higher rate",
            ],
        },
        Case {
            text: "[[rate_limit]]\nname = \"a\"\nports = [1]\nbytes = \"100GB/s\"\nburst_bytes = \"1B\"\n",
            found: &[
                "5:15 error: a burst of 1 at this rate is over before the limiter can tell | write a larger burst, or remove it",
            ],
        },
        Case {
            text: "[[rate_limit]]\nname = \"unparsed\"\nports = [1]\npackets = \"1/s\"\n[[exec]]\nname = \"banned\"\ndeny = [\"/a\"]\n",
            found: &[
                "2:8 error: no rule can be named `unparsed` | in metrics it stands for packets that can't be read (`[packets] unparsed`): write another name",
                "6:8 error: no rule can be named `banned` | in metrics it stands for what is banned by hand: write another name",
            ],
        },
    ]);
}

#[test]
fn what_is_counted_together() {
    let found = |per: &str| {
        found(&format!("[[rate_limit]]\nname = \"a\"\nports = [1]\npackets = \"1/s\"\nper = \"{per}\"\n"))
    };
    let help = "write `\"source\"` (an IPv4 address or IPv6 /64), `\"source/24\"` (an IPv4 /24), `\"source/48\"` (an IPv6 /48), `\"source/24/48\"` (both) or `\"rule\"` (everybody)";
    for text in [
        "source/",
        "source/x",
        "source/129",
        "source/24/129",
        "source/33/33",
        "source/1/2/3",
        "source/+1",
        "a/b",
    ] {
        let message = format!("`{text}` is no value of `per`");
        assert_eq!(found(text), [format!("5:7 error: {message} | {help}")]);
    }
    for text in ["source/0", "source/24/0", "source/0/64"] {
        let message = format!("`{text}` counts by no bit of the address");
        assert_eq!(
            found(text),
            [format!("5:7 error: {message} | write `\"rule\"` to count everybody together")]
        );
    }
    assert_eq!(
        found("source/56/24"),
        [
            "5:7 error: the first length in `source/56/24` is for IPv4, from 1 to 32 | write `\"source/24/56\"`"
        ]
    );
    assert_eq!(found("rules"), ["5:7 error: `rules` is no value of `per` | did you mean `\"rule\"`?"]);
}

#[test]
fn whom_it_is_for() {
    check(&[
        Case {
            text: "[[rate_limit]]\nname = \"a\"\nports = [1]\npackets = \"1/s\"\nsources = []\nexcept = []\ninterfaces = []\n",
            found: &[
                "5:11 error: `sources` is empty and would match nothing | list at least one address or prefix, or remove the key for any",
                "7:14 error: `interfaces` is empty and would match nothing | list at least one interface, or remove the key for any",
            ],
        },
        Case {
            text: "[[rate_limit]]\nname = \"a\"\nports = [1]\npackets = \"1/s\"\nsources = [\"10.0.0.0/33\", \"x\"]\nexcept = [\"10.0.0.7/8\", \"::1\", \"::1\"]\n",
            found: &[
                "5:12 error: the prefix length of `10.0.0.0/33` is not from 0 to 32 | write an address (`192.0.2.7`) or a prefix (`10.0.0.0/24`, `2001:db8::/32`)",
                "5:27 error: `x` is no address or prefix | write an address (`192.0.2.7`) or a prefix (`10.0.0.0/24`, `2001:db8::/32`)",
                "6:11 warning: `10.0.0.7/8` has bits set beyond its prefix | it is read as `10.0.0.0/8`; write that, or a longer prefix",
                "6:32 warning: `::1` is listed twice in `except` | remove one of them",
            ],
        },
        Case {
            text: "[[rate_limit]]\nname = \"a\"\nports = [1]\npackets = \"1/s\"\ninterfaces = [\"a-name-that-is-too-long\", \"wg**\", \"eth[0\", \"eth 0*\", \"eth0\", \"eth0\"]\n",
            found: &[
                "5:15 error: `a-name-that-is-too-long` can't be the name of an interface | write a name that `ip link` shows: 1 to 15 bytes without spaces, `/` and `:`",
                "5:42 error: `**` has no meaning in the interface `wg**` | write a single `*`",
                "5:50 error: `[` is not closed in `[0` | close it with `]` before the next `/`; to match `[` itself write `[[]`",
                "5:59 error: `eth 0*` can't be a glob for interfaces | write a name that `ip link` shows with `*`, `?`, `[a-z]` or `{a,b}` in it: up to 128 bytes without spaces, `/` and `:`",
                "5:77 warning: `eth0` is listed twice in `interfaces` | remove one of them",
            ],
        },
    ]);
}

#[test]
fn penalties_and_newcomers() {
    check(&[
        Case {
            text: "[[rate_limit]]\nname = \"a\"\nports = [1]\npackets = \"1/s\"\nper = \"rule\"\nnewcomers = \"1/s\"\npenalty = { for = \"1m\" }\n",
            found: &[
                "6:13 error: `newcomers` has no meaning with `per = \"rule\"`: all sources share one limit | remove it, or write `per = \"source\"`",
                "7:11 error: `penalty` has no meaning with `per = \"rule\"`: nobody in particular is over the limit | remove it, or write `per = \"source\"`",
            ],
        },
        Case {
            text: "[[rate_limit]]\nname = \"a\"\nports = [1]\npackets = \"1/s\"\nnewcomers = \"0/s\"\npenalty = { for = \"0s\", factor = 0.5, max = \"366 days\", after = 0 }\n",
            found: &[
                "5:13 error: the rate `0/s` lets nothing through | the smallest rate is `\"1/h\"` (one packet, connection or byte an hour)",
                "6:19 error: the penalty `0s` is too short | write a time from `\"1s\"` to `\"8760h\"` (a year); who is never to come back belongs in a firewall",
                "6:34 error: the factor 0.5 is not from 1 to 10 | write how many times longer each further penalty is, for example `2`",
                "6:45 error: `366 days` is no duration | write a number and a unit (`s`, `min` (or `m`), `h`), for example `\"90s\"` or `\"1h 30m\"`; a day is `24h`",
                "6:65 error: `after = 0` is not from 1 to 1000000 | write how many packets over the limit bring the penalty about",
            ],
        },
        Case {
            text: "[[rate_limit]]\nname = \"a\"\nports = [1]\npackets = \"1/s\"\npenalty = { for = \"1h\", factor = 1.005, max = \"1m\" }\n",
            found: &[
                "5:34 error: the factor 1.005 has more than two digits after its point | write `1`",
                "5:47 error: `max` is shorter than `for` | write a longer `max`, or remove it",
            ],
        },
        Case {
            text: "[[rate_limit]]\nname = \"a\"\nports = [1]\npackets = \"1/s\"\npenalty = { for = \"1m\", max = \"9000h\" }\n[[rate_limit]]\nname = \"b\"\nports = [1]\npackets = \"1/s\"\npenalty = { for = \"1m\", max = \"1h\" }\n",
            found: &[
                "5:31 error: the penalty `9000h` is too long | write a time from `\"1s\"` to `\"8760h\"` (a year); who is never to come back belongs in a firewall",
                "10:31 warning: `max` has no effect: every penalty is as long as the first | add `factor = 2` to have penalties grow, or remove `max`",
            ],
        },
        Case {
            text: "[[rate_limit]]\nname = \"a\"\nports = [1]\npackets = \"1/s\"\npenalty = { for = \"-1m\", max = \"5\" }\n",
            found: &[
                "5:19 error: `-1m` is no duration | write a number and a unit (`s`, `min` (or `m`), `h`), for example `\"90s\"` or `\"1h 30m\"`; a day is `24h`",
                "5:32 error: `5` is no duration | write a number and a unit (`s`, `min` (or `m`), `h`), for example `\"90s\"` or `\"1h 30m\"`; a day is `24h`",
            ],
        },
    ]);
}
