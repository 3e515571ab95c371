//! Where findings go.

use std::path::PathBuf;
use std::time::Duration;

use axum::http::Uri;

use super::Checker;
use crate::config::model::{Endpoint, FileSink, Format, HttpKind, Secret, Sink, Syslog, Target, Url};
use crate::config::pattern::{Wrong, absolute, check_components};
use crate::config::rate;
use crate::config::raw::{self, At, Field, SinkKind};
use crate::config::source::quoted;

/// How long findings that say the same are gathered if nothing else is said.
pub(super) const FOLD: Duration = Duration::from_secs(60);
/// The longest that may be said: a summary that comes later than this is none.
const MAX_FOLD: Duration = Duration::from_secs(24 * 3600);
/// Renamed files that are kept if nothing else is said, and at most.
const KEEP: u32 = 5;
const MAX_KEEP: u32 = 100;
/// A file is worth beginning anew from this size on: one batch of lines must fit.
const MIN_SIZE: u64 = 64 * 1024;
const JOURNAL: &str = "/run/systemd/journal/socket";
const DEV_LOG: &str = "unix:///dev/log";

pub(super) fn sink(file: &mut Checker, raw: &At<raw::Sink>) -> Option<Sink> {
    let kind = file.required(&raw.value.kind, "sink", "type", raw.span)?.value;
    refuse_others(file, &raw.value, kind);
    let events = raw.value.events.or(false);
    let fold = match raw.value.fold.given() {
        None if events => Some(Duration::ZERO),
        None => Some(FOLD),
        Some(at) => file.accept(at.span, fold(&at.value)),
    };
    let target = target(file, raw, kind)?;
    let format = raw.value.format.or(Format::Auto);
    Some(Sink { target, format, events, fold: fold?, place: file.place(raw.span) })
}

fn target(file: &mut Checker, raw: &At<raw::Sink>, kind: SinkKind) -> Option<Target> {
    let value = &raw.value;
    let http = match kind {
        SinkKind::Stdout => return Some(Target::Stdout),
        SinkKind::File => return file_sink(file, raw).map(Target::File),
        SinkKind::Journald => {
            let given = value.path.given();
            let checked = given.is_none_or(|at| file.accept(at.span, absolute(&at.value, JOURNAL)).is_some());
            let path = given.map_or(JOURNAL, |at| &at.value);
            return checked.then(|| Target::Journald(path.into()));
        }
        SinkKind::Syslog => {
            let ca = ca(file, value);
            let given = value.url.given();
            let parsed = syslog(given.map_or(DEV_LOG, |at| &at.value), ca);
            return file.accept(given.map_or(raw.span, |at| at.span), parsed).map(Target::Syslog);
        }
        SinkKind::Webhook => HttpKind::Webhook,
        SinkKind::Alertmanager => HttpKind::Alertmanager,
        SinkKind::Otlp => HttpKind::Otlp,
    };
    let (ca, token) = (ca(file, value), token(file, value));
    let at = file.required(&value.url, "sink", "url", raw.span)?;
    let url = file.accept(at.span, url(&at.value, http, ca))?;
    if token.is_some() && url.tls.is_none() && !is_loopback(&url.endpoint.host) {
        let help = "use `https://`: whoever is on the way reads the token";
        file.warn(at.span, "the token is sent without encryption", help);
    }
    Some(Target::Http { kind: http, url, token })
}

/// Keys that mean nothing for a sink of this type.
fn refuse_others(file: &mut Checker, raw: &raw::Sink, kind: SinkKind) {
    use SinkKind::{Alertmanager, File, Journald, Otlp, Stdout, Syslog, Webhook};
    let of = |field: &Field<String>| field.given().map(|at| at.span);
    let keys: [(_, _, &[SinkKind], _); 8] = [
        ("path", of(&raw.path), &[File, Journald], "file"),
        ("max_size", of(&raw.max_size), &[File], "file"),
        ("keep", raw.keep.given().map(|at| at.span), &[File], "file"),
        ("url", of(&raw.url), &[Syslog, Webhook, Alertmanager, Otlp], "webhook"),
        ("ca", of(&raw.ca), &[Syslog, Webhook, Alertmanager, Otlp], "webhook"),
        ("token_file", of(&raw.token_file), &[Webhook, Alertmanager, Otlp], "webhook"),
        ("token_env", of(&raw.token_env), &[Webhook, Alertmanager, Otlp], "webhook"),
        (
            "format",
            raw.format.given().map(|at| at.span),
            &[Stdout, File, Journald, Syslog, Webhook],
            "webhook",
        ),
    ];
    for (key, span, kinds, remedy) in keys {
        if let Some(span) = span
            && !kinds.contains(&kind)
        {
            let message = format!("`{key}` has no meaning for a sink of type `{}`", kind.name());
            file.error(span, message, format!("remove it, or write `type = \"{remedy}\"`"));
        }
    }
}

fn file_sink(file: &mut Checker, raw: &At<raw::Sink>) -> Option<FileSink> {
    let path = file.required(&raw.value.path, "sink", "path", raw.span)?;
    let checked =
        absolute(&path.value, "/var/log/monitor/findings.jsonl").and_then(|()| check_file_name(&path.value));
    file.accept(path.span, checked)?;
    let max_size = match raw.value.max_size.given() {
        None => None,
        Some(at) => Some(file.accept(at.span, max_size(&at.value))?),
    };
    let keep = match raw.value.keep.given() {
        None => KEEP,
        Some(at) if max_size.is_none() => {
            file.error(
                at.span,
                "`keep` has no meaning without `max_size`",
                "add for example: max_size = \"100MiB\"",
            );
            return None;
        }
        Some(at) if at.value > MAX_KEEP => {
            let help = format!("keep up to {MAX_KEEP}, or make `max_size` larger");
            file.error(at.span, format!("`keep` is more than {MAX_KEEP}"), help);
            return None;
        }
        Some(at) => at.value,
    };
    Some(FileSink { path: path.value.clone().into(), max_size, keep })
}

