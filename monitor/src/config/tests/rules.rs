//! Workloads and rules that say the wrong thing.

use super::{Case, check, found};
use crate::config::limits::{MAX_ENTRIES, MAX_PORT_ENTRIES, MAX_RULES, MAX_WORKLOADS};

#[test]
fn names() {
    check(&[
        Case {
            text: "[[workload]]\nexe = [\"/a\"]\n",
            found: &["1:1 error: missing key `name` in `[[workload]]` | add for example: name = \"api\""],
        },
        Case {
            text: "[[workload]]\nname = \"\"\nexe = [\"/a\"]\n",
            found: &[
                "2:8 error: the name is empty | write a name of 1 to 64 bytes: it becomes a metric label value",
            ],
        },
        Case {
            text: "[[workload]]\nname = \"a\\nb\"\nexe = [\"/a\"]\n",
            found: &[
                "2:8 error: the name contains the unprintable character \\u{a} | write printable characters only",
            ],
        },
        Case {
            text: "[[workload]]\nname = \"a\u{202e}b\"\nexe = [\"/a\"]\n",
            found: &[
                "2:8 error: the name contains the unprintable character \\u{202e} | write printable characters only",
            ],
        },
        Case {
            text: "[[workload]]\nname = \" a\"\nexe = [\"/a\"]\n",
            found: &["2:8 error: the name ` a` begins or ends with a space | write `a`"],
        },
        Case {
            text: "[[workload]]\nname = \"0123456789012345678901234567890123456789012345678901234567890123é\"\nexe = [\"/a\"]\n",
            found: &[
                "2:8 error: the name is 66 bytes long, at most 64 are allowed | write a name of 1 to 64 bytes: it becomes a metric label value",
            ],
        },
        Case {
            text: "[[workload]]\nname = \"a\"\nexe = [\"/a\"]\n[[workload]]\nname = \"a\"\nexe = [\"/b\"]\n",
            found: &[
                "5:8 error: two workloads are named `a` | give one of them another name: a name stands for one workload in metrics",
            ],
        },
        // A workload and a rule may have the same name; two rules of different kinds may not.
        Case {
            text: "[[workload]]\nname = \"a\"\nexe = [\"/a\"]\n\
                [[database]]\nname = \"a\"\nports = [1]\nclients = []\n[[exec]]\nname = \"a\"\ndeny = [\"/a\"]\n",
            found: &[
                "9:8 error: two rules are named `a` | give one of them another name: a name stands for one rule in metrics",
            ],
        },
    ]);
}

#[test]
fn what_a_rule_is_about() {
    let rule = |keys: &str| format!("[[exec]]\nname = \"e\"\ndeny = [\"/a\"]\n{keys}\n");
    let many = |count| {
        let ids: Vec<_> = (0..count).map(|n| format!("\"T{}\"", 1000 + n)).collect();
        rule(&format!("attack = [{}]", ids.join(", ")))
    };
    let cases: [(String, &[&str]); 7] = [
        (
            rule("severity = \"urgent\""),
            &[
                "4:12 error: `urgent` is no value of `severity` | it may be `\"info\"` or `\"low\"` or `\"medium\"` or `\"high\"` or `\"critical\"`",
            ],
        ),
        (
            rule("practice = \"Backups\""),
            &["4:12 error: `Backups` is no name of a practice | write `\"backups\"`"],
        ),
        (
            rule("practice = \"9\""),
            &[
                "4:12 error: `9` is no name of a practice | write a word of up to 32 lower-case letters, digits, `-` and `_`, such as `\"least-privilege\"`",
            ],
        ),
        (
            rule("attack = [\"t1059.004\", \"TA0002\", \"T10591\", \"T1059.4\", \"\", \"T1059\", \"T1059\"]"),
            &[
                "4:11 error: `t1059.004` is no id of an ATT&CK technique | write `\"T1059.004\"`",
                "4:24 error: `TA0002` is no id of an ATT&CK technique | write the id of a technique or sub-technique, such as `\"T1059\"` or `\"T1059.004\"`",
                "4:34 error: `T10591` is no id of an ATT&CK technique | write the id of a technique or sub-technique, such as `\"T1059\"` or `\"T1059.004\"`",
                "4:44 error: `T1059.4` is no id of an ATT&CK technique | write the id of a technique or sub-technique, such as `\"T1059\"` or `\"T1059.004\"`",
                "4:55 error: `` is no id of an ATT&CK technique | write the id of a technique or sub-technique, such as `\"T1059\"` or `\"T1059.004\"`",
                "4:68 warning: `T1059` is listed twice in `attack` | remove one of them",
            ],
        ),
        (
            rule("attack = []"),
            &[
                "4:10 error: `attack` is empty and would match nothing | list at least one technique, or remove the key",
            ],
        ),
        (many(8), &[]),
        (many(9), &["4:83 error: more than 8 techniques in `attack` | name the ones that matter most"]),
    ];
    for (text, expected) in cases {
        assert_eq!(found(&text), expected, "{text}");
    }
}

