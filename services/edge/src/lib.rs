//! Caching reverse proxy that admits exactly what was purchased.
