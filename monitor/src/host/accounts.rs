//! Users and groups of the host by name.
//!
//! Only the host's `/etc/passwd` and `/etc/group` are read: what else may provide accounts (LDAP, SSSD, `DynamicUser=` of
//! systemd) is asked through libraries that a static program can't load.

mod administrators;

use std::{collections::HashMap, fs::File, io::Read as _, os::fd::AsFd as _, path::Path};

use anyhow::{Context as _, Result, bail};
use monitor_common::identity::ExeId;

pub use self::administrators::Administrator;
use super::file::Tree;
use crate::event::Text;

/// Most bytes that are read of either file; 16 MiB are some 200,000 accounts.
const MAX_BYTES: u64 = 16 << 20;

/// The accounts of the host.
#[derive(Debug)]
pub struct Accounts {
    users: Table,
    groups: Table,
    administrators: Vec<Administrator>,
}

/// Ids by name, out of one file.
#[derive(Debug)]
struct Table {
    path: &'static Path,
    ids: HashMap<Vec<u8>, u32>,
    /// The version that was read; none if the file is missing.
    version: Option<ExeId>,
}

impl Accounts {
    /// Reads them. A missing file is one without accounts.
    pub fn read(tree: &Tree) -> Result<Self> {
        let (users, passwd) = Table::read(tree, Path::new("/etc/passwd"))?;
        let (groups, group) = Table::read(tree, Path::new("/etc/group"))?;
        let administrators = administrators::administrators(&passwd, &group);
        Ok(Self { users, groups, administrators })
    }

    /// Who administers the host, and may log in.
    #[must_use]
    pub fn administrators(&self) -> &[Administrator] {
        &self.administrators
    }

    /// Whether the files are still the versions that were read.
    #[must_use]
    pub fn are_current(&self, tree: &Tree) -> bool {
        [&self.users, &self.groups].iter().all(|table| version(tree, table.path) == table.version)
    }

    /// Id of a user. A number stands for itself.
    pub fn user(&self, name: &str) -> Result<u32> {
        self.users.id(name, "user")
    }

    /// Id of a group. A number stands for itself.
    pub fn group(&self, name: &str) -> Result<u32> {
        self.groups.id(name, "group")
    }
}

impl crate::policy::Accounts for Accounts {
    fn user(&self, name: &str) -> Result<u32> {
        Self::user(self, name)
    }

    fn group(&self, name: &str) -> Result<u32> {
        Self::group(self, name)
    }
}

impl Table {
    /// The table, and the text that it is of.
    fn read(tree: &Tree, path: &'static Path) -> Result<(Self, Vec<u8>)> {
        let file = match tree.open_regular(path) {
            Ok(Some(file)) => File::from(file),
            Ok(None) => bail!("{} is not a regular file", path.display()),
            Err(rustix::io::Errno::NOENT) => {
                return Ok((Self { path, ids: HashMap::new(), version: None }, Vec::new()));
            }
            Err(error) => return Err(error).with_context(|| format!("can't open {}", path.display())),
        };
        let version = tree.identify(file.as_fd()).ok().map(|(version, _)| version);
        let mut text = Vec::new();
        file.take(MAX_BYTES + 1)
            .read_to_end(&mut text)
            .with_context(|| format!("can't read {}", path.display()))?;
        if text.len() as u64 > MAX_BYTES {
            bail!(
                "{} is larger than {MAX_BYTES} bytes, the most that is read: write numbers instead of names",
                path.display()
            );
        }
        Ok((Self { path, ids: parse(&text), version }, text))
    }

    fn id(&self, name: &str, kind: &str) -> Result<u32> {
        if let Some(id) = id(name.as_bytes()) {
            return Ok(id);
        }
        self.ids.get(name.as_bytes()).copied().with_context(|| {
            format!(
                "there is no {kind} {} in {}, the only place where names are looked up; correct the name, or write the \
                 number if the {kind} comes from elsewhere (LDAP, SSSD, DynamicUser=; `id -{} NAME` tells it)",
                Text::from(name).quoted(),
                self.path.display(),
                if kind == "user" { 'u' } else { 'g' },
            )
        })
    }
}

fn version(tree: &Tree, path: &Path) -> Option<ExeId> {
    tree.resolve(path).ok().map(|found| found.exe)
}

/// Reads `passwd(5)` or `group(5)`: in both the name comes first and the id third. Of two lines with one name the first
/// counts, as it does for the C library.
fn parse(text: &[u8]) -> HashMap<Vec<u8>, u32> {
    let mut ids = HashMap::new();
    for line in text.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b':');
        let (Some(name), Some(id)) = (fields.next(), fields.nth(1).and_then(id)) else { continue };
        // Lines that begin like this ask another service, or are comments.
        if !name.is_empty() && !name.starts_with(b"+") && !name.starts_with(b"-") && !name.starts_with(b"#") {
            ids.entry(name.to_vec()).or_insert(id);
        }
    }
    ids
}

/// An id in decimal digits. The largest number means "none" to the kernel.
fn id(field: &[u8]) -> Option<u32> {
    let digits = !field.is_empty() && field.iter().all(u8::is_ascii_digit);
    str::from_utf8(field).ok().filter(|_| digits)?.parse().ok().filter(|id| *id != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n# app:x:7:7::/:/bin/sh\napp:x:1000:1000::/:\n\
        app:x:1001:1001::/:\n+nis:x:5:5:::\n+::::::\nbroken\nnegative:x:-1:0::/:\nlast:x:4294967295:0::/:\n\
        gr\xf6\xdfe:x:12:12::/:\nend:x:13:13::/:";

    #[test]
    fn the_first_line_of_a_name_counts_and_odd_lines_do_not() {
        let ids = parse(PASSWD);
        let id = |name: &str| ids.get(name.as_bytes()).copied();
        assert_eq!((id("root"), id("app"), id("end")), (Some(0), Some(1000), Some(13)));
        for name in ["# app", "+nis", "+", "broken", "negative", "last", ""] {
            assert_eq!(id(name), None, "{name}");
        }
        assert_eq!(ids.len(), 4);
        assert!(parse(b"").is_empty());
    }

    #[test]
    fn names_are_looked_up_and_numbers_pass() {
        let table = Table { path: Path::new("/etc/passwd"), ids: parse(PASSWD), version: None };
        assert_eq!(table.id("app", "user").unwrap(), 1000);
        assert_eq!(table.id("4711", "user").unwrap(), 4711);
        let error = table.id("nobody\n", "user").unwrap_err().to_string();
        assert!(error.starts_with("there is no user \"nobody\\n\" in /etc/passwd"), "{error}");
        assert!(table.id("4294967295", "user").is_err());
        assert!(table.id("+5", "user").is_err());
    }

    #[test]
    fn the_host_knows_root() {
        let tree = Tree::open().unwrap();
        let accounts = Accounts::read(&tree).unwrap();
        assert!(accounts.are_current(&tree));
        assert_eq!(accounts.user("0").unwrap(), 0);
        // A guest without these files knows nobody by name.
        if Path::new("/etc/passwd").exists() {
            assert_eq!(accounts.user("root").unwrap(), 0);
            assert_eq!(accounts.group("root").unwrap(), 0);
        } else {
            assert!(accounts.user("root").is_err());
        }
    }
}