#[test]
fn workload_references() {
    let text = "[[workload]]\nname = \"api\"\nexe = [\"/a\"]\n[[exec]]\nname = \"e\"\nby = [\"apl\", \"postgres\", \"api\", \"api\"]\ndeny = [\"/a\"]\n";
    check(&[
        Case {
            text,
            found: &[
                "6:7 error: unknown workload `apl` | did you mean `api`? Known workloads: `api`",
                "6:14 error: unknown workload `postgres` | known workloads: `api`; or add `[[workload]]` with this name",
                "6:33 warning: the workload `api` is listed twice | remove one of them",
            ],
        },
        Case {
            text: "[[database]]\nname = \"d\"\nports = [1]\nclients = [\"api\"]\n",
            found: &[
                "4:12 error: unknown workload `api` | no workload is defined; add `[[workload]]` with this `name` and the paths in `exe`",
            ],
        },
        // A workload with another error is known all the same.
        Case {
            text: "[[workload]]\nname = \"api\"\nexe = [\"a\"]\n[[exec]]\nname = \"e\"\nby = [\"api\"]\ndeny = [\"/a\"]\n",
            found: &[
                "3:8 error: the path `a` is not absolute | write where it lies, or a glob for any place: `/**/a`",
            ],
        },
    ]);
}

#[test]
fn patterns() {
    check(&[
        Case {
            text: "[[workload]]\nname = \"a\"\nexe = []\n",
            found: &["3:7 error: `exe` is empty and would match nothing | list at least one path or glob"],
        },
        Case {
            text: "[[workload]]\nname = \"a\"\nexe = [\"bin/a\", \"\", \"~/a\", \"*.sh\", \"**/a\", \"./a\"]\n",
            found: &[
                "3:8 error: the path `bin/a` is not absolute | write where it lies, or a glob for any place: `/**/bin/a`",
                "3:17 error: the path is empty | write an absolute path or a glob, for example `/usr/bin/psql`",
                "3:21 error: the path `~/a` is not absolute | `~` isn't expanded; write `/home/*/a` or `/root/a`",
                "3:28 error: the path `*.sh` is not absolute | write where it lies, or a glob for any place: `/**/*.sh`",
                "3:36 error: the path `**/a` is not absolute | write `/**/a`",
                "3:44 error: the path `./a` is not absolute | write where it lies, or a glob for any place: `/**/a`",
            ],
        },
        Case {
            text: "[[workload]]\nname = \"a\"\nexe = [\"/a/../b\", \"/a//b\", \"/a/./b\", \"//\"]\n",
            found: &[
                "3:8 error: the path `/a/../b` contains `..` | write the path as it is without `.` and `..`",
                "3:19 error: the path `/a//b` has an empty component | write one `/`, not two",
                "3:28 error: the path `/a/./b` contains `.` | write the path as it is without `.` and `..`",
                "3:38 error: the path `/` has an empty component | write one `/`, not two",
            ],
        },
        Case {
            text: "[[workload]]\nname = \"a\"\nexe = ['/a\\*', \"/a\\u0000b\"]\n",
            found: &[
                "3:8 error: a backslash has no meaning in a path or glob | to match `*`, `?`, `[` or `{` itself write `[*]`, `[?]`, `[[]` or `[{]`; `?` matches a backslash",
                "3:16 error: the path contains the unprintable character \\u{0} | match it with `?`",
            ],
        },
        Case {
            text: "[[workload]]\nname = \"a\"\nexe = [\"/a**\", \"/**b/c\"]\n",
            found: &[
                "3:8 error: `**` must be a whole component, not a part of `a**` | write `/**/` for any depth, or a single `*` within a component",
                "3:16 error: `**` must be a whole component, not a part of `**b` | write `/**/` for any depth, or a single `*` within a component",
            ],
        },
        Case {
            text: "[[workload]]\nname = \"a\"\nexe = [\"/[a\", \"/[a/b]\", \"/[]\", \"/[z-a]\", \"/[^a]\", \"/[é]\", \"/[a-c-e]\", \"/[+-9]\"]\n",
            found: &[
                "3:8 error: `[` is not closed in `[a` | close it with `]` before the next `/`; to match `[` itself write `[[]`",
                "3:15 error: `[` is not closed in `[a` | close it with `]` before the next `/`; to match `[` itself write `[[]`",
                "3:25 error: `[` is not closed in `[]` | close it with `]` before the next `/`; to match `[` itself write `[[]`",
                "3:32 error: the range `z-a` is backwards | write `a-z`",
                "3:42 error: `[^` is not the sign for \"none of\" | write `[!a-z]`",
                "3:51 error: `é` can't stand between brackets: paths are compared byte by byte | write alternatives: `{é,...}`",
                "3:59 error: a misplaced `-` in `[a-c-e]` | write it first or last",
                "3:71 error: the range `+-9` includes `/` | no name contains `/`: write a range on each side of it",
            ],
        },
        Case {
            text: "[[workload]]\nname = \"a\"\nexe = [\"/{a\", \"/{a/b}\", \"/a*}\", \"/{a,{b,c}}\", \"/{a,}\", \"/{}\"]\n",
            found: &[
                "3:8 error: `{` is not closed in `{a` | close it with `}` before the next `/`; to match `{` itself write `[{]`",
                "3:15 error: `{` is not closed in `{a` | close it with `}` before the next `/`; to match `{` itself write `[{]`",
                "3:25 error: `}` without `{` in `a*}` | to match `}` itself write `[}]`",
                "3:33 error: nested braces in `{a,{b,c}}` | write all alternatives out",
                "3:47 error: an empty alternative in `{a,}` | write `{a,b}` with text on both sides of each comma",
                "3:56 error: an empty alternative in `{}` | write `{a,b}` with text on both sides of each comma",
            ],
        },
        Case {
            text: "[[workload]]\nname = \"a\"\nexe = [\"@memfd\", \"/a\", \"/a\"]\n",
            found: &[
                "3:8 error: the class `@memfd` can't be used here | classes are for `[[exec]]`; write a path or a glob",
                "3:24 warning: `/a` is listed twice in `exe` | remove one of them",
            ],
        },
        Case {
            text: "[[exec]]\nname = \"a\"\ndeny = [\"@mem\", \"@xyzzy\", \"@\"]\n",
            found: &[
                "3:9 error: unknown class `@mem` | did you mean `@memfd`?",
                "3:17 error: unknown class `@xyzzy` | the classes are `@memfd`, `@deleted`, `@unplaced`, `@loader`",
                "3:27 error: unknown class `@` | the classes are `@memfd`, `@deleted`, `@unplaced`, `@loader`",
            ],
        },
        Case {
            text: "[[exec]]\nname = \"a\"\ndeny = [\"/\"]\n",
            found: &[
                "3:9 warning: this matches every program that anybody executes | name the directories that are meant, or the workloads in `by`",
            ],
        },
        Case {
            text: "[[exec]]\nname = \"a\"\nby = []\ndeny = []\n",
            found: &[
                "3:6 error: `by` is empty and would match nobody | list workloads, or remove the key for anybody",
                "4:8 error: `deny` is empty and would match nothing | list at least one path or glob",
            ],
        },
        // All of these are fine.
        Case {
            text: "[[exec]]\nname = \"a\"\ndeny = [\"/[]]\", \"/[!a-c]?\", \"/a,b\", \"/**/x\", \"/a/**\", \"/{a,b}{c,d}\", \"/[[]\", \"/[-a]\", \"/[a-]\", \"/[]-a]\", \"/é*\"]\n",
            found: &[],
        },
    ]);
}

