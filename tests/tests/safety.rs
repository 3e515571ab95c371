//! The agent's own safety: whom it trusts, what it may do itself, and what it lets out.

mod privileges;
mod support;
mod trust;
#[cfg(feature = "certificates")]
mod web;
mod words;
