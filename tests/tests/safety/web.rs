//! Who may read the metrics, as curl finds it; certificates are made by rcgen, hashes of passwords by bcrypt.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tests::{
    agent::{Agent, Mode, Setup},
    cgroup::Cgroup,
    place::Place,
    program::Program,
    wait::{deadline, eventually},
};

use crate::lifecycle::refused::refused;

/// Debian's package, which no guest has.
const CURL: &str = "/usr/bin/curl";

/// Whether there is a curl. Only a guest may have none.
fn has_curl() -> Result<bool> {
    let there = Path::new(CURL).exists();
    let guest = fs::read_to_string("/proc/1/comm")
        .is_ok_and(|comm| comm.trim() == "init" && !Path::new("/etc/debian_version").exists());
    ensure!(there || guest, "no {CURL} (Debian: curl)");
    Ok(there)
}

/// Certificates below one authority, and another authority of the same name.
struct Certificates {
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Certificates {
    fn new() -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        // Else it has the name of those it signs, who would pass for self-signed.
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Self { authority: CertifiedIssuer::self_signed(params, KeyPair::generate()?)? })
    }

    /// Writes `NAME.crt` and `NAME.key` for a host or client.
    fn write(&self, place: &Place, name: &str, host: &str) -> Result<()> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec![host.to_owned()])?.signed_by(&key, &self.authority)?;
        fs::write(place.join(format!("{name}.crt")), certificate.pem())?;
        private(&place.join(format!("{name}.key")), &key.serialize_pem())
    }

    fn write_authority(&self, place: &Place, name: &str) -> Result<PathBuf> {
        let path = place.join(name);
        fs::write(&path, self.authority.pem())?;
        Ok(path)
    }
}

fn private(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).context("chmod")
}

/// What curl says of `/metrics`: the status of the answer, or 0 and curl's own exit code.
fn curl(url: &str, arguments: &[&str]) -> Result<(u32, i32)> {
    let program = Program::new(CURL).args(["--silent", "--max-time", "10", "--output", "/dev/null"]);
    let program = program.args(["--write-out", "%{http_code}", "--noproxy", "*"]).args(arguments).arg(url);
    let end = program.finish(deadline(20.0))?;
    Ok((end.stdout.concat().trim().parse()?, end.status.code().context("curl was killed")?))
}

fn url(scheme: &str, agent: &Agent<'_>, host: &str) -> Result<String> {
    Ok(format!("{scheme}://{host}:{}/metrics", agent.address()?.port()))
}

fn start<'a>(group: &Cgroup, place: &Place, text: &str) -> Result<Agent<'a>> {
    let web = place.join("web.yml");
    fs::write(&web, text)?;
    let listen: SocketAddr = "127.0.0.1:0".parse()?;
    Setup::new(Mode::Observe, group).listen(listen).web_config(&web).start()
}

