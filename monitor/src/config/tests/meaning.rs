//! What workloads and rules mean.

use std::net::IpAddr;

use super::{EVERY_KEY, load};
use crate::config::{About, Account, Action, Class, Difference, ListKind, Mode, Pattern, Spanned, WhenStale};

fn values<T: Clone>(list: &[Spanned<T>]) -> Vec<T> {
    list.iter().map(|entry| entry.value.clone()).collect()
}

fn glob(text: &str) -> Pattern {
    Pattern::Glob(text.into())
}

fn path(text: &str) -> Pattern {
    Pattern::Path(text.into())
}

fn named(name: &str) -> Account {
    Account::Name(name.into())
}

fn network(address: &str, length: u8) -> (IpAddr, u8) {
    (address.parse().unwrap(), length)
}

#[test]
fn workloads() {
    let config = load(EVERY_KEY);
    let exe = values(&config.workloads[0].exe);
    assert_eq!(exe, [path("/usr/bin/api-server"), glob("/opt/api/**"), glob("/srv/**/bin/api-[0-9]{a,b}")]);
    let worker = &config.workloads[2];
    assert_eq!((worker.name.as_str(), worker.sha256.len(), worker.descendants), ("worker", 1, true));
    assert_eq!((worker.sha256[0][0], worker.sha256[0][31]), (0xe3, 0x55));
    assert_eq!(values(&worker.users), [named("app"), Account::Id(1000), Account::Id(1001)]);
    assert_eq!(values(&worker.groups), [named("app"), Account::Id(0)]);
    assert_eq!(values(&worker.units), ["worker.service", "worker@*.{service,scope}", "dev-\\x2dx.swap"]);
    assert_eq!(values(&worker.cgroups), ["/system.slice/worker.service", "/kubepods.slice/**"]);
    assert_eq!((&*worker.parents, &*worker.ancestors), (&[0, 1][..], &[3][..]));
    let shepherd = &config.workloads[3];
    assert!(shepherd.exe.is_empty() && shepherd.sha256.is_empty() && !shepherd.descendants);
}

/// The number of the first line that begins like this.
fn line_of(begin: &str) -> usize {
    1 + EVERY_KEY.lines().position(|line| line.starts_with(begin)).unwrap()
}

#[test]
fn databases() {
    let config = load(EVERY_KEY);
    let database = &config.databases[0];
    assert_eq!(database.engine.as_deref(), Some("postgres"));
    assert_eq!(database.ports, [5432..=5432, 6000..=6010]);
    assert_eq!(database.addresses, [network("10.0.0.5", 32), network("10.1.0.0", 16), network("fd00::", 8)]);
    let sockets = [path("/run/postgresql/.s.PGSQL.5432"), glob("/run/*/db.sock")];
    assert_eq!(values(&database.sockets), sockets);
    assert_eq!(database.clients.as_deref(), Some(&[0, 1][..]));
    assert_eq!(database.servers.as_deref(), Some(&[2][..]));
    assert_eq!(database.sources.as_deref(), Some(&[network("10.0.2.0", 24), network("::1", 128)][..]));
    assert_eq!((database.action, database.mode, database.degrade), (Action::Alert, Mode::Observe, true));
    assert!(database.close_existing && database.force);
    assert_eq!(database.place.to_string(), format!("test.toml:{}:1", line_of("[[database]]")));
    let least = load("[[database]]\nname = 'a'\nsockets = ['/s']\nclients = []\n");
    let least = &least.databases[0];
    assert!(least.ports.is_empty() && least.addresses.is_empty() && !least.close_existing && !least.force);
    assert_eq!((&least.clients, &least.servers, &least.sources), (&Some(vec![]), &None, &None));
    let none = load("[[database]]\nname = 'a'\nports = [1]\nsources = []\n");
    assert_eq!(none.databases[0].sources, Some(vec![]));
}

