//! Why a rule doesn't apply, and why a process is no member: read off the policy's text rather than off the tables that
//! decide, so that the one checks the other.

use std::{fmt::Display, net::IpAddr, ops::RangeInclusive};

use monitor_common::{addr::Addr, event::exec::flags, question::kind};
use serde::Serialize;

use super::{Asked, Asker, weigh::Weighed};
use crate::{
    config::{Account, Database, Exec, ListKind, Pattern, Spanned, Workload},
    event::Text,
    policy::Accounts as _,
};

/// A condition of the policy that doesn't hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// The key in the policy file.
    pub key: &'static str,
    /// Why it doesn't hold.
    pub why: String,
}

pub(super) fn reason(key: &'static str, why: impl Into<String>) -> Option<Reason> {
    Some(Reason { key, why: why.into() })
}

impl Asker<'_> {
    /// Why the rule with this index doesn't decide.
    pub(super) fn why_not(&self, index: usize, asked: &Asked, weighed: &Weighed) -> Option<Reason> {
        match asked.question.kind {
            kind::EXEC => self.why_not_exec(index, asked, weighed),
            kind::RAW => None,
            _ => self.config.endpoints().nth(index).and_then(|rule| {
                not_ruled(rule, asked.question.kind)
                    .or_else(|| self.other_object(rule, index, asked, weighed))
            }),
        }
    }

    fn why_not_exec(&self, index: usize, asked: &Asked, weighed: &Weighed) -> Option<Reason> {
        let rule: &Exec = self.config.execs.get(index)?;
        let mut named = weighed.files.iter().map(|(_, member)| member.rules.contains(index as u16));
        let given: Vec<_> = weighed.files.iter().map(|(file, _)| shown(&file.given)).collect();
        let several = given.len() > 1;
        match rule.list {
            ListKind::Deny if !named.any(|named| named) => {
                let none = if several {
                    format!("neither {} is", given.join(" nor "))
                } else {
                    format!("{} is none", given.join(""))
                };
                let of = if several { "one of" } else { "of" };
                return reason("deny", format!("{none} {of} {}", patterns(&rule.files)));
            }
            ListKind::Allow if named.all(|named| named) => {
                let each = if several { "are each one of" } else { "is one of" };
                return reason("allow", format!("{} {each} {}", given.join(" and "), patterns(&rule.files)));
            }
            _ => {}
        }
        if let Some(args) = &rule.args
            && !weighed.met.contains(index as u16)
            && asked.question.args_cut == 0
        {
            let contains = args.contains.iter().map(|text| format!("contains {}", shown(&text.value)));
            let globs = args.globs.iter().map(|glob| format!("matches {}", shown(&glob.value)));
            let all: Vec<_> = contains.chain(globs).collect();
            return reason("args", format!("no argument {}", all.join(" or ")));
        }
        if !rule.users.is_empty() && !self.is_one_of(&rule.users, asked.question.uid, 'u') {
            let user = asked.request.who().and_then(|who| who.user.as_deref());
            return reason("user", unlike("its real user", user, &accounts(&rule.users)));
        }
        let member_of = |workload: &&usize| weighed.process.workloads.contains(**workload);
        if let Some(workload) = rule.except.iter().find(member_of) {
            return reason("except", format!("the process is a member of {}", self.names_of(&[*workload])));
        }
        let by = rule.by.as_ref()?;
        if by.iter().any(|workload| weighed.process.workloads.contains(*workload)) {
            return None;
        }
        reason("by", format!("the process is not a member of {}", self.names_of(by)))
    }

    /// Why the rule that decides says what it says; nothing where the rule itself shows it.
    pub(super) fn because(&self, index: u16, asked: &Asked, weighed: &Weighed) -> Option<String> {
        let index = usize::from(index);
        let (wanted, of) = match asked.question.kind {
            kind::EXEC => (self.config.execs.get(index)?.by.as_ref()?, "those it speaks of"),
            kind::RAW => (&self.config.raw_sockets.as_ref()?.allow, "those allowed"),
            kind::SOURCE => {
                let sources = self.config.databases.get(index)?.sources.as_ref()?;
                let from = ip(&asked.question.from);
                let listed = sources.iter().any(|prefix| contains(prefix, from));
                let within = if listed { "one" } else { "none" };
                return Some(format!("{from} is in {within} of {}", prefixes(sources)));
            }
            kind::BIND | kind::UNIX_BIND => {
                let of = if index < self.config.databases.len() { "its servers" } else { "those allowed" };
                (self.config.endpoints().nth(index)?.servers.as_ref()?, of)
            }
            _ => (self.config.databases.get(index)?.clients.as_ref()?, "its clients"),
        };
        let found = wanted.iter().find(|workload| weighed.process.workloads.contains(**workload));
        Some(match found.and_then(|found| self.config.workloads.get(*found)) {
            Some(found) => format!("the process is a member of {}, one of {of}", shown(&found.name)),
            None => format!("the process is none of {of} ({})", self.names_of(wanted)),
        })
    }

    /// Why what is asked for is not what a database rule speaks of.
    fn other_object(
        &self,
        rule: &Database,
        index: usize,
        asked: &Asked,
        weighed: &Weighed,
    ) -> Option<Reason> {
        let question = &asked.question;
        if let Some(path) = &asked.socket {
            if weighed.object.rules.contains(index as u16) {
                return None;
            }
            let path = Text::new(path);
            return reason(
                "sockets",
                match rule.sockets.is_empty() {
                    true => "it names no unix socket".to_owned(),
                    false => format!("{} is none of {}", path.quoted(), patterns(&rule.sockets)),
                },
            );
        }
        let port = question.to.port;
        if !rule.ports.iter().any(|range| range.contains(&port)) {
            return reason(
                "ports",
                match rule.ports.is_empty() {
                    true => "it names no port".to_owned(),
                    false => format!("{port} is none of {}", ports(&rule.ports)),
                },
            );
        }
        let any = rule.addresses.is_empty();
        if any || (question.kind != kind::SOURCE || question.has_address == 1) && is_at(rule, asked) {
            return None;
        }
        if question.kind == kind::SOURCE && question.has_address == 0 {
            return reason("addresses", "the local address was not given");
        }
        reason("addresses", format!("{} is in none of {}", ip(&question.to.addr), prefixes(&rule.addresses)))
    }

    /// The dimensions in which a process is not what a workload asks for.
    pub(super) fn fails(&self, index: usize, asked: &Asked, weighed: &Weighed) -> Vec<Reason> {
        let Some(workload) = self.config.workloads.get(index) else { return Vec::new() };
        let process = &weighed.process;
        let [by_cgroup, _, _] = &weighed.places;
        let who = asked.request.who();
        let mut fails = Vec::new();
        if !workload.exe.is_empty() && !process.of_exe.contains(index) {
            fails.extend(reason("exe", self.wrong_exe(workload, asked)));
        }
        if !workload.users.is_empty() && !self.is_one_of(&workload.users, asked.question.uid, 'u') {
            let user = who.and_then(|who| who.user.as_deref());
            fails.extend(reason("user", unlike("its real user", user, &accounts(&workload.users))));
        }
        if !workload.groups.is_empty() && !self.is_one_of(&workload.groups, asked.question.gid, 'g') {
            let group = who.and_then(|who| who.group.as_deref());
            fails.extend(reason("group", unlike("its real group", group, &accounts(&workload.groups))));
        }
        let in_cgroup = !workload.units.is_empty() || !workload.cgroups.is_empty();
        if in_cgroup && !by_cgroup.contains(index) {
            let key = if workload.units.is_empty() { "cgroup" } else { "unit" };
            let wanted: Vec<_> =
                workload.units.iter().chain(&workload.cgroups).map(|text| shown(&text.value)).collect();
            let cgroup = asked.cgroup.as_deref().map(|path| Text::new(path).to_string());
            fails.extend(reason(key, unlike("its cgroup", cgroup.as_deref(), &wanted.join(", "))));
        }
        if !workload.parents.is_empty() && !process.of_parent.contains(index) {
            let why = format!("it was made by no member of {}", self.names_of(&workload.parents));
            fails.extend(reason("parent", why));
        }
        if !workload.ancestors.is_empty() && !process.of_ancestor.contains(index) {
            let why = format!("nothing above it is a member of {}", self.names_of(&workload.ancestors));
            fails.extend(reason("ancestor", why));
        }
        fails
    }

    fn wrong_exe(&self, workload: &Workload, asked: &Asked) -> String {
        let Some(exe) = &asked.exe else { return "its program was not given".to_owned() };
        if !workload.sha256.is_empty() && self.files.is_wrong(&exe.exe) {
            return format!("{} has another content than `sha256` says", shown(&exe.given));
        }
        if exe.notes & flags::PATH_TRUNCATED != 0 {
            return format!("{} is too long or too deep to be compared", shown(&exe.given));
        }
        format!("it runs {}, which is none of {}", shown(&exe.given), patterns(&workload.exe))
    }

    fn is_one_of(&self, accounts: &[Spanned<Account>], id: u32, kind: char) -> bool {
        accounts.iter().any(|account| match &account.value {
            Account::Id(number) => *number == id,
            Account::Name(name) => {
                let number = match kind {
                    'u' => self.accounts.user(name),
                    _ => self.accounts.group(name),
                };
                number.is_ok_and(|number| number == id)
            }
        })
    }

    fn names_of(&self, workloads: &[usize]) -> String {
        let names = workloads.iter().filter_map(|index| self.config.workloads.get(*index));
        some_of(names.map(|workload| shown(&workload.name)))
    }
}

