//! Programs whose own options hold a secret, and don't look like it.

use super::MARK;

/// Takes a secret out of an argument; `None` if there is none.
type Inside = fn(&[u8]) -> Option<Vec<u8>>;

/// What a program's options say.
#[derive(Debug)]
pub(super) struct Client {
    /// What the file names begin with.
    names: &'static [&'static str],
    /// Options with the secret behind them, in the same argument.
    pub attached: &'static [&'static [u8]],
    /// Options with the secret in the next argument.
    pub next: &'static [&'static [u8]],
    /// Arguments with a secret in the middle.
    pub inside: Option<Inside>,
}

const CLIENTS: &[Client] = &[
    // `-p` alone asks for the password; what follows is the database.
    Client { names: &["mysql", "mariadb"], attached: &[b"-p"], next: &[], inside: None },
    Client { names: &["mongo", "cqlsh"], attached: &[b"-p"], next: &[b"-p"], inside: None },
    Client {
        names: &["redis-cli", "valkey-cli", "keydb-cli"],
        attached: &[],
        next: &[b"-a", b"--pass"],
        inside: None,
    },
    Client { names: &["sqlcmd", "bcp", "isql", "tsql"], attached: &[b"-P"], next: &[b"-P"], inside: None },
    Client { names: &["sqlplus", "rman", "expdp", "impdp"], attached: &[], next: &[], inside: Some(oracle) },
    Client { names: &["influx"], attached: &[], next: &[b"-t", b"-p"], inside: None },
    Client { names: &["ldap"], attached: &[b"-w"], next: &[b"-w"], inside: None },
    Client { names: &["sshpass"], attached: &[b"-p"], next: &[b"-p"], inside: None },
    // `user:password`; the user goes with it.
    Client {
        names: &["curl"],
        attached: &[b"-u", b"-U"],
        next: &[b"-u", b"-U", b"--user", b"--proxy-user"],
        inside: None,
    },
    Client {
        names: &["smbclient", "rpcclient", "mount.cifs"],
        attached: &[],
        next: &[],
        inside: Some(samba),
    },
    Client { names: &["openssl"], attached: &[], next: &[b"-k", b"-K"], inside: Some(openssl) },
];

/// Who the program is, by its file or by what it calls itself.
pub(super) fn client(path: &[u8], name: &[u8]) -> Option<&'static Client> {
    let file = |path: &[u8]| path.rsplit(|byte| *byte == b'/').next().unwrap_or_default().to_owned();
    let (file, called) = (file(path), file(name));
    let is = |name: &&str| file.starts_with(name.as_bytes()) || called.starts_with(name.as_bytes());
    CLIENTS.iter().find(|client| client.names.iter().any(is))
}

/// What is between the first `from` and the last `to` (or the end).
fn between(arg: &[u8], from: usize, to: Option<usize>) -> Option<Vec<u8>> {
    let rest = to.map_or(&[][..], |to| &arg[to..]);
    (to.is_none_or(|to| to > from)).then(|| [&arg[..from], MARK.as_bytes(), rest].concat())
}

/// `user/password@where`.
fn oracle(arg: &[u8]) -> Option<Vec<u8>> {
    let slash = arg.iter().position(|byte| *byte == b'/').filter(|at| *at > 0 && arg[0] != b'@')?;
    between(arg, slash + 1, arg.iter().rposition(|byte| *byte == b'@'))
}

/// `user%password`.
fn samba(arg: &[u8]) -> Option<Vec<u8>> {
    between(arg, arg.iter().position(|byte| *byte == b'%')? + 1, None)
}

/// `pass:password`.
fn openssl(arg: &[u8]) -> Option<Vec<u8>> {
    arg.starts_with(b"pass:").then(|| between(arg, b"pass:".len(), None)).flatten()
}
