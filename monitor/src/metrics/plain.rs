//! The older text format, made from the newer one, so that both always say the same.

/// Turns OpenMetrics text into the Prometheus text format 0.0.4: families are called as their samples are, there are
/// no units and no end mark, and an info is a gauge.
pub(super) fn from_openmetrics(openmetrics: &str) -> String {
    let mut plain = String::with_capacity(openmetrics.len() + 1024);
    let mut help = "";
    for line in openmetrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').map_or("", |(_, text)| text);
        } else if let Some((family, kind)) =
            line.strip_prefix("# TYPE ").and_then(|rest| rest.rsplit_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                _ => ("", kind),
            };
            for part in ["# HELP ", family, suffix, " ", help, "\n# TYPE ", family, suffix, " ", kind, "\n"] {
                plain.push_str(part);
            }
        } else if !line.starts_with('#') {
            plain.push_str(line);
            plain.push('\n');
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::from_openmetrics;

    #[test]
    fn families_are_renamed_and_marks_left_out() {
        let openmetrics = "# HELP a_seconds Time spent.\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\n\
                           a_seconds_total{x=\"# TYPE y\"} 1.5\n# HELP b What.\n# TYPE b info\nb_info{v=\"1\"} 1\n\
                           # HELP c Now.\n# TYPE c gauge\nc 3\n\
                           # HELP d_seconds How long.\n# TYPE d_seconds histogram\n# UNIT d_seconds seconds\n\
                           d_seconds_sum 2.5\nd_seconds_count 1\nd_seconds_bucket{le=\"+Inf\"} 1\n# EOF\n";
        let plain = "# HELP a_seconds_total Time spent.\n# TYPE a_seconds_total counter\n\
                     a_seconds_total{x=\"# TYPE y\"} 1.5\n# HELP b_info What.\n# TYPE b_info gauge\n\
                     b_info{v=\"1\"} 1\n# HELP c Now.\n# TYPE c gauge\nc 3\n\
                     # HELP d_seconds How long.\n# TYPE d_seconds histogram\nd_seconds_sum 2.5\nd_seconds_count 1\n\
                     d_seconds_bucket{le=\"+Inf\"} 1\n";
        assert_eq!(from_openmetrics(openmetrics), plain);
    }
}
