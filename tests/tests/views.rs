//! What people see of a running agent: `monitor status`, `events` and `top`, and the page. What programs did is the oracle.

mod commands;
mod terminal;
