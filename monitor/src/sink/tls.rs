//! The client's side of TLS: which certificates are trusted, and the one configuration of all sinks.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result, bail, ensure};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};

/// Where distributions keep the certificates that the system trusts.
const SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A configuration that trusts the certificates in a file, or those of the system.
pub(super) fn client(ca: Option<&Path>) -> Result<Arc<ClientConfig>> {
    can_encrypt()?;
    let path = match ca {
        Some(path) => path.to_owned(),
        None => SYSTEM.iter().map(PathBuf::from).find(|path| path.exists()).context(
            "this system has no certificates that it trusts; install them (Debian: ca-certificates) or set `ca`",
        )?,
    };
    let mut roots = RootCertStore::empty();
    let read = CertificateDer::pem_file_iter(&path);
    for certificate in read.with_context(|| format!("can't read the certificates in {}", path.display()))? {
        let certificate =
            certificate.with_context(|| format!("a certificate in {} is broken", path.display()))?;
        // A bundle may hold some that rustls doesn't take; only if none is left nobody can be trusted.
        let _ = roots.add(certificate);
    }
    if roots.is_empty() {
        bail!("there is no certificate in {}", path.display());
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls_graviola::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().context("no version of TLS can be used")?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// The name that a server's certificate must bear.
pub(super) fn name(host: &str) -> Result<ServerName<'static>> {
    ServerName::try_from(host.to_owned()).with_context(|| format!("{host} is no name of a host"))
}

/// Whether this processor has what the cryptography is written for, which would panic otherwise.
fn can_encrypt() -> Result<()> {
    #[cfg(target_arch = "x86_64")]
    {
        let has = [
            ("aes", std::arch::is_x86_feature_detected!("aes")),
            ("ssse3", std::arch::is_x86_feature_detected!("ssse3")),
            ("pclmulqdq", std::arch::is_x86_feature_detected!("pclmulqdq")),
            ("bmi1", std::arch::is_x86_feature_detected!("bmi1")),
            ("bmi2", std::arch::is_x86_feature_detected!("bmi2")),
            ("adx", std::arch::is_x86_feature_detected!("adx")),
            ("avx", std::arch::is_x86_feature_detected!("avx")),
            ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ];
        let lacks: Vec<_> = has.iter().filter(|(_, has)| !has).map(|(name, _)| *name).collect();
        ensure!(
            lacks.is_empty(),
            "no TLS on this processor: it lacks {}; send to a local forwarder without TLS",
            lacks.join(", ")
        );
    }
    Ok(())
}
