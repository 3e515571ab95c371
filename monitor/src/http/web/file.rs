//! What the file says.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

/// Larger files are no such files.
const MAX_BYTES: usize = 1 << 20;

/// The whole file. What isn't known, or not supported here, is an error: it may be what protects the endpoint.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    pub tls_server_config: Option<TlsServer>,
    /// Names and their bcrypt hashes.
    pub basic_auth_users: BTreeMap<String, String>,
    pub http_server_config: HttpServer,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsServer {
    pub cert_file: String,
    pub key_file: String,
    pub client_auth_type: String,
    pub client_ca_file: String,
    pub min_version: String,
    pub max_version: String,
}

/// Accepted for its one key, which changes nothing: whoever speaks HTTP/2 speaks HTTP/1.1 as well.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpServer {
    pub http2: bool,
}

/// Reads a text.
pub fn parse(text: &str) -> Result<File> {
    if text.len() > MAX_BYTES {
        bail!("it is larger than {MAX_BYTES} bytes");
    }
    if text.lines().all(|line| line.trim().is_empty() || line.trim().starts_with('#')) {
        // An empty file asks for nothing, as with the exporters.
        return Ok(File::default());
    }
    let file: File = serde_saphyr::from_str(text).context(
        "it is not what Prometheus' exporters read as `web.config`, or asks for what isn't supported",
    )?;
    if let Some(tls) = &file.tls_server_config {
        for (name, value) in [("cert_file", &tls.cert_file), ("key_file", &tls.key_file)] {
            if value.is_empty() {
                bail!("`tls_server_config` has no `{name}`");
            }
        }
    }
    Ok(file)
}

impl File {
    /// The files that it names.
    pub fn named(&self) -> Vec<&Path> {
        let tls = self.tls_server_config.iter();
        let names = tls.flat_map(|tls| [&tls.cert_file, &tls.key_file, &tls.client_ca_file]);
        names.filter(|name| !name.is_empty()).map(Path::new).collect()
    }
}
