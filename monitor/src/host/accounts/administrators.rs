//! Who administers the host: root, by whatever name, and the members of the groups that may become root.

use std::collections::HashSet;

use super::id;

/// Groups whose members may become root on most distributions.
const GROUPS: [&[u8]; 3] = [b"sudo", b"wheel", b"admin"];
/// Most that are looked at.
const MOST: usize = 64;
/// Programs in the place of a shell that let nobody in.
const NO_SHELLS: [&[u8]; 5] = [b"nologin", b"false", b"sync", b"halt", b"shutdown"];

/// An account that administers the host and may log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Administrator {
    /// Its name.
    pub name: String,
    /// Its user.
    pub uid: u32,
    /// Its first group.
    pub gid: u32,
    /// What is executed when it logs in.
    pub shell: String,
}

/// Reads them from the texts of `passwd(5)` and `group(5)`.
pub(super) fn administrators(passwd: &[u8], group: &[u8]) -> Vec<Administrator> {
    let lines = |text| <[u8]>::split(text, |byte| *byte == b'\n').map(fields);
    let (mut gids, mut names) = (HashSet::new(), HashSet::new());
    for line in lines(group).filter(|line| line.first().is_some_and(|name| GROUPS.contains(name))) {
        gids.extend(line.get(2).copied().and_then(id));
        let members = line.get(3).into_iter().flat_map(|members| members.split(|byte| *byte == b','));
        names.extend(members.filter(|name| !name.is_empty()));
    }
    let found = lines(passwd).filter_map(|line| {
        let [name, _, uid, gid, _, _, shell] = line[..] else { return None };
        let (uid, gid) = (id(uid)?, id(gid)?);
        let last = shell.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let enters = !NO_SHELLS.contains(&last);
        let administers = uid == 0 || gids.contains(&gid) || names.contains(name);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        // Without one, it is the standard shell (passwd(5)).
        let shell = if shell.is_empty() { "/bin/sh".to_owned() } else { text(shell)? };
        (enters && administers && !name.is_empty())
            .then(|| Some(Administrator { name: text(name)?, uid, gid, shell }))?
    });
    found.take(MOST).collect()
}

fn fields(line: &[u8]) -> Vec<&[u8]> {
    line.split(|byte| *byte == b':').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_by_any_name_and_members_of_the_groups_that_become_root() {
        let passwd = b"root:x:0:0:root:/root:/bin/bash\ntoor:x:0:0::/:\nsync:x:4:65534:sync:/bin:/bin/sync\n\
            daemon:x:1:1::/:/usr/sbin/nologin\nann:x:1000:1000::/home/ann:/bin/zsh\nbob:x:1001:27::/:/bin/dash\n\
            eve:x:1002:1002::/:/bin/bash\noff:x:1003:27::/:/bin/false\nbroken:x\n";
        let group = b"root:x:0:\nsudo:x:27:ann,off,\nwheel:x:10:\nusers:x:100:eve\nsudo\n";
        let found = administrators(passwd, group);
        let short: Vec<_> = found.iter().map(|it| (&*it.name, it.uid, &*it.shell)).collect();
        let expected = [
            ("root", 0, "/bin/bash"),
            ("toor", 0, "/bin/sh"),
            ("ann", 1000, "/bin/zsh"),
            ("bob", 1001, "/bin/dash"),
        ];
        assert_eq!(short, expected);
        assert!(administrators(b"", b"").is_empty());
    }
}
