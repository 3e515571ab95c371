//! The running kernel: its types, what it can do, and our programs in it.

pub mod attach;
pub mod bits;
pub mod btf;
pub mod canary;
pub mod control;
pub mod evaluate;
pub mod layout;
pub mod load;
pub mod object;
pub mod pins;
pub mod probes;
pub mod rates;
pub mod ring;
pub mod sources;
pub mod support;
pub mod table;
pub mod tables;
pub mod words;
