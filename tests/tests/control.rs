//! The control socket: who may ask, and how much. What the kernel and the commands say is compared with the ids they have.

mod access;
mod bounds;
