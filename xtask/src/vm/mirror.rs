//! Where this machine gets its Debian packages from. No mirror is written down here: the machine's own is used, and
//! only the suite is another.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// The base addresses of Debian's two archives, as found in the machine's apt sources.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Mirror {
    main: Option<String>,
    security: Option<String>,
}

impl Mirror {
    /// Reads the machine's apt sources, in both of their formats.
    pub fn of_machine() -> Result<Self> {
        let mut mirror = Self::default();
        for path in source_files(Path::new("/etc/apt"))? {
            let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            if path.extension().is_some_and(|extension| extension == "sources") {
                mirror.add_stanzas(&text);
            } else {
                mirror.add_lines(&text);
            }
        }
        Ok(mirror)
    }

    /// The base address that has a suite.
    pub fn address(&self, suite: &str) -> Result<&str> {
        let (address, end) = if suite.ends_with("-security") {
            (&self.security, "debian-security")
        } else {
            (&self.main, "debian")
        };
        address.as_deref().with_context(|| {
            format!(
                "no source below /etc/apt has an address that ends with `/{end}`, so there is no mirror to take the \
                 suite {suite} from; add one to the apt sources of this machine"
            )
        })
    }

    /// `deb [options] ADDRESS SUITE COMPONENT...`
    fn add_lines(&mut self, text: &str) {
        for line in text.lines() {
            let Some(rest) = line.trim().strip_prefix("deb ") else { continue };
            let rest = rest.trim_start();
            let rest = match rest.strip_prefix('[') {
                Some(options) => options.split_once(']').map_or("", |(_, rest)| rest),
                None => rest,
            };
            rest.split_whitespace().take(1).for_each(|address| self.add(address));
        }
    }

    /// Paragraphs of `Field: value`, where lines that begin with a space go on with the field before.
    fn add_stanzas(&mut self, text: &str) {
        for stanza in text.split("\n\n") {
            let mut field = String::new();
            let (mut addresses, mut enabled) = (Vec::new(), true);
            for line in stanza.lines().filter(|line| !line.starts_with('#')) {
                let value = match line.split_once(':') {
                    Some((name, value)) if !line.starts_with([' ', '\t']) => {
                        field = name.to_ascii_lowercase();
                        value
                    }
                    _ => line,
                };
                match field.as_str() {
                    "uris" => addresses.extend(value.split_whitespace()),
                    "enabled" => enabled = !matches!(value.trim(), "no" | "false" | "0"),
                    _ => {}
                }
            }
            if enabled {
                addresses.into_iter().for_each(|address| self.add(address));
            }
        }
    }

    fn add(&mut self, address: &str) {
        let address = address.trim_end_matches('/');
        let place = match address.rsplit('/').next() {
            Some("debian") => &mut self.main,
            Some("debian-security") => &mut self.security,
            _ => return,
        };
        place.get_or_insert_with(|| address.to_owned());
    }
}

fn source_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = vec![directory.join("sources.list")];
    let parts = directory.join("sources.list.d");
    if parts.is_dir() {
        for entry in fs::read_dir(&parts).with_context(|| format!("reading {}", parts.display()))? {
            files.push(entry?.path());
        }
    }
    files.retain(|path| {
        path.extension().is_some_and(|end| end == "list" || end == "sources") && path.is_file()
    });
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let mut mirror = Mirror::default();
        mirror.add_lines(
            "# deb http://commented.test/debian bookworm main\n\
             deb-src http://source.test/debian bookworm main\n\
             deb http://other.test/apt stable main\n\
             deb [arch=amd64 signed-by=/k.gpg] http://one.test/debian/ bookworm main contrib\n\
             deb  http://two.test/debian bookworm-updates main\n",
        );
        assert_eq!(mirror.address("trixie-backports").ok(), Some("http://one.test/debian"));
        let error = mirror.address("bookworm-security").unwrap_err().to_string();
        assert!(error.contains("debian-security"), "{error}");
    }

    #[test]
    fn stanzas() {
        let mut mirror = Mirror::default();
        mirror.add_stanzas(
            "Types: deb\nURIs: http://off.test/debian\nSuites: bookworm\nEnabled: no\n\n\
             Types: deb\n# http://comment.test/debian\nURIs:\n http://one.test/debian\n http://two.test/debian\n\
             Suites: bookworm bookworm-updates\n\n\
             Types: deb\nURIs: http://one.test/debian-security\nSuites: bookworm-security\n",
        );
        assert_eq!(mirror.address("bookworm").ok(), Some("http://one.test/debian"));
        assert_eq!(mirror.address("trixie-security").ok(), Some("http://one.test/debian-security"));
    }
}
