use std::os::unix::fs::PermissionsExt as _;

use rcgen::{CertifiedKey, generate_simple_self_signed};

use super::*;

/// A directory with a certificate and its key.
fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(dir.path().join("c.pem"), cert.pem()).unwrap();
    fs::write(dir.path().join("k.pem"), signing_key.serialize_pem()).unwrap();
    mode(&dir, "k.pem", 0o600);
    dir
}

fn mode(dir: &tempfile::TempDir, name: &str, mode: u32) {
    fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
}

fn open(dir: &tempfile::TempDir, text: &str) -> Result<Web> {
    let path = dir.path().join("web.yml");
    fs::write(&path, text).unwrap();
    Web::open(&path)
}

const TLS: &str = "tls_server_config:\n  cert_file: c.pem\n  key_file: k.pem\n";
/// Of "secret", by the C library (`crypt(3)`), with the least cost there is.
const HASH: &str = "$2y$04$7OEfHTe/OO0WkmAhBC/w/.XoSnSk6hUCqfwiSGdOx.FGMgcO2WfJO";

#[test]
fn what_is_asked_for_and_cannot_be_given_is_an_error() {
    let dir = directory();
    for (text, word) in [
        ("tls_server_config:\n  cert_file: c.pem\n", "no `key_file`"),
        ("tls_server_config:\n  cert_file: nothing\n  key_file: k.pem\n", "nothing"),
        ("tls_server_config:\n  cert_file: k.pem\n  key_file: k.pem\n", "no certificate"),
        ("tls_server_config:\n  cert_file: c.pem\n  key_file: c.pem\n", "c.pem"),
        (
            &format!("{TLS}  client_auth_type: RequireAnyClientCert\n  client_ca_file: c.pem\n"),
            "RequireAnyClientCert",
        ),
        (&format!("{TLS}  client_auth_type: RequireAndVerifyClientCert\n"), "needs a `client_ca_file`"),
        (&format!("{TLS}  client_ca_file: c.pem\n"), "no meaning"),
        (&format!("{TLS}  min_version: SSL30\n"), "SSL30"),
        (&format!("{TLS}  min_version: TLS13\n  max_version: TLS12\n"), "TLS"),
        (&format!("{TLS}  cipher_suites: [TLS_AES_128_GCM_SHA256]\n"), "cipher_suites"),
        ("basic_auth_users:\n  eve: secret\n", "no bcrypt hash"),
        ("basic_auth_users:\n  eve: $2y$31$7OEfHTe/OO0WkmAhBC/w/.XoSnSk6hUCqfwiSGdOx.FGMgcO2WfJO\n", "cost"),
        ("basic_auth_user:\n  eve: x\n", "basic_auth_user"),
        ("basic_auth_users: {a: x, a: y}\n", "a"),
        ("- a\n- b\n", "web configuration"),
        ("a: &a [x]\nb: [*a, *a]\n", "web configuration"),
        ("\u{0}", "web configuration"),
    ] {
        let error = open(&dir, text).err().map(|error| format!("{error:#}")).unwrap_or_default();
        assert!(error.contains("can't use the web configuration") && error.contains(word), "{text}: {error}");
        assert!(!error.contains("secret") && !error.contains("7OEfHTe"), "a secret: {error}");
    }
    assert!(open(&dir, "").unwrap().rules().tls.is_none());
    assert!(open(&dir, "# nothing\n").unwrap().rules().tls.is_none());
    assert!(open(&dir, TLS).unwrap().rules().tls.is_some());
    let all = format!(
        "{TLS}  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: c.pem\n  min_version: TLS13\n\
         http_server_config:\n  http2: false\nbasic_auth_users:\n  eve: {HASH}\n"
    );
    assert!(open(&dir, &all).unwrap().rules().tls.is_some());
}

#[test]
fn files_that_others_may_write_and_keys_that_they_may_read_are_refused() {
    let dir = directory();
    for (name, bad, good) in [("k.pem", 0o644, 0o640), ("k.pem", 0o620, 0o600), ("c.pem", 0o646, 0o644)] {
        mode(&dir, name, bad);
        let error = format!("{:#}", open(&dir, TLS).err().unwrap());
        assert!(error.contains(name) && error.contains("chmod"), "{error}");
        mode(&dir, name, good);
        assert!(open(&dir, TLS).is_ok());
    }
    mode(&dir, "web.yml", 0o666);
    assert!(format!("{:#}", open(&dir, TLS).err().unwrap()).contains("web.yml"));
}

#[test]
fn a_change_is_seen_and_a_broken_one_leaves_what_was() {
    let dir = directory();
    let web = open(&dir, TLS).unwrap();
    let now = |text: &str| {
        fs::write(dir.path().join("web.yml"), text).unwrap();
        // As if it had looked long ago.
        web.state.lock().unwrap().looked = Instant::now().checked_sub(2 * LOOK).unwrap();
        web.rules().tls.is_some()
    };
    assert!(now("tls_server_config: oops\n"));
    assert!(!now(""));
    assert!(now(TLS));
}

mod passwords {
    use axum::http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
    use base64::{Engine as _, prelude::BASE64_STANDARD};

    use super::super::{Denied, Users};

    fn asks(value: &[u8]) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap())])
    }

    fn basic(both: impl AsRef<[u8]>) -> HeaderMap {
        asks(format!("Basic {}", BASE64_STANDARD.encode(both)).as_bytes())
    }

    #[test]
    fn only_the_right_name_with_the_right_password_is_admitted() {
        let users = Users::new([("eve".to_owned(), super::HASH.to_owned())].into()).unwrap();
        let users = std::sync::Arc::new(users);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let admit = |headers: &HeaderMap| runtime.block_on(std::sync::Arc::clone(&users).admit(headers));
        let right = basic("eve:secret");
        assert_eq!((admit(&right), admit(&right)), (Ok(()), Ok(())));
        let wrong = [
            "eve:",
            "eve:secret ",
            "eve:Secret",
            "eva:secret",
            ":secret",
            "eve",
            "",
            "eve\0:secret",
            "evesecret:",
        ];
        for wrong in wrong {
            assert_eq!(admit(&basic(wrong)), Err(Denied), "{wrong:?}");
        }
        for wrong in [&b"Basic"[..], b"Basic !!!", b"Bearer ZXZlOnNlY3JldA==", b"\xff\xfe", b"Basic /////w=="]
        {
            assert_eq!(admit(&asks(wrong)), Err(Denied), "{wrong:?}");
        }
        assert_eq!(admit(&HeaderMap::new()), Err(Denied));
        assert_eq!(admit(&asks(b"bAsIc ZXZlOnNlY3JldA==")), Ok(()), "the scheme's case doesn't matter");
        let anybody = std::sync::Arc::new(Users::new([].into()).unwrap());
        assert_eq!(runtime.block_on(anybody.admit(&HeaderMap::new())), Ok(()));
    }
}
