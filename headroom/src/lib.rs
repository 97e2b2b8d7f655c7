//! The one binary: CLI, configuration, composition of roles.