#[test]
fn over_tls_only_and_with_a_certificate_if_that_is_asked_for() -> Result<()> {
    if !has_curl()? {
        return Ok(());
    }
    let (group, place) = (Cgroup::new()?, Place::new()?);
    let (ours, theirs) = (Certificates::new()?, Certificates::new()?);
    ours.write(&place, "server", "localhost")?;
    ours.write(&place, "scraper", "scraper")?;
    theirs.write(&place, "stranger", "scraper")?;
    let authority = ours.write_authority(&place, "ca.crt")?;
    let authority = authority.to_str().context("a path")?;
    let tls = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n  min_version: TLS13\n";
    let clients = format!("{tls}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n");
    let agent = start(&group, &place, &clients)?;
    let https = url("https", &agent, "localhost")?;
    let path = |name: &str| place.join(name).display().to_string();
    let ask = |more: &[&str]| curl(&https, &[&["--cacert", authority], more].concat());
    let (crt, key) = (path("scraper.crt"), path("scraper.key"));
    let as_scraper = ["--cert", crt.as_str(), "--key", key.as_str()];
    assert_eq!(ask(&as_scraper)?, (200, 0));
    // With TLS 1.3 a client learns of the refusal only when it reads: its code tells of the read, not of the handshake.
    let refused = |answer: (u32, i32)| answer.0 == 0 && [35, 55, 56].contains(&answer.1);
    let answer = ask(&[])?;
    ensure!(refused(answer), "without a certificate: {answer:?}");
    let (crt, key) = (path("stranger.crt"), path("stranger.key"));
    let answer = ask(&["--cert", &crt, "--key", &key])?;
    ensure!(refused(answer), "another authority's certificate: {answer:?}");
    let answer = ask(&[&as_scraper[..], &["--tls-max", "1.2"]].concat())?;
    ensure!(refused(answer), "an older version of TLS: {answer:?}");
    let (status, _) = curl(&url("http", &agent, "localhost")?, &[])?;
    assert_eq!(status, 0, "in the clear");
    assert_eq!(ask(&as_scraper)?, (200, 0), "still");

    // The certificate is renewed by another authority, and clients are no longer asked for theirs.
    theirs.write(&place, "server", "localhost")?;
    fs::write(place.join("web.yml"), tls)?;
    let renewed = theirs.write_authority(&place, "new.crt")?;
    let renewed = renewed.to_str().context("a path")?.to_owned();
    eventually("the renewed certificate", deadline(20.0), || {
        Ok((curl(&https, &["--cacert", &renewed])? == (200, 0)).then_some(()))
    })?;
    // The server's certificate is no longer one of ours: not known, or of an authority with that name and another key.
    let answer = ask(&as_scraper)?;
    ensure!(answer.0 == 0 && [35, 60].contains(&answer.1), "the old authority: {answer:?}");
    agent.stop()?;
    Ok(())
}

#[test]
fn with_the_right_password_only() -> Result<()> {
    if !has_curl()? {
        return Ok(());
    }
    let (group, place) = (Cgroup::new()?, Place::new()?);
    let hash = bcrypt::hash("pass:wörd", 6)?;
    let agent = start(&group, &place, &format!("basic_auth_users:\n  prometheus: {hash}\n"))?;
    let http = url("http", &agent, "127.0.0.1")?;
    for (user, status) in [
        ("prometheus:pass:wörd", 200),
        ("prometheus:pass:word", 401),
        ("prometheus:", 401),
        ("root:pass:wörd", 401),
        ("prometheus:pass:wörd", 200),
    ] {
        assert_eq!(curl(&http, &["--user", user])?, (status, 0), "{user}");
    }
    assert_eq!(curl(&http, &[])?, (401, 0), "nobody");
    let healthz = http.replace("/metrics", "/healthz");
    assert_eq!(curl(&healthz, &[])?, (401, 0));
    let said = agent.stop()?.stderr;
    ensure!(!said.contains("pass:w") && !said.contains(&hash), "a secret is in the log:\n{said}");
    Ok(())
}

#[test]
fn a_web_configuration_that_is_wrong_or_open_to_others_is_refused() -> Result<()> {
    let _turn = tests::agent::turn();
    let (group, place) = (Cgroup::new()?, Place::new()?);
    let web = place.join("web.yml");
    let setup = || Setup::new(Mode::Observe, &group).web_config(&web).program(&place, &place.join("run"));
    fs::write(&web, "tls_server_config:\n  cert_file: none.crt\n  key_file: none.key\n")?;
    refused(setup()?, &["web.yml", "none.crt"])?;
    fs::write(&web, "")?;
    fs::set_permissions(&web, fs::Permissions::from_mode(0o662))?;
    refused(setup()?, &["0662", "chmod go-w"])?;
    // Who listens for others without one is told when the policy is checked.
    let config = place.join("open.toml");
    fs::write(&config, "[metrics]\nlisten = \"0.0.0.0:9469\"\n")?;
    let check = Program::monitor()?.arg("check").arg(&config).finish(deadline(20.0))?;
    ensure!(check.stderr.contains("everybody who reaches 0.0.0.0:9469"), "{}", check.stderr);
    Ok(())
}
