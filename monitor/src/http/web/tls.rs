//! From what the file says of TLS to a server's configuration.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path, sync::Arc};

use anyhow::{Context as _, Result, bail};
use rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    version::{TLS12, TLS13},
};
use tokio_rustls::TlsAcceptor;

use super::{file::TlsServer, trusted};

const OTHERS_READ: u32 = 0o004;

/// What accepts connections as `tls` says; file names are relative to `dir`.
pub fn acceptor(tls: &TlsServer, dir: &Path) -> Result<TlsAcceptor> {
    has_instructions()?;
    let certificates = certificates(&dir.join(&tls.cert_file))?;
    let key_path = dir.join(&tls.key_file);
    let mode =
        fs::metadata(&key_path).with_context(|| format!("can't read the key {}", key_path.display()))?.mode();
    if mode & OTHERS_READ != 0 {
        bail!("anybody may read the key {0}: `chmod o-r {0}`", key_path.display());
    }
    trusted(&key_path)?;
    let key = PrivateKeyDer::from_pem_file(&key_path)
        .with_context(|| format!("no private key can be read from {}", key_path.display()))?;
    let versions = versions(&tls.min_version, &tls.max_version)?;
    let provider = Arc::new(rustls_graviola::default_provider());
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .context("no version of TLS is left")?;
    let builder = match clients(tls, dir)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config =
        builder.with_single_cert(certificates, key).context("certificate and key can't be used")?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The ciphers are written for processors since 2015, and would end the agent on others.
fn has_instructions() -> Result<()> {
    let missing = [
        ("aes", is_x86_feature_detected!("aes")),
        ("pclmulqdq", is_x86_feature_detected!("pclmulqdq")),
        ("ssse3", is_x86_feature_detected!("ssse3")),
        ("avx", is_x86_feature_detected!("avx")),
        ("avx2", is_x86_feature_detected!("avx2")),
        ("bmi1", is_x86_feature_detected!("bmi1")),
        ("bmi2", is_x86_feature_detected!("bmi2")),
        ("adx", is_x86_feature_detected!("adx")),
    ];
    match missing.iter().find(|(_, there)| !there) {
        None => Ok(()),
        Some((name, _)) => bail!(
            "TLS takes a processor with `{name}`, which this one lacks or its hypervisor hides; let a proxy on this host serve it"
        ),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    trusted(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let found = found.with_context(|| format!("can't read certificates from {}", path.display()))?;
    if found.is_empty() {
        bail!("there is no certificate in {}", path.display());
    }
    Ok(found)
}

/// How clients show who they are; `None`: not at all.
fn clients(tls: &TlsServer, dir: &Path) -> Result<Option<Arc<dyn ClientCertVerifier>>> {
    let needed = match (tls.client_auth_type.as_str(), tls.client_ca_file.is_empty()) {
        ("" | "NoClientCert", true) => return Ok(None),
        // As the exporters do.
        ("" | "NoClientCert", false) => bail!("`client_ca_file` has no meaning without `client_auth_type`"),
        ("RequireAndVerifyClientCert", false) => true,
        ("VerifyClientCertIfGiven", false) => false,
        (_, true) => bail!("`client_auth_type` needs a `client_ca_file`"),
        (other, _) => bail!(
            "`client_auth_type` may be `NoClientCert`, `VerifyClientCertIfGiven` or `RequireAndVerifyClientCert`, not {other:?}: \
             a certificate that nobody verifies proves nothing"
        ),
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&dir.join(&tls.client_ca_file))? {
        roots.add(certificate).context("a certificate in `client_ca_file` can't be used")?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(
        Arc::new(roots),
        Arc::new(rustls_graviola::default_provider()),
    );
    let builder = if needed { builder } else { builder.allow_unauthenticated() };
    Ok(Some(builder.build().context("`client_ca_file` can't be used")?))
}

fn versions(least: &str, most: &str) -> Result<Vec<&'static SupportedProtocolVersion>> {
    let number = |key: &str, word: &str, default: u32| match word {
        "" => Ok(default),
        "TLS12" => Ok(12),
        "TLS13" => Ok(13),
        // Asked for is at least so much: more is given.
        "TLS10" | "TLS11" if key == "min_version" => Ok(12),
        other => bail!("`{key}` may be `TLS12` or `TLS13`, not {other:?}"),
    };
    let (least, most) = (number("min_version", least, 12)?, number("max_version", most, 13)?);
    let all = [(12, &TLS12), (13, &TLS13)];
    Ok(all
        .into_iter()
        .filter(|(version, _)| (least..=most).contains(version))
        .map(|(_, version)| version)
        .collect())
}
