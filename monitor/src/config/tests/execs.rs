//! Exec rules that say the wrong thing.

use super::{Case, check};

#[test]
fn allow_and_deny() {
    check(&[
        Case {
            text: "[[exec]]\nname = \"a\"\n",
            found: &[
                "1:1 error: an exec rule needs `deny` or `allow` | list what must not be executed: `deny = [\"/bin/*sh\", \"/tmp/**\"]`, or all that may be: `allow = [\"/usr/bin/pg_dump\"]`",
            ],
        },
        Case {
            text: "[[workload]]\nname = \"w\"\nexe = [\"/w\"]\n[[exec]]\nname = \"a\"\nby = [\"w\"]\nallow = [\"/a\"]\ndeny = [\"/b\"]\n",
            found: &[
                "7:9 error: `allow` and `deny` exclude each other | write two rules: the first that matches decides",
            ],
        },
        Case {
            text: "[[exec]]\nname = \"a\"\nallow = [\"/a\"]\n",
            found: &[
                "3:9 error: `allow` without `by` or `user` would stop everything else on the whole host | name the workloads in `by` or the users in `user` for whom the list is",
            ],
        },
        Case { text: "[[exec]]\nname = \"a\"\nuser = [\"u\"]\nallow = [\"/a\"]\n", found: &[] },
        Case {
            text: "[[workload]]\nname = \"w\"\nexe = [\"/w\"]\n[[exec]]\nname = \"a\"\nby = [\"w\"]\nallow = []\n",
            found: &[],
        },
        Case {
            text: "[[workload]]\nname = \"w\"\nexe = [\"/w\"]\n[[exec]]\nname = \"a\"\nby = [\"w\"]\nallow = [\"@memfd\", \"a\", \"/a\", \"/a\"]\n",
            found: &[
                "7:20 error: the path `a` is not absolute | write where it lies, or a glob for any place: `/**/a`",
                "7:31 warning: `/a` is listed twice in `allow` | remove one of them",
            ],
        },
        Case {
            text: "[[exec]]\nname = \"a\"\nuser = []\ndeny = [\"/a\"]\n",
            found: &["3:8 error: `user` is empty and would match nothing | list at least one name or number"],
        },
        Case { text: "[[exec]]\nname = \"a\"\nuser = [\"u\"]\ndeny = [\"/\"]\n", found: &[] },
        Case {
            text: "[[exec]]\nname = \"a\"\nexcept = []\ndeny = [\"/a\"]\n",
            found: &[
                "3:10 error: `except` is empty and leaves nobody out | list workloads, or remove the key",
            ],
        },
        Case {
            text: "[[workload]]\nname = \"w\"\nexe = [\"/w\"]\n[[exec]]\nname = \"a\"\nby = [\"w\"]\nuser = [\"u\"]\nexcept = [\"w\"]\ndeny = [\"/a\"]\n",
            found: &[
                "8:10 error: `except` can't stand beside both `by` and `user` | say the user in a workload that `by` names",
            ],
        },
        Case {
            text: "[[exec]]\nname = \"a\"\nuser = [\"a b\", 1.5]\ndeny = [\"/a\"]\n",
            found: &[
                "3:9 error: `a b` can't be the name of a user | write a name that `getent passwd` shows, or a number",
                "3:16 error: an entry of `user` must be a name or a number, found a float | for example: user = [\"www-data\"]",
            ],
        },
    ]);
}

#[test]
fn arguments() {
    check(&[
        Case {
            text: "[[workload]]\nname = \"w\"\nexe = [\"/w\"]\n[[exec]]\nname = \"a\"\nby = [\"w\"]\nallow = [\"/a\"]\nargs = { contains = [\"x\"] }\n",
            found: &[
                "8:8 error: `args` can't stand beside `allow` | remove it, or write a rule of its own with `deny` before this one",
            ],
        },
        Case {
            text: "[[exec]]\nname = \"a\"\ndeny = [\"/a\"]\nargs = {}\n",
            found: &[
                "4:8 error: `args` needs `contains` or `glob` | write `args = { contains = [\"--dump\"] }` or `args = { glob = [\"--file=*\"] }`",
            ],
        },
        Case {
            text: "[[exec]]\nname = \"a\"\ndeny = [\"/**\"]\nargs = { contains = [\"x\"] }\n",
            found: &[],
        },
        Case {
            text: "[[exec]]\nname = \"a\"\ndeny = [\"/a\"]\nargs = { contains = [], glob = [] }\n",
            found: &[
                "4:21 error: `contains` is empty and would match nothing | list at least one text, or remove the key",
                "4:32 error: `glob` is empty and would match nothing | list at least one text, or remove the key",
            ],
        },
        Case {
            text: "[[exec]]\nname = \"a\"\ndeny = [\"/a\"]\n[exec.args]\ncontains = [\"\", \"a\", \"a\", \"b\\u0000\", \"a b\\\\\"]\nglob = [\"\", \"**\", \"[a\", \"{a,b}/*\", \"a\\\\*\", \"*\"]\n",
            found: &[
                "5:13 error: an empty text is in every argument | write a part of an argument, such as `--dump`",
                "5:22 warning: `a` is listed twice in `contains` | remove one of them",
                "5:27 error: the text contains a zero byte, which no argument has | write what comes before it",
                "6:9 error: an empty text is in every argument | write a part of an argument, such as `--dump`",
                "6:13 error: `**` has no meaning in the argument `**` | write a single `*`: in an argument it matches `/`, too",
                "6:19 error: `[` is not closed in `[a` | close it with `]` before the next `/`; to match `[` itself write `[[]`",
                "6:36 error: a backslash has no meaning in a glob | to match `*`, `?`, `[` or `{` itself write `[*]`, `[?]`, `[[]` or `[{]`; `?` matches a backslash",
            ],
        },
        Case {
            text: "[[exec]]\nname = \"a\"\ndeny = [\"/a\"]\nargs.contains = [\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"]\nargs.glob = [\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"]\n",
            found: &[
                "4:18 error: the text is 129 bytes long, at most 128 are allowed | write a shorter part of the argument",
            ],
        },
    ]);
}
