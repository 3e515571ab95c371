//! Real system calls against an agent.
