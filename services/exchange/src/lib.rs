//! The control plane: API and reconcilers.
