//! What both sides agree on.
#![no_std]
