//! Workloads that say the wrong thing.

use super::{Case, check};

#[test]
fn dimensions() {
    check(&[
        Case {
            text: "[[workload]]\nname = \"a\"\n\n",
            found: &[
                "1:1 error: a workload needs at least one dimension | say who belongs to it: `exe = [\"/usr/bin/api-server\"]`, `unit = [\"api.service\"]`, `user = [\"app\"]`, or another of `group`, `cgroup`, `parent`, `ancestor`",
            ],
        },
        Case {
            text: "[[workload]]\nname = \"a\"\ndescendants = true\n",
            found: &[
                "1:1 error: a workload needs at least one dimension | say who belongs to it: `exe = [\"/usr/bin/api-server\"]`, `unit = [\"api.service\"]`, `user = [\"app\"]`, or another of `group`, `cgroup`, `parent`, `ancestor`",
            ],
        },
        Case {
            text: "[[workload]]\nname = \"a\"\nsha256 = []\n",
            found: &[
                "1:1 error: a workload needs at least one dimension | say who belongs to it: `exe = [\"/usr/bin/api-server\"]`, `unit = [\"api.service\"]`, `user = [\"app\"]`, or another of `group`, `cgroup`, `parent`, `ancestor`",
                "3:10 error: `sha256` needs `exe` | add the paths of the files in `exe`",
                "3:10 error: `sha256` is empty and would match nothing | list at least one digest, or remove the key",
            ],
        },
        Case {
            text: "[[workload]]\nname = \"a\"\nexe = []\nuser = []\ngroup = []\nunit = []\ncgroup = []\nparent = []\nancestor = []\n",
            found: &[
                "3:7 error: `exe` is empty and would match nothing | list at least one path or glob",
                "4:8 error: `user` is empty and would match nothing | list at least one name or number",
                "5:9 error: `group` is empty and would match nothing | list at least one name or number",
                "6:8 error: `unit` is empty and would match nothing | list at least one unit",
                "7:10 error: `cgroup` is empty and would match nothing | list at least one cgroup",
                "8:10 error: `parent` is empty and would match nothing | list at least one workload, or remove the key",
                "9:12 error: `ancestor` is empty and would match nothing | list at least one workload, or remove the key",
            ],
        },
    ]);
}

#[test]
fn digests() {
    check(&[
        Case {
            text: "[[workload]]\nname = \"a\"\nexe = [\"/a\"]\nsha256 = []\n",
            found: &[
                "4:10 error: `sha256` is empty and would match nothing | list at least one digest, or remove the key",
            ],
        },
        Case {
            text: "[[workload]]\nname = \"a\"\nunit = [\"a.service\"]\nsha256 = [\"0000000000000000000000000000000000000000000000000000000000000000\"]\n",
            found: &["4:10 error: `sha256` needs `exe` | add the paths of the files in `exe`"],
        },
        Case {
            text: "[[workload]]\nname = \"a\"\nexe = [\"/a\", \"/b*\", \"/c/\"]\nsha256 = [\"0000000000000000000000000000000000000000000000000000000000000000\"]\n",
            found: &[
                "4:10 error: `sha256` needs plain paths in `exe`, but `/b*` is a glob | list each file by its path, or remove `sha256`",
            ],
        },
        Case {
            text: "[[workload]]\nname = \"a\"\nexe = [\"/a\"]\nsha256 = [\"12\", \"gggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggg\", \"é00000000000000000000000000000000000000000000000000000000000000\", \"aBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaB\", \"AbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAb\"]\n",
            found: &[
                "4:11 error: `12` is no SHA-256 | write what `sha256sum FILE` prints: 64 hexadecimal digits",
                "4:17 error: `gggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggg` is no SHA-256 | write what `sha256sum FILE` prints: 64 hexadecimal digits",
                "4:85 error: `é00000000000000000000000000000000000000000000000000000000000000` is no SHA-256 | write what `sha256sum FILE` prints: 64 hexadecimal digits",
                "4:220 warning: `AbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAb` is listed twice in `sha256` | remove one of them",
            ],
        },
    ]);
}

#[test]
fn accounts() {
    check(&[
        Case {
            text: "[[workload]]\nname = \"a\"\nuser = [0, -1, 4294967295, 4294967296, \"4294967295\", \"99999999999999999999\"]\n",
            found: &[
                "3:12 error: the user -1 is not from 0 to 4294967294 | write a number that `id` shows, or a name",
                "3:16 error: the user 4294967295 is not from 0 to 4294967294 | write a number that `id` shows, or a name",
                "3:28 error: the user 4294967296 is not from 0 to 4294967294 | write a number that `id` shows, or a name",
                "3:40 error: the user `4294967295` is not from 0 to 4294967294 | write a number that `id` shows, or a name",
                "3:54 error: the user `99999999999999999999` is not from 0 to 4294967294 | write a number that `id` shows, or a name",
            ],
        },
        Case {
            text: "[[workload]]\nname = \"a\"\ngroup = [\"\", \"a b\", \"a:b\", \"\\u0007\", \"root\", \"root\", \"7\", 7, \"+7\"]\n",
            found: &[
                "3:10 error: `` can't be the name of a group | write a name that `getent group` shows, or a number",
                "3:14 error: `a b` can't be the name of a group | write a name that `getent group` shows, or a number",
                "3:21 error: `a:b` can't be the name of a group | write a name that `getent group` shows, or a number",
                "3:28 error: `\\u{7}` can't be the name of a group | write a name that `getent group` shows, or a number",
                "3:46 warning: `root` is listed twice in `group` | remove one of them",
                "3:59 warning: `7` is listed twice in `group` | remove one of them",
            ],
        },
    ]);
}

