//! The commands.

pub mod ban;
pub mod check;
pub mod completions;
pub mod docs;
pub mod doctor;
pub mod events;
pub mod explain;
pub mod man;
pub mod policy;
pub mod run;
pub mod schema;
pub mod simulate;
pub mod status;
pub mod support;
pub mod test;
pub mod top;
