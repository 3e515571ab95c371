//! The interfaces whose packets are limited.

use anyhow::{Context as _, Result, bail};

use super::start::Engine;
use crate::{
    config::{self, Config, Interfaces},
    host::interfaces,
    kernel::attach::Wanted,
    metrics,
};

/// The interfaces that rate limits are held on; none without a rate limit.
pub(super) fn wanted_interfaces(config: &Config) -> Result<Vec<String>> {
    let named = match &config.agent.interfaces {
        Interfaces::Auto if config.rate_limits.is_empty() => Vec::new(),
        Interfaces::Auto => {
            let found = interfaces::with_default_route()?;
            if found.is_empty() {
                bail!(
                    "no interface has a default route, so [agent] interfaces = \"auto\" finds none to hold the rate limits \
                     on; name them: interfaces = [\"eth0\"]"
                );
            }
            found.into_iter().collect()
        }
        Interfaces::Named(names) => {
            let missing = names.iter().filter(|name| interfaces::index(&name.value).is_none());
            let error = |name: &config::Spanned<String>| {
                let message = format!("there is no interface {:?} on this host", name.value);
                let error = config.diagnostic(config::Severity::Error, &name.place, message);
                error.help("`ip link` lists those there are; `interfaces = \"auto\"` takes those with a default route")
            };
            let errors: Vec<_> = missing.map(error).collect();
            if !errors.is_empty() {
                return Err(config::Report::new(errors).into());
            }
            names.iter().map(|name| name.value.clone()).collect()
        }
    };
    Ok(if config.rate_limits.is_empty() { Vec::new() } else { named })
}

/// Attaches the packet program where it was told to.
pub(super) fn attach_interfaces(engine: &mut Engine, names: &[String]) -> Result<Vec<metrics::Attachment>> {
    if !engine.limits_packets {
        return Ok(Vec::new());
    }
    let mut attachments = Vec::new();
    for interface in names {
        tracing::info!(interface, "attaching the packet program; some drivers reset their queues for that");
        let policy = engine.watcher.policy();
        let (attach, if_held) = policy.attach_on(interface);
        let link_header = interfaces::has_link_header(interface)?;
        let index = interfaces::index(interface).with_context(|| format!("interface {interface} is gone"))?;
        engine.rates.know_interface(index, link_header, policy.rules_on(interface))?;
        let mode = engine.kernel.attach_interface(&Wanted { interface, attach, if_held, link_header })?;
        attachments.push(metrics::Attachment { interface: interface.clone(), mode });
    }
    if attachments.is_empty() {
        tracing::warn!("there are rate limits, but [agent] interfaces names none: no packet is looked at");
    }
    Ok(attachments)
}
