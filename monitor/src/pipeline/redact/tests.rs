use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::config::Spanned;

fn redactor(own: &[&str]) -> Redactor {
    // Compiled once: it takes a while without optimisation.
    static OURS: LazyLock<Redactor> =
        LazyLock::new(|| Redactor::new(&config::Redact::Patterns(Vec::new())).unwrap());
    if own.is_empty() {
        return OURS.clone();
    }
    let patterns =
        own.iter().map(|pattern| Spanned { value: (*pattern).to_owned(), place: Default::default() });
    Redactor::new(&config::Redact::Patterns(patterns.collect())).unwrap()
}

fn shown(own: &[&str], command: &[&str]) -> Vec<String> {
    let args = command.iter().map(|arg| Text::from(*arg)).collect();
    let path = Text::from(&*format!("/usr/bin/{}", command[0]));
    let program = Program { path, args, ..Program::default() };
    redactor(own)
        .program(program)
        .args
        .iter()
        .map(|arg| String::from_utf8_lossy(arg.bytes()).into_owned())
        .collect()
}

/// Command lines in which each `hunter2` is a secret, and nothing else is.
const SECRETS: &[&[&str]] = &[
    &["app", "--password=hunter2", "--user=eve"],
    &["app", "--db-password", "hunter2", "--verbose"],
    &["app", "-password", "hunter2"],
    &["app", "--DB_PASSWD=hunter2"],
    &["app", "--api-key=hunter2", "--apikey", "hunter2"],
    &["app", "--client-secret=hunter2", "--access_token=hunter2"],
    &["app", "--pass", "hunter2"],
    &["env", "PGPASSWORD=hunter2", "psql", "-h", "db"],
    &["sh", "-c", "PGPASSWORD=hunter2 psql -h db; MYSQL_PWD='hunter2' mysql"],
    &["sh", "-c", "export AWS_SECRET_ACCESS_KEY=\"hunter2\" && aws s3 ls"],
    &["psql", "host=db user=eve password=hunter2 dbname=orders"],
    &["psql", "host=db password='hunter2' sslmode=require"],
    &["psql", "postgres://eve:hunter2@db:5432/orders?sslmode=require"],
    &["psql", "postgresql://:hunter2@db/orders"],
    &["git", "clone", "https://oauth2:hunter2@git.example.org/a.git"],
    &["mysql", "-uroot", "-phunter2", "orders"],
    &["mysqldump", "-phunter2", "--all-databases"],
    &["mariadb", "-phunter2"],
    &["mongosh", "-u", "eve", "-p", "hunter2"],
    &["redis-cli", "-h", "cache", "-a", "hunter2", "get", "x"],
    &["sqlcmd", "-S", "db", "-P", "hunter2"],
    &["sqlplus", "scott/hunter2@orders"],
    &["ldapsearch", "-w", "hunter2", "-x"],
    &["sshpass", "-phunter2", "ssh", "host"],
    &["curl", "-u", "hunter2", "http://host:8080/x"],
    &["curl", "-uhunter2", "http://host/"],
    &["curl", "-H", "Authorization: hunter2", "http://host/"],
    &["curl", "-H", "X-Api-Key: hunter2", "http://host/"],
    &["curl", "http://host/?user=eve&token=hunter2&page=2"],
    &["curl", "-d", "{\"user\": \"eve\", \"password\": \"hunter2\"}", "http://host/"],
    &["smbclient", "-U", "eve%hunter2"],
    &["openssl", "enc", "-passin", "pass:hunter2"],
    &["java", "-Djavax.net.ssl.keyStorePassword=hunter2", "-jar", "app.jar"],
];

/// Command lines without a secret.
const HARMLESS: &[&[&str]] = &[
    &["ls", "-p", "/tmp"],
    &["mkdir", "-p", "/a/b"],
    &["ssh", "-p", "22", "host"],
    &["mysql", "-p", "orders"],
    &["psql", "-p", "5432", "-U", "eve"],
    &["app", "--password-file=/run/secrets/db", "--token-path", "/x", "--secret-name", "db"],
    &["curl", "http://localhost:8080/metrics"],
    &["curl", "--resolve", "host:80:127.0.0.1", "localhost:8080"],
    &["git", "clone", "ssh://git@host/a.git", "git@host:b.git"],
    &["docker", "run", "-p", "80:80", "image:tag"],
    &["grep", "-r", "passwords", "/etc"],
    &["cat", "/etc/passwd"],
    &["python3", "-c", "print('x')"],
    &["app", "--password="],
];

#[test]
fn secrets_are_taken_out_and_nothing_else_is() {
    for command in SECRETS {
        let shown = shown(&[], command).join(" ");
        assert!(!shown.contains("hunter2"), "{command:?}: {shown}");
        assert_eq!(shown, command.join(" ").replace("hunter2", MARK), "{command:?}");
    }
    let bearer = shown(&[], &["curl", "-H", "Authorization: Bearer hunter2hunter2", "http://host/"]);
    assert_eq!(bearer[2], "Authorization: [redacted]");
    for command in HARMLESS {
        assert_eq!(shown(&[], command), *command);
    }
}

#[test]
fn tokens_are_known_by_how_they_begin() {
    let tail = "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8";
    for begin in ["ghp_", "glpat-", "xoxb-", "sk_live_", "hvs.", "eyJhbGciOiJI.eyJzdWIiOiIx."] {
        let shown = shown(&[], &["app", "login", &format!("x{begin}{tail}")]).join(" ");
        assert!(!shown.contains(tail), "{shown}");
    }
}

#[test]
fn patterns_of_the_policy_are_added_and_all_can_be_switched_off() {
    assert_eq!(
        shown(&["^--pin=([0-9]+)", "xyzzy"], &["app", "--pin=1234", "say xyzzy!"])[1..],
        ["--pin=[redacted]", "say [redacted]!"]
    );
    assert_eq!(shown(&["x"], &["app", "--password=hunter2"])[1], "--password=[redacted]", "ours as well");
    let off = Redactor::new(&config::Redact::Off).unwrap();
    let args = vec![Text::from("app"), Text::from("--password=hunter2")];
    let program = Program { args: args.clone(), ..Program::default() };
    assert_eq!(off.program(program).args, args);
}

#[test]
fn bytes_that_are_no_text_hide_nothing() {
    let args =
        [&b"app"[..], b"--password=hun\xff\xfeter2", b"\xff--token", b"x\ny password=hunter2\xe2\x80\xae"];
    let program = Program { args: args.iter().map(Text::new).collect(), ..Program::default() };
    let shown: Vec<_> = redactor(&[]).program(program).args.iter().map(|arg| arg.bytes().to_vec()).collect();
    assert_eq!(shown[1], b"--password=[redacted]");
    assert!(shown[3].starts_with(b"x\ny password=[redacted]"), "{:?}", shown[3]);
}

proptest! {
    #[test]
    fn any_arguments_are_survived_and_their_number_stays(
        args in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..8)
    ) {
        let count = args.len();
        let program = Program { args: args.into_iter().map(Text::new).collect(), ..Program::default() };
        prop_assert_eq!(redactor(&[]).program(program).args.len(), count);
    }

    #[test]
    fn no_value_gets_out(value in "[!-~]{1,40}") {
        let value = value.replace(['&', ';', ',', '\'', '"'], "x");
        let shown = shown(&[], &["app", &format!("--password={value}")]);
        prop_assert_eq!(&shown[1], "--password=[redacted]");
    }
}