#[test]
fn exec_rules() {
    let config = load(EVERY_KEY);
    let exec = &config.execs[0];
    assert_eq!((exec.by.as_deref(), exec.action), (Some(&[0][..]), Action::Kill));
    assert_eq!((exec.except.as_slice(), config.execs[1].except.is_empty()), (&[1, 2][..], true));
    let files = values(&exec.files);
    assert_eq!(files[..3], [glob("/bin/*sh"), path("/usr/bin/nc"), glob("/tmp/**")]);
    assert_eq!(files[3..], [Pattern::Class(Class::Memfd), Pattern::Class(Class::Deleted)]);
    assert_eq!(exec.files[1].place.to_string(), format!("test.toml:{}:21", line_of("deny = [\"/bin/*sh\"")));
    let dumps = &config.execs[1];
    assert_eq!(
        (dumps.list, values(&dumps.users)),
        (ListKind::Deny, vec![named("www-data"), Account::Id(33)])
    );
    assert_eq!(dumps.files[2].value, Pattern::Class(Class::Loader));
    let args = dumps.args.as_ref().unwrap();
    assert_eq!(
        (values(&args.contains), values(&args.globs)),
        (vec!["--dump".into()], vec!["--file=*".into()])
    );
    let list = &config.execs[2];
    assert_eq!((list.list, values(&list.files)), (ListKind::Allow, vec![path("/usr/bin/pg_dump")]));
    assert_eq!((list.mode, &list.args), (Mode::Enforce, &None));
}

#[test]
fn who_may_listen() {
    let config = load(EVERY_KEY);
    let rule = &config.listens[0];
    assert_eq!(rule.ports, [443..=443, 8000..=8099]);
    assert_eq!(rule.addresses, [network("10.0.0.0", 8)]);
    assert_eq!((rule.servers.as_deref(), &rule.clients, &rule.sources), (Some(&[0, 2][..]), &None, &None));
    assert_eq!((rule.action, rule.mode), (Action::Deny, Mode::Observe));
    let least = load("[[listen]]\nname = 'a'\nallow = []\n");
    assert_eq!((&least.listens[0].ports[..], least.listens[0].action), (&[1..=65535][..], Action::Alert));
}

#[test]
fn what_differs_is_found_and_places_are_not_looked_at() {
    let old = load(EVERY_KEY);
    let differs = |change: &dyn Fn(String) -> String| old.difference(&load(&change(EVERY_KEY.to_owned())));
    let nothing = Difference { packets: false, elsewhere: vec![] };
    assert_eq!(differs(&|text| text), nothing);
    assert_eq!(differs(&|text| format!("# a remark\n\n{}", text.replace(" = ", "  =  "))), nothing);
    let packets = Difference { packets: true, elsewhere: vec![] };
    assert_eq!(differs(&|text| text.replace("memory = \"32MiB\"", "memory = \"64MiB\"")), packets);
    let exec = "\n[[exec]]\nname = \"one more\"\ndeny = [\"/x\"]\n";
    assert_eq!(differs(&|text| text + exec).elsewhere, ["[[exec]]"]);
    let raw = differs(&|text| text.replace("when_stale = \"open\"\n\n[packets]", "\n[packets]"));
    assert_eq!(raw, Difference { packets: false, elsewhere: vec!["[process_memory]"] });
}

#[test]
fn raw_sockets() {
    let config = load(EVERY_KEY);
    let raw = config.raw_sockets.unwrap();
    assert_eq!((raw.allow, raw.action, raw.mode), (vec![2], Action::Deny, Mode::Observe));
    assert!(raw.degrade);
    assert_eq!((raw.when_stale, config.agent.stale_after_ns), (WhenStale::Closed, 90_000_000_000));
    let least = load("mode = 'enforce'\n[raw_sockets]\nallow = []\n").raw_sockets.unwrap();
    assert_eq!((least.allow, least.action, least.mode), (vec![], Action::Alert, Mode::Enforce));
    assert!(!least.degrade);
    assert_eq!(load("").raw_sockets, None);
}

#[test]
fn the_examples_of_the_docs_are_valid() {
    for docs in [include_str!("../../../../docs/policy.md"), include_str!("../../../../docs/first-hour.md")] {
        let blocks: Vec<_> =
            docs.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert!(!blocks.is_empty());
        for block in blocks {
            load(block);
        }
    }
}

#[test]
fn rules_say_what_they_are_about() {
    let config = load(EVERY_KEY);
    let shown = |about: &About| {
        (about.severity.name(), about.practice.clone().unwrap_or_default(), about.attack.join(" "))
    };
    let told = |severity, practice: &str, attack: &str| (severity, practice.to_owned(), attack.to_owned());
    assert_eq!(shown(&config.databases[0].about), told("critical", "data-access", "T1213.006"));
    assert_eq!(shown(&config.execs[0].about), told("high", "least-privilege", "T1059.004 T1105"));
    assert_eq!(shown(&config.execs[1].about), told("medium", "", ""));
    assert_eq!(shown(&config.raw_sockets.unwrap().about), told("low", "hardening", "T1040"));
    assert_eq!(shown(&config.rate_limits[0].about), told("info", "availability", "T1499"));
}
