//! Builds, runs, tests and documents `monitor`.
fn main() {}
