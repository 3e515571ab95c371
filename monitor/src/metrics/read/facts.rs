//! What `_info` metrics say.

use crate::metrics::collect::{Samples, View};

pub(in crate::metrics) fn capability<'v>(view: &'v View, out: &mut Samples<'v>) {
    for capability in &view.facts.capabilities {
        out.add([capability.feature, capability.state, capability.reason], 1u64);
    }
}

pub(in crate::metrics) fn policy<'v>(view: &'v View, out: &mut Samples<'v>) {
    if let (Some(policy), Some(generation)) = (&view.facts.policy, &view.generation) {
        out.add([&*policy.sha256, generation, policy.mode], 1u64);
    }
}

pub(in crate::metrics) fn rule<'v>(view: &'v View, out: &mut Samples<'v>) {
    for rule in view.facts.policy.iter().flat_map(|policy| &*policy.rules) {
        out.add(
            [&*rule.name, rule.kind, rule.severity, &*rule.practice, &*rule.attack, rule.when_stale],
            1u64,
        );
    }
}

pub(in crate::metrics) fn build<'v>(view: &'v View, out: &mut Samples<'v>) {
    out.add([&*view.facts.build.version, &*view.facts.build.object_sha256], 1u64);
}

pub(in crate::metrics) fn kernel<'v>(view: &'v View, out: &mut Samples<'v>) {
    out.add([&*view.facts.build.kernel], 1u64);
}