/// Whether a rule says nothing about this side of the database.
fn not_ruled(rule: &Database, asked: u32) -> Option<Reason> {
    match asked {
        kind::BIND | kind::UNIX_BIND if rule.servers.is_none() => {
            reason("servers", "it says nothing about who may be the server")
        }
        kind::SOURCE if rule.sources.is_none() => {
            reason("sources", "it says nothing about where packets may come from")
        }
        kind::CONNECT | kind::UNIX_CONNECT if rule.clients.is_none() => {
            reason("clients", "it says nothing about who may connect")
        }
        _ => None,
    }
}

/// Whether one of the addresses of a rule is meant.
fn is_at(rule: &Database, asked: &Asked) -> bool {
    let addr = ip(&asked.question.to.addr);
    let holds = |addr: IpAddr| rule.addresses.iter().any(|prefix| contains(prefix, addr));
    let here = [IpAddr::from([127, 0, 0, 1]), IpAddr::from(std::net::Ipv6Addr::LOCALHOST)];
    holds(addr)
        || match asked.question.kind {
            // To listen there is to listen everywhere; to connect there is to connect to this host.
            kind::BIND => addr.is_unspecified(),
            _ => addr.is_unspecified() && here.into_iter().any(holds),
        }
}

pub(super) fn contains((network, length): &(IpAddr, u8), addr: IpAddr) -> bool {
    let same =
        |a: u128, b: u128, width: u32| (a ^ b).checked_shr(width - u32::from(*length)).unwrap_or(0) == 0;
    match (network, addr) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(a.to_bits().into(), b.to_bits().into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128),
        _ => false,
    }
}