fn max_size(text: &str) -> Result<u64, Wrong> {
    let size = rate::size(text)?;
    if size < MIN_SIZE {
        return Err((
            format!("the size {} is less than 64 KiB", quoted(text)),
            "write for example `\"100MiB\"`".into(),
        ));
    }
    Ok(size)
}

fn fold(text: &str) -> Result<Duration, Wrong> {
    let time = Duration::from_nanos(rate::duration(text)?);
    if time > MAX_FOLD || (time < Duration::from_secs(1) && time != Duration::ZERO) {
        let help = "write a time from `\"1s\"` to `\"24h\"`, or `\"0s\"` to have each finding told by itself";
        return Err((format!("findings can't be gathered for {}", quoted(text)), help.into()));
    }
    Ok(time)
}

pub(super) fn check_file_name(path: &str) -> Result<(), Wrong> {
    if path.ends_with('/') {
        let help = format!("name a file in it: {}", quoted(&format!("{path}findings.jsonl")));
        return Err((format!("the path {} is a directory", quoted(path)), help));
    }
    check_components(path)
}

fn ca(file: &mut Checker, raw: &raw::Sink) -> Option<PathBuf> {
    let at = raw.ca.given()?;
    file.accept(at.span, absolute(&at.value, "/etc/monitor/ca.pem"))?;
    Some(at.value.clone().into())
}

fn token(file: &mut Checker, raw: &raw::Sink) -> Option<Secret> {
    if let (Some(_), Some(second)) = (raw.token_file.given(), raw.token_env.given()) {
        file.error(second.span, "`token_file` and `token_env` are both given", "remove one of them");
    }
    if let Some(at) = raw.token_file.given() {
        file.accept(at.span, absolute(&at.value, "/etc/monitor/webhook.token"))?;
        return Some(Secret::File(at.value.clone().into()));
    }
    raw.token_env.given().map(|at| Secret::Env(at.value.clone()))
}

fn syslog(text: &str, ca: Option<PathBuf>) -> Result<Syslog, Wrong> {
    let help = || {
        "write for example `\"unix:///dev/log\"`, `\"udp://10.0.0.9:514\"` or `\"tls://logs.example:6514\"`"
            .to_owned()
    };
    if let Some(path) = text.strip_prefix("unix://") {
        absolute(path, "/dev/log")?;
        return Ok(Syslog::Unix(path.into()));
    }
    let parsed = parts(text).filter(|parts| parts.path == "/");
    let Some(Parts { scheme, host, port, .. }) = parsed else {
        return Err((format!("{} is no address of a syslog server", quoted(text)), help()));
    };
    let end = |port: Option<u16>, usual| Endpoint { host, port: port.unwrap_or(usual) };
    match &*scheme {
        "udp" => Ok(Syslog::Udp(end(port, 514))),
        "tcp" => Ok(Syslog::Tcp(end(port, 601))),
        "tls" => Ok(Syslog::Tls(end(port, 6514), ca)),
        other => Err((format!("syslog is not sent by {}", quoted(other)), help())),
    }
}

fn url(text: &str, kind: HttpKind, ca: Option<PathBuf>) -> Result<Url, Wrong> {
    let example = match kind {
        HttpKind::Webhook => "https://hooks.example/monitor",
        HttpKind::Alertmanager => "http://127.0.0.1:9093",
        HttpKind::Otlp => "http://127.0.0.1:4318",
    };
    let help = || format!("write for example `\"{example}\"`");
    let Some(Parts { scheme, host, port, path, secret }) = parts(text) else {
        return Err((format!("{} is no URL", quoted(text)), help()));
    };
    if secret {
        // Not shown: it may hold a password.
        return Err((
            "the URL has a user or password in it".into(),
            "use `token_file` or `token_env`".into(),
        ));
    }
    let (tls, usual) = match &*scheme {
        "https" => (Some(ca), 443),
        "http" => (None, 80),
        other => return Err((format!("nothing is posted by {}", quoted(other)), help())),
    };
    let path = match (kind, &*path) {
        (HttpKind::Alertmanager, base) => format!("{}/api/v2/alerts", base.trim_end_matches('/')),
        (HttpKind::Otlp, "/") => "/v1/logs".to_owned(),
        (_, given) => given.to_owned(),
    };
    Ok(Url { tls, endpoint: Endpoint { host, port: port.unwrap_or(usual) }, path })
}

struct Parts {
    scheme: String,
    host: String,
    port: Option<u16>,
    path: String,
    secret: bool,
}

fn parts(text: &str) -> Option<Parts> {
    let uri: Uri = text.parse().ok()?;
    let authority = uri.authority()?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() || authority.port_u16() == Some(0) {
        return None;
    }
    Some(Parts {
        scheme: uri.scheme_str()?.to_owned(),
        host: host.to_owned(),
        port: authority.port_u16(),
        path: uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
        secret: authority.as_str().contains('@'),
    })
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
