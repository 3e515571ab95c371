//! The Prometheus text format, as far as the agent speaks it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

/// One sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The metric's name, with its suffix.
    pub name: String,
    /// The labels by name.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

/// All samples of one scrape.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics(Vec<Sample>);

impl Metrics {
    /// Parses what `/metrics` answered.
    ///
    /// # Errors
    /// When a line is neither a comment nor a sample, or two lines are the same series.
    pub fn parse(text: &str) -> Result<Self> {
        let mut samples: Vec<Sample> = Vec::new();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let sample = sample(line).with_context(|| format!("no sample: {line:?}"))?;
            let twice =
                samples.iter().any(|other| other.name == sample.name && other.labels == sample.labels);
            ensure!(!twice, "a series is there twice: {line:?}");
            samples.push(sample);
        }
        Ok(Self(samples))
    }

    /// All samples.
    pub fn all(&self) -> &[Sample] {
        &self.0
    }

    /// All series of a metric.
    pub fn series(&self, name: &str) -> Vec<&Sample> {
        self.0.iter().filter(|sample| sample.name == name).collect()
    }

    /// The sum of all series of a metric that bear these labels; 0 when there are none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let bears = |sample: &&Sample| {
            labels.iter().all(|(key, value)| sample.labels.get(*key).is_some_and(|found| found == value))
        };
        // An empty sum of floats is -0.
        self.0
            .iter()
            .filter(|sample| sample.name == name)
            .filter(bears)
            .map(|sample| sample.value)
            .sum::<f64>()
            + 0.0
    }
}

fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (key, value) = rest.split_once("=\"")?;
            let (value, after) = quoted(value)?;
            labels.insert(key.to_owned(), value);
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = &rest[1..];
    }
    // A time may follow the value.
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// The text up to the closing quote, unescaped, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match characters.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::Metrics;

    #[test]
    fn samples_are_summed_by_label() {
        let text = "# TYPE a counter\na_total{x=\"1\",y=\"p \\\"q\\\" \\\\ \\n}\"} 2\na_total{x=\"2\"} 3.5\nb 1e3 17\n# EOF\n";
        let metrics = Metrics::parse(text).unwrap();
        assert_eq!(metrics.sum("a_total", &[]), 5.5);
        assert_eq!(metrics.sum("a_total", &[("x", "1")]), 2.0);
        assert_eq!(metrics.sum("a_total", &[("x", "3")]), 0.0);
        assert_eq!(metrics.sum("b", &[]), 1000.0);
        assert_eq!(metrics.series("a_total")[0].labels["y"], "p \"q\" \\ \n}");
    }

    #[test]
    fn what_is_no_sample_is_an_error() {
        for text in ["a{x=\"1\" 2", "a", "a x", "a{x=\"1\"} 1\na{x=\"1\"} 2"] {
            assert!(Metrics::parse(text).is_err(), "{text:?}");
        }
    }
}