#[test]
fn units() {
    check(&[
        Case {
            text: "[[workload]]\nname = \"a\"\nunit = [\"\", \"a\", \"a.timer\", \".service\", \"a.service\", \"b@*.service\", \"c-[0-9].scope\", \"{d,e}.service\"]\n",
            found: &[
                "3:9 error: the unit is empty | write the name that `systemctl status` shows, such as `api.service`",
                "3:13 error: the unit `a` has no type that has processes | write `a.service`",
                "3:18 error: the unit `a.timer` has no type that has processes | write `a.service`",
                "3:29 error: the unit `.service` has no type that has processes | write the name that `systemctl status` shows, such as `api.service`",
            ],
        },
        Case {
            text: "[[workload]]\nname = \"a\"\nunit = [\"a/b.service\", \"/system.slice/a.service\", \"a b.service\", \"a**.service\", \"[a.service\", \"{a.service\", \"{a,{b,c}}\"]\n",
            found: &[
                "3:9 error: the unit `a/b.service` contains `/` | write the unit's name without a path, or use `cgroup`",
                "3:24 error: the unit `/system.slice/a.service` contains `/` | write the unit's name without a path, or use `cgroup`",
                "3:51 error: `a b.service` can't be the name of a unit | write the name that `systemctl status` shows, such as `api.service`",
                "3:66 error: `**` has no meaning in the unit `a**.service` | write a single `*`",
                "3:81 error: `[` is not closed in `[a.service` | close it with `]` before the next `/`; to match `[` itself write `[[]`",
                "3:95 error: `{` is not closed in `{a.service` | close it with `}` before the next `/`; to match `{` itself write `[{]`",
                "3:109 error: nested braces in `{a,{b,c}}` | write all alternatives out",
            ],
        },
    ]);
}

#[test]
fn cgroups() {
    check(&[
        Case {
            text: "[[workload]]\nname = \"a\"\ncgroup = [\"\", \"a.slice\", \"/sys/fs/cgroup/a.slice\", \"/a/../b\", \"/a//b\", \"/[a\", \"/a**\"]\n",
            found: &[
                "3:11 error: the path is empty | write an absolute path, for example `/system.slice`",
                "3:15 error: the path `a.slice` is not absolute | write an absolute path, for example `/system.slice`",
                "3:26 error: `/sys/fs/cgroup/a.slice` is not a path below the cgroup mount | write the path below the mount point: `/a.slice`",
                "3:52 error: the path `/a/../b` contains `..` | write the path as it is without `.` and `..`",
                "3:63 error: the path `/a//b` has an empty component | write one `/`, not two",
                "3:72 error: `[` is not closed in `[a` | close it with `]` before the next `/`; to match `[` itself write `[[]`",
                "3:79 error: `**` must be a whole component, not a part of `a**` | write `/**/` for any depth, or a single `*` within a component",
            ],
        },
        Case {
            text: "[[workload]]\nname = \"a\"\ncgroup = [\"/\", \"/a/\", \"/a\", \"/a/**\", \"/a/*/b-{c,d}\", \"/system.slice/a\\\\x2db.service\"]\n",
            found: &["3:23 warning: `/a` is listed twice in `cgroup` | remove one of them"],
        },
    ]);
}

#[test]
fn references() {
    check(&[
        Case {
            text: "[[workload]]\nname = \"w\"\nexe = [\"/w\"]\n[[workload]]\nname = \"a\"\nparent = [\"W\", \"postgres\", \"w\", \"w\"]\nancestor = [\"b\", \"w\"]\n[[workload]]\nname = \"b\"\nparent = [\"a\"]\n",
            found: &[
                "6:11 error: unknown workload `W` | did you mean `w`? Known workloads: `w`, `a`, `b`",
                "6:16 error: unknown workload `postgres` | known workloads: `w`, `a`, `b`; or add `[[workload]]` with this name",
                "6:33 warning: the workload `w` is listed twice | remove one of them",
            ],
        },
        Case {
            text: "[[workload]]\nname = \"a\"\nparent = [\"a\"]\n",
            found: &[
                "1:1 error: no process can be a member of `a` | its `parent` or `ancestor` leads only back to itself: name a workload there that can have members without it",
            ],
        },
        Case {
            text: "[[workload]]\nname = \"a\"\nancestor = [\"b\"]\n[[workload]]\nname = \"b\"\nparent = [\"c\"]\nunit = [\"b.service\"]\n[[workload]]\nname = \"c\"\nancestor = [\"a\"]\n[[workload]]\nname = \"d\"\nparent = [\"a\", \"e\"]\n[[workload]]\nname = \"e\"\nuser = [\"e\"]\n",
            found: &[
                "1:1 error: no process can be a member of `a` | its `parent` or `ancestor` leads only back to itself: name a workload there that can have members without it",
                "4:1 error: no process can be a member of `b` | its `parent` or `ancestor` leads only back to itself: name a workload there that can have members without it",
                "8:1 error: no process can be a member of `c` | its `parent` or `ancestor` leads only back to itself: name a workload there that can have members without it",
            ],
        },
        Case {
            text: "[[workload]]\nname = \"a\"\nparent = [\"a\", \"w\"]\nancestor = [\"c\"]\n[[workload]]\nname = \"w\"\nexe = [\"/w\"]\n[[workload]]\nname = \"c\"\nunit = [\"c.service\"]\n",
            found: &[],
        },
    ]);
}
