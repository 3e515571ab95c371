//! Rate limits that say the wrong thing, and rules that an earlier one hides.

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
            text: "[[rate_limit]]\nname = \"a\"\nports = [1]\nper = \"rule\"\npackets = \"1/s\"\n",
            found: &[
                "4:7 error: `per = \"rule\"` is not supported by this version yet | write `per = \"source\"` (one IPv4 address or IPv6 /64), or remove the key",
            ],
        },
        Case {
            text: "[[rate_limit]]\nname = \"a\"\nports = [1]\nper = \"source/24\"\npackets = \"1/s\"\n",
            found: &[
                "4:7 error: `per = \"source/24\"` is not supported by this version yet | write `per = \"source\"` (one IPv4 address or IPv6 /64), or remove the key",
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
            text: "[[rate_limit]]\nname = \"a\"\nports = [1]\npackets = \"0/s\"\nconnections = \"100000001/s\"\nbytes = \"2GB/s\"\n",
            found: &[
                "4:11 error: the rate `0/s` lets nothing through | the smallest rate is `\"1/h\"` (one packet, connection or byte an hour)",
                "5:15 error: the rate `100000001/s` is too high | the highest rate is `\"100000000/s\"`; remove the limit if there is to be none",
                "6:9 error: the rate `2GB/s` is too high | the highest rate is `\"1GB/s\"`; remove the limit if there is to be none",
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
                "6:15 warning: a burst of 1000 bytes is smaller than one run of merged segments (64 KiB) | such a run would never pass; write at least `64KiB`",
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
    ]);
}

#[test]
fn a_port_has_a_bound() {
    let rule = |index: usize, protocol: &str| {
        format!(
            "[[rate_limit]]\nname = \"{index}\"\nports = [\"1-5\"]\nprotocol = \"{protocol}\"\npackets = \"1/s\"\n"
        )
    };
    let rules = |count: usize| (0..count).map(|index| rule(index, "tcp")).collect::<String>();
    assert_eq!(found(&(rules(4) + &rule(4, "udp"))), [""; 0]);
    assert_eq!(
        found(&(rules(4) + &rule(4, "any"))),
        [
            "21:1 error: more than 4 rate limits speak of port 1 | join some of them: one rule can limit packets, \
          connections and bytes"
        ]
    );
}
