//! Medians and quartiles of paired ratios.

use serde_json::{Value, json};

/// The value below which this share of the values lies, between neighbours in proportion; the values are sorted.
/// Not a number when there are none.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * sorted.len().saturating_sub(1) as f64;
    let value = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
    let below = at.floor() as usize;
    let above = value((below + 1).min(sorted.len().saturating_sub(1)));
    value(below) + (above - value(below)) * at.fract()
}

/// The quartiles of values in any order.
pub fn quartiles(mut values: Vec<f64>) -> Value {
    values.sort_by(f64::total_cmp);
    let [first, median, third] = [0.25, 0.5, 0.75].map(|share| quantile(&values, share));
    json!({ "q1": first, "median": median, "q3": third })
}
