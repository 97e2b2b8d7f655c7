//! What the name server says to whom and when, as scripts (see `testing.rs`).

mod hostile;
mod plans;
mod protocol;
mod steering;
mod zones;
