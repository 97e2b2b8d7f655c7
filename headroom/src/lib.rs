//! The one binary: CLI, configuration, composition of roles.

pub mod cli;
mod client;
pub mod config;
pub mod demo;
mod limits;
pub mod roles;