fn ip(addr: &Addr) -> IpAddr {
    IpAddr::from(addr.bytes).to_canonical()
}

pub(super) fn shown(text: &str) -> String {
    Text::from(text).quoted().to_string()
}

fn unlike(what: &str, given: Option<&str>, wanted: &str) -> String {
    match given {
        Some(given) => format!("{what} is {}, which is none of {wanted}", shown(given)),
        None => format!("{what} was not given, and must be one of {wanted}"),
    }
}

fn patterns(patterns: &[Spanned<Pattern>]) -> String {
    some_of(patterns.iter().map(|pattern| shown(pattern.value.text())))
}

fn accounts(accounts: &[Spanned<Account>]) -> String {
    some_of(accounts.iter().map(|account| match &account.value {
        Account::Id(id) => id.to_string(),
        Account::Name(name) => shown(name),
    }))
}

pub(super) fn ports(ports: &[RangeInclusive<u16>]) -> String {
    some_of(ports.iter().map(|range| match range.start() == range.end() {
        true => range.start().to_string(),
        false => format!("{}-{}", range.start(), range.end()),
    }))
}

pub(super) fn prefixes(prefixes: &[(IpAddr, u8)]) -> String {
    some_of(prefixes.iter().map(|(addr, length)| format!("{addr}/{length}")))
}

/// A list, cut where nobody would read on.
pub(super) fn some_of(items: impl Iterator<Item = impl Display>) -> String {
    const MOST: usize = 8;
    let mut shown: Vec<_> = items.map(|item| item.to_string()).collect();
    let more = shown.len().saturating_sub(MOST);
    if more > 0 {
        shown.truncate(MOST);
        shown.push(format!("and {more} more"));
    }
    if shown.is_empty() { "nothing".to_owned() } else { shown.join(", ") }
}
