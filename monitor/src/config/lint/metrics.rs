//! Who may read the metrics.

use super::Lints;
use crate::http::Web;

pub(super) fn check(lints: &mut Lints) {
    let metrics = &lints.config.metrics;
    match &metrics.web_config {
        None if !metrics.listen.ip().is_loopback() => {
            let message = format!("everybody who reaches {} may read the metrics", metrics.listen);
            let help = "listen at a loopback address, or say who may with `web_config` (TLS, certificates, passwords)";
            lints.warn(&metrics.place, message, help);
        }
        None => {}
        Some(web) => {
            if let Err(error) = Web::open(&web.value) {
                lints.warn(&web.place, format!("{error:#}"), "the agent would not start: mend the file");
            }
        }
    }
}
