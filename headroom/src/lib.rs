//! The one binary: CLI, configuration, composition of roles.

pub mod cli;
pub mod config;
pub mod demo;
pub mod roles;
