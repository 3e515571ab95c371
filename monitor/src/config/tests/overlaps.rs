//! Rules that an earlier one hides.

use super::{Case, check};

#[test]
fn databases() {
    check(&[
        Case {
            text: "[[database]]\nname = \"a\"\nports = [5432, \"6000-6010\"]\nclients = []\n[[database]]\nname = \"b\"\nports = [\"5000-6001\", 6005]\nclients = []\n",
            found: &[
                "5:1 warning: `a` hides `b` for ports 5432, 6000-6001, 6005: it comes first | the first rule that speaks of a port or socket decides: remove it from one of them",
            ],
        },
        Case {
            text: "[[workload]]\nname = \"w\"\nexe = [\"/w\"]\n[[database]]\nname = \"a\"\nports = [1]\nclients = []\n[[database]]\nname = \"b\"\nports = [1]\nservers = []\n[[database]]\nname = \"c\"\nports = [1]\nsources = []\n[[database]]\nname = \"d\"\nports = [1]\nservers = [\"w\"]\nsources = []\n",
            found: &[
                "16:1 warning: `b` hides `d` for port 1: it comes first | the first rule that speaks of a port or socket decides: remove it from one of them",
                "16:1 warning: `c` hides `d` for port 1: it comes first | the first rule that speaks of a port or socket decides: remove it from one of them",
            ],
        },
        Case {
            text: "[[database]]\nname = \"a\"\nports = [1]\naddresses = [\"10.0.0.0/24\"]\nclients = []\n[[database]]\nname = \"b\"\nports = [1]\naddresses = [\"10.0.0.0/8\"]\nclients = []\n[[database]]\nname = \"c\"\nports = [1]\nclients = []\n[[database]]\nname = \"d\"\nports = [1]\naddresses = [\"10.0.0.7\", \"fd00::/8\"]\nclients = []\n",
            found: &[
                "15:1 warning: `a` hides `d` for port 1: it comes first | the first rule that speaks of a port or socket decides: remove it from one of them",
                "15:1 warning: `b` hides `d` for port 1: it comes first | the first rule that speaks of a port or socket decides: remove it from one of them",
                "15:1 warning: `c` hides `d` for port 1: it comes first | the first rule that speaks of a port or socket decides: remove it from one of them",
            ],
        },
        Case {
            text: "[[database]]\nname = \"a\"\nsockets = [\"/s\", \"/t\"]\nclients = []\n[[database]]\nname = \"b\"\nsockets = [\"/t\", \"/u\"]\nclients = []\n[[database]]\nname = \"c\"\nsockets = [\"/t\"]\nservers = []\n",
            found: &[
                "5:1 warning: `a` hides `b` for `/t`: it comes first | the first rule that speaks of a port or socket decides: remove it from one of them",
            ],
        },
    ]);
}

#[test]
fn hidden_exec_patterns() {
    check(&[Case {
        text: "[[workload]]\nname = \"w\"\nexe = [\"/w\"]\n\
                [[exec]]\nname = \"a\"\nby = [\"w\"]\ndeny = [\"/a\", \"/b\"]\n\
                [[exec]]\nname = \"b\"\ndeny = [\"/a\"]\n\
                [[exec]]\nname = \"c\"\nby = [\"w\"]\ndeny = [\"/a\"]\n",
        found: &[
            "11:1 warning: `a` hides `c` for `/a`: it comes first | the first rule that matches decides: remove the entry from one of them",
        ],
    }]);
}

#[test]
fn users_and_arguments() {
    check(&[
        Case {
            text: "[[exec]]\nname = \"a\"\nuser = [\"u\", 7]\ndeny = [\"/a\"]\n[[exec]]\nname = \"b\"\nuser = [\"7\"]\ndeny = [\"/a\"]\n[[exec]]\nname = \"c\"\ndeny = [\"/a\"]\n[[exec]]\nname = \"d\"\nuser = [\"v\"]\ndeny = [\"/a\"]\nargs = { contains = [\"x\"] }\n",
            found: &[
                "5:1 warning: `a` hides `b` for `/a`: it comes first | the first rule that matches decides: remove the entry from one of them",
                "12:1 warning: `c` hides `d` for `/a`: it comes first | the first rule that matches decides: remove the entry from one of them",
            ],
        },
        Case {
            text: "[[exec]]\nname = \"a\"\ndeny = [\"/a\"]\nargs = { contains = [\"x\"] }\n[[exec]]\nname = \"b\"\ndeny = [\"/a\"]\n[[exec]]\nname = \"c\"\nuser=[\"u\"]\nallow = [\"/a\"]\n",
            found: &[
                "8:1 warning: `b` hides `c` for `/a`: it comes first | the first rule that matches decides: remove the entry from one of them",
            ],
        },
        Case {
            text: "[[workload]]\nname = \"w\"\nexe = [\"/w\"]\n[[exec]]\nname = \"a\"\nby = [\"w\"]\nallow = [\"/a\", \"/b\"]\n[[exec]]\nname = \"b\"\nby = [\"w\"]\ndeny = [\"/a\", \"/x/*\", \"/c\"]\n[[exec]]\nname = \"c\"\ndeny = [\"/d\"]\n",
            found: &[
                "8:1 warning: `a` hides `b` for `/c`: it comes first | what isn't on the list of the first rule never gets to the second: remove it there, or put that rule first",
            ],
        },
        // A later list may have it.
        Case {
            text: "[[exec]]\nname = \"a\"\nuser = [\"u\"]\nallow = [\"/a/*\"]\n[[exec]]\nname = \"b\"\nuser = [\"u\"]\ndeny = [\"/c\"]\n",
            found: &[],
        },
    ]);
}

#[test]
fn allow_lists() {
    check(&[Case {
        text: "[[workload]]\nname = \"w\"\nexe = [\"/w\"]\n[[workload]]\nname = \"v\"\nexe = [\"/v\"]\n[[exec]]\nname = \"a\"\nby = [\"w\"]\nallow = [\"/a\"]\n[[exec]]\nname = \"b\"\nby = [\"v\"]\nallow = [\"/b\"]\n[[exec]]\nname = \"c\"\nby = [\"w\"]\nallow = [\"/c\"]\n[[exec]]\nname = \"d\"\nby = [\"v\", \"w\"]\nallow = []\n[[exec]]\nname = \"e\"\nby = [\"v\"]\nuser = [\"u\"]\nallow = [\"/e\"]\n",
        found: &[
            "15:1 warning: `a` and `c` both list all that the same may execute: only what is in both may be | join the two lists in one rule",
            "23:1 warning: `b` and `e` both list all that the same may execute: only what is in both may be | join the two lists in one rule",
        ],
    }]);
}
