//! "Did you mean": the known word that is closest to a wrong one.

/// The nearest of `known`, if it is near enough to be a slip of the pen.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Longer words are no slips, and the comparison takes time with the square of the length.
    if word.len() > 100 {
        return None;
    }
    let lower = word.to_lowercase();
    let distance = |other: &str| strsim::osa_distance(&lower, &other.to_lowercase());
    let best = known.into_iter().map(|other| (distance(other), other)).min_by_key(|(distance, _)| *distance);
    let (distance, other) = best?;
    let longest = lower.chars().count().max(other.chars().count());
    let near = distance <= 1.max(longest / 3) && distance < longest;
    let part = lower.len() >= 3 && (other.starts_with(&lower) || lower.starts_with(other));
    (near || part).then_some(other)
}

/// `` `a`, `b` and `c` ``, cut after twenty.
pub(crate) fn list<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<_> = words.into_iter().collect();
    let mut out: Vec<_> = words.iter().take(20).map(|word| super::source::quoted(word)).collect();
    if words.len() > out.len() {
        out.push(format!("and {} more", words.len() - out.len()));
    }
    out.join(", ")
}
