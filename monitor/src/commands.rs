//! The commands.

pub mod ban;
pub mod check;
pub mod completions;
pub mod docs;
pub mod doctor;
pub mod explain;
pub mod policy;
pub mod run;
pub mod schema;
pub mod simulate;
pub mod support;
pub mod test;