#[test]
fn limits_are_named() {
    let workload = |index: usize| format!("[[workload]]\nname = \"w{index}\"\nexe = [\"/w\"]\n");
    let rule = |index: usize| format!("[[exec]]\nname = \"r{index}\"\ndeny = [\"/r{index}\"]\n");
    let all = |count: usize, make: &dyn Fn(usize) -> String| (0..count).map(make).collect::<String>();
    assert_eq!(found(&all(MAX_WORKLOADS, &workload)), [""; 0]);
    assert_eq!(
        found(&all(MAX_WORKLOADS + 2, &workload)),
        ["385:1 error: more than 128 workloads | a configuration may have up to 128 workloads: merge some"]
    );
    assert_eq!(found(&all(MAX_RULES, &rule)), [""; 0]);
    assert_eq!(
        found(&all(MAX_RULES + 2, &rule)),
        ["769:1 error: more than 256 exec rules | a configuration may have up to 256 exec rules: merge some"]
    );
    let entries =
        |count: usize, make: &dyn Fn(usize) -> String| (0..count).map(make).collect::<Vec<_>>().join(",");
    let deny = entries(MAX_ENTRIES + 1, &|index| format!("\"/{index}\""));
    assert_eq!(
        found(&format!("[[exec]]\nname = \"a\"\ndeny = [\n{deny}]\n")),
        ["4:1683 error: more than 256 entries in `deny` | `deny` may have up to 256 entries: use globs"]
    );
    let ports = entries(MAX_PORT_ENTRIES + 1, &|index| (index + 1).to_string());
    assert_eq!(
        found(&format!("[[database]]\nname = \"a\"\nclients = []\nports = [\n{ports}]\n")),
        [
            "5:917 error: more than 256 entries in `ports` | write neighbouring ports as a range: `\"6000-6010\"`"
        ]
    );
}

#[test]
fn plain_paths_have_a_bound() {
    let workload = |index: usize| {
        let exe: Vec<_> = (0..MAX_ENTRIES).map(|path| format!("\"/{index}/{path}\"")).collect();
        format!("[[workload]]\nname = \"{index}\"\nexe = [{}]\n", exe.join(","))
    };
    let text = |workloads: usize| {
        (0..workloads).map(workload).collect::<String>()
            + "[[database]]\nname = \"a\"\nports = [1]\nclients = []\n"
    };
    assert_eq!(found(&text(64)), [""; 0]);
    assert_eq!(
        found(&text(65)),
        [
            "196:1 error: the rules name 16640 files by path, at most 16384 are allowed | use globs for files that lie together"
        ]
    );
}
