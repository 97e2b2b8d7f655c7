//! What the name server says to whom and when, as scripts (see `testing.rs`).

mod defence;
mod hostile;
mod overlay;
mod plans;
mod protocol;
mod records;
mod regions;
mod steering;
mod zones;
