//! Exec rules, and who alone may open raw sockets, or get at the memory of others.

use monitor_common::policy::RuleKind;
use toml_spanner::Span;

use super::about::{about, when_stale};
use super::lists::{List, accounts, patterns};
use super::workloads::Workloads;
use super::{Checker, Names};
use crate::config::model::{Action, Args, Exec, ListKind, Mode, Only, Pattern};
use crate::config::pattern;
use crate::config::raw::{self, At, ExecAction, RawAction};
use crate::config::source::Spanned;

pub(super) fn exec(
    file: &mut Checker,
    raw: &At<raw::Exec>,
    mode: Mode,
    workloads: &Workloads,
    names: &mut Names,
) -> Option<Exec> {
    let At { value: rule, span } = raw;
    let name = names.take(file, &rule.name, "exec", *span);
    let mut members = |names: &raw::Field<raw::List<String>>, message, help| {
        let names = names.given()?;
        if names.value.items.is_empty() && !names.value.incomplete {
            file.error(names.span, message, help);
        }
        Some(workloads.indices(file, &names.value))
    };
    let by = members(
        &rule.by,
        "`by` is empty and would match nobody",
        "list workloads, or remove the key for anybody",
    );
    let except =
        members(&rule.except, "`except` is empty and leaves nobody out", "list workloads, or remove the key");
    if let (Some(except), false, false) = (rule.except.given(), rule.by.is_absent(), rule.user.is_absent()) {
        let help = "say the user in a workload that `by` names";
        file.error(except.span, "`except` can't stand beside both `by` and `user`", help);
    }
    let users = rule.user.given().map(|raw| accounts(file, raw, "user")).unwrap_or_default();
    let files = files(file, raw);
    let args = rule.args.given().map(|raw| args(file, raw));
    if let Some((ListKind::Deny, files)) = &files
        && rule.by.is_absent()
        && rule.user.is_absent()
        && rule.args.is_absent()
    {
        warn_of_everything(file, files);
    }
    let (list, files) = files?;
    let action = match rule.action.or(ExecAction::Deny) {
        ExecAction::Alert => Action::Alert,
        ExecAction::Deny => Action::Deny,
        ExecAction::Kill => Action::Kill,
    };
    Some(Exec {
        name: name?.value.clone(),
        by,
        except: except.unwrap_or_default(),
        users,
        list,
        files,
        args,
        action,
        mode: rule.mode.or(mode),
        when_stale: when_stale(file, &rule.when_stale, action),
        about: about(file, &rule.severity, &rule.practice, &rule.attack),
        degrade: rule.degrade.given().is_some(),
        force: rule.force.or(false),
        place: file.place(*span),
    })
}

/// The list of a rule, `deny` or `allow`, and what may stand beside it.
fn files(file: &mut Checker, raw: &At<raw::Exec>) -> Option<(ListKind, Vec<Spanned<Pattern>>)> {
    let At { value: rule, span } = raw;
    let deny = List { key: "deny", empty: Some("list at least one path or glob"), many: "use globs" };
    let allow = List { key: "allow", empty: None, many: "use globs" };
    let denied = rule.deny.given().map(|raw| patterns(file, raw, &deny, true));
    let allowed = rule.allow.given().map(|raw| patterns(file, raw, &allow, true));
    if let (Some(at), Some(_)) = (rule.allow.given(), &denied) {
        file.error(
            at.span,
            "`allow` and `deny` exclude each other",
            "write two rules: the first that matches decides",
        );
    }
    if let Some(at) = rule.allow.given()
        && rule.by.is_absent()
        && rule.user.is_absent()
        && !file.parsed.is_broken(*span)
    {
        let help = "name the workloads in `by` or the users in `user` for whom the list is";
        file.error(
            at.span,
            "`allow` without `by` or `user` would stop everything else on the whole host",
            help,
        );
    }
    if let Some(args) = rule.args.given()
        && !rule.allow.is_absent()
        && rule.deny.is_absent()
    {
        let help = "remove it, or write a rule of its own with `deny` before this one";
        file.error(args.span, "`args` can't stand beside `allow`", help);
    }
    if rule.deny.is_absent() && rule.allow.is_absent() && !file.parsed.is_broken(*span) {
        let help = "list what must not be executed: `deny = [\"/bin/*sh\", \"/tmp/**\"]`, or all that may be: `allow = [\"/usr/bin/pg_dump\"]`";
        file.error(file.header(*span), "an exec rule needs `deny` or `allow`", help);
    }
    denied.map(|files| (ListKind::Deny, files)).or(allowed.map(|files| (ListKind::Allow, files)))
}

fn warn_of_everything(file: &mut Checker, files: &[Spanned<Pattern>]) {
    let all = |pattern: &Pattern| matches!(pattern, Pattern::Glob(glob) if glob == "/**");
    let Some(pattern) = files.iter().find(|pattern| all(&pattern.value)) else { return };
    let offset = file.parsed.source.offset(pattern.place.line, pattern.place.column) as u32;
    let help = "name the directories that are meant, or the workloads in `by`";
    file.warn(Span::new(offset, offset + 1), "this matches every program that anybody executes", help);
}

fn args(file: &mut Checker, raw: &At<raw::Args>) -> Args {
    let At { value: args, span } = raw;
    if args.contains.is_absent() && args.glob.is_absent() && !file.parsed.is_broken(*span) {
        let help = "write `args = { contains = [\"--dump\"] }` or `args = { glob = [\"--file=*\"] }`";
        file.error(*span, "`args` needs `contains` or `glob`", help);
    }
    let list =
        |key| List { key, empty: Some("list at least one text, or remove the key"), many: "write two rules" };
    Args {
        contains: match args.contains.given() {
            Some(raw) => file.entries(raw, &list("contains"), |text| pattern::argument(text)),
            None => Vec::new(),
        },
        globs: match args.glob.given() {
            Some(raw) => file.entries(raw, &list("glob"), |text| pattern::argument_glob(text)),
            None => Vec::new(),
        },
    }
}

pub(super) fn only(
    file: &mut Checker,
    raw: &At<raw::Only>,
    kind: RuleKind,
    mode: Mode,
    workloads: &Workloads,
) -> Option<Only> {
    let At { value: raw, span } = raw;
    let allow = file.required(&raw.allow, kind.name(), "allow", *span);
    let action = match raw.action.or(RawAction::Alert) {
        RawAction::Alert => Action::Alert,
        RawAction::Deny => Action::Deny,
    };
    Some(Only {
        allow: workloads.indices(file, &allow?.value),
        action,
        mode: raw.mode.or(mode),
        when_stale: when_stale(file, &raw.when_stale, action),
        about: about(file, &raw.severity, &raw.practice, &raw.attack),
        degrade: raw.degrade.given().is_some(),
        place: file.place(*span),
    })
}
